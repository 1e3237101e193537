"""
The options that commands share, and the work with them that every command begins with.

`gateway.settings` checks the values, in the same way for flags and for all other sources. Nothing
large is imported before a command needs it.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TypedDict, TypeVar

import click

if TYPE_CHECKING:
    from ..settings.schema import StoreSettings
    from ..settings.sources import Loaded

WRONG_SETTINGS = 2
"""Exit code for settings that cannot be used; the same as click's for a wrong command line."""

DATA_DIRECTORY = "the platform's data directory"
"""The source of `store.path` when nothing sets it."""


class Flags(TypedDict):
    """The values that `serve_options` gives a command, as they were typed; None if not given."""

    host: str | None
    port: str | None
    upstream: tuple[str, ...]
    config: Path | None
    log_level: str | None


Command = TypeVar("Command", bound=Callable[..., object])


def serve_options(command: Command) -> Command:
    """Add the flags of `serve`; the command passes them to `load_settings`."""
    for option in reversed(
        (
            click.option("--host", metavar="H", help="Address to listen on (default 127.0.0.1)."),
            click.option("--port", metavar="P", help="Port; 0 is any free port (default 11434)."),
            click.option(
                "--upstream",
                metavar="URL",
                multiple=True,
                help="Address of LM Studio (default http://127.0.0.1:1234); once for each host.",
            ),
            click.option(
                "--config",
                metavar="FILE",
                type=click.Path(path_type=Path),
                help="Settings file (TOML), instead of the platform's (OLGATE_CONFIG).",
            ),
            click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error."),
        )
    ):
        command = option(command)
    return command


def client_options(command: Command) -> Command:
    """Add the flags of a command that asks a running gateway: those of `serve`, and its own."""
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
    command = click.option(
        "--key", metavar="KEY", help="Access key, if the gateway wants one (OLLAMA_API_KEY)."
    )(command)
    return serve_options(command)


def load_settings(flags: Flags) -> "Loaded":
    """Merge flags, environment and file; a problem prints one sentence and exits with code 2."""
    from ..settings.sources import SettingsProblem

    try:
        return read_settings(flags)
    except SettingsProblem as problem:
        click.echo(f"olgate: {problem}", err=True)
        sys.exit(WRONG_SETTINGS)


def read_settings(flags: Flags) -> "Loaded":
    """Merge flags, environment and file. Raises SettingsProblem."""
    from ..settings.location import find_file
    from ..settings.sources import read

    values = {
        "listen.host": flags["host"],
        "listen.port": flags["port"],
        "upstream.url": flags["upstream"] or None,
        "log.level": flags["log_level"],
    }
    return _with_store(read(values, os.environ, find_file(flags["config"], os.environ)))


def _with_store(loaded: "Loaded") -> "Loaded":
    """Put the store into the platform's data directory, unless a setting names a file."""
    if loaded.sources["store.path"] != "default" or loaded.settings.store.url is not None:
        return loaded
    import msgspec

    path = default_file()
    settings = msgspec.structs.replace(
        loaded.settings, store=msgspec.structs.replace(loaded.settings.store, path=str(path))
    )
    sources = {**loaded.sources, "store.path": DATA_DIRECTORY}
    return loaded._replace(settings=settings, sources=sources)


def start_journal(loaded: "Loaded") -> None:
    """Configure logging, and log which of Ollama's variables could not be used."""
    from ..observability import journal
    from ..settings.written import describe

    journal.configure(loaded.settings.log)
    journal.take_over()
    log = journal.get_logger()
    for note in loaded.notes:
        log.warning(note)
    log.debug("settings", **describe(loaded.settings))


def exit_quietly_on_signals() -> None:
    """End with exit code 0 on a signal that arrives before or after the server runs."""

    def leave(_number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)


MEMORY = "memory"


def shown_store(settings: "StoreSettings") -> str:
    """Return where the store is, without what is secret in a URL."""
    if settings.url is None:
        return settings.path or MEMORY
    from ..settings.written import shown_url

    return shown_url(settings.url)


def default_file() -> Path:
    """Return the file of the store where no setting names one."""
    import platformdirs

    return platformdirs.user_data_path("olgate") / "olgate.sqlite3"
