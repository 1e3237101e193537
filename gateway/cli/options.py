"""
The options that commands share, and what every command does with them before its own work.

What a flag's value may be is for `gateway.settings`, which says so in one sentence whatever the
value's source. Nothing heavy is imported before a command needs it.
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
    from gateway.settings.sources import Loaded

WRONG_SETTINGS = 2
"""Exit code for settings that cannot be used; the same as click's for a wrong command line."""

DATA_DIRECTORY = "the platform's data directory"
"""The source of `store.path` when nothing sets it."""


class Flags(TypedDict):
    """What `serve_options` gives a command, as it was typed; None is not given."""

    host: str | None
    port: str | None
    upstream: tuple[str, ...]
    config: Path | None
    log_level: str | None


Command = TypeVar("Command", bound=Callable[..., object])


def serve_options(command: Command) -> Command:
    """Add the flags that say how to serve; the command hands them to `load_settings`."""
    for option in reversed(
        (
            click.option("--host", metavar="H", help="Address to listen on (127.0.0.1)."),
            click.option("--port", metavar="P", help="Port to listen on; 0 is any (11434)."),
            click.option(
                "--upstream",
                metavar="URL",
                multiple=True,
                help="LM Studio's address (http://127.0.0.1:1234).",
            ),
            click.option(
                "--config",
                metavar="FILE",
                type=click.Path(path_type=Path),
                help="Settings file (TOML), instead of the one in the platform's folder.",
            ),
            click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error."),
        )
    ):
        command = option(command)
    return command


def load_settings(flags: Flags) -> "Loaded":
    """Merge flags, environment and file; a problem is one sentence and exit code 2."""
    from gateway.settings.sources import SettingsProblem, default_file, read

    try:
        if len(flags["upstream"]) > 1:
            raise SettingsProblem(
                "--upstream: expected one address, since one gateway serves one LM Studio for now, "
                f"got {len(flags['upstream'])}; run one gateway for each"
            )
        values = {
            "listen.host": flags["host"],
            "listen.port": flags["port"],
            "upstream.url": next(iter(flags["upstream"]), None),
            "log.level": flags["log_level"],
        }
        return _with_store(read(values, os.environ, flags["config"] or default_file()))
    except SettingsProblem as problem:
        click.echo(f"olgate: {problem}", err=True)
        sys.exit(WRONG_SETTINGS)


def _with_store(loaded: "Loaded") -> "Loaded":
    """Keep what must last in the platform's data directory, where nobody named a file."""
    if loaded.sources["store.path"] != "default":
        return loaded
    import msgspec
    import platformdirs

    path = platformdirs.user_data_path("olgate") / "olgate.sqlite3"
    settings = msgspec.structs.replace(
        loaded.settings, store=msgspec.structs.replace(loaded.settings.store, path=str(path))
    )
    sources = {**loaded.sources, "store.path": DATA_DIRECTORY}
    return loaded._replace(settings=settings, sources=sources)


def start_journal(loaded: "Loaded") -> None:
    """Set the journal up, and have it say what Ollama's variables asked for in vain."""
    from gateway.observability import journal
    from gateway.settings.sources import describe

    journal.configure(loaded.settings.log)
    log = journal.get_logger()
    for note in loaded.notes:
        log.warning(note)
    log.debug("settings", **describe(loaded.settings))


def exit_quietly_on_signals() -> None:
    """Let a signal that comes before the server is there, or after it, end with exit code 0."""

    def leave(_number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
