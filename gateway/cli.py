"""
The command line: `olgate serve`, `olgate config`, `olgate --version`.

Here live the commands and their flags. Not here: what a flag's value may be (`settings` says so, in
one sentence, whatever the value's source). Nothing heavy is imported before a command needs it.
"""

import json
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TypedDict, TypeVar, Unpack

import click

if TYPE_CHECKING:
    from gateway.settings.sources import Loaded

WRONG_SETTINGS = 2
DATA_DIRECTORY = "the platform's data directory"
"""Exit code for settings that cannot be used; the same as click's for a wrong command line."""


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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _option, wanted: _show_version(context) if wanted else None,
    help="Print the version and leave.",
)
def cli() -> None:
    """Speak the Ollama HTTP API, served by LM Studio."""


@cli.command()
@serve_options
def serve(**flags: Unpack[Flags]) -> NoReturn:
    """Run the gateway until SIGTERM or SIGINT."""
    exit_quietly_on_signals()
    loaded = load_settings(flags)
    load_server()
    start_journal(loaded)
    from gateway import server

    sys.exit(server.run(loaded.settings))


@cli.command("config")
@serve_options
def show_config(**flags: Unpack[Flags]) -> None:
    """Print the settings in force and where each comes from; secrets are masked."""
    loaded = load_settings(flags)
    from gateway.settings.sources import describe

    click.echo(_as_toml(describe(loaded.settings), loaded.sources), nl=False)


def load_server() -> None:
    """Import all that serving needs, and nothing else that is installed."""
    from gateway.lean_imports import UNUSED, hide_modules

    with hide_modules(*UNUSED):
        from gateway import app, server  # noqa: F401 - imported here, used later


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


def main() -> None:
    """Run the command line; the console script and `python -m gateway` are this."""
    cli(prog_name="olgate")


def _show_version(context: click.Context) -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"olgate {version('olgate')}")
    except PackageNotFoundError:
        click.echo("olgate, run from a checkout that is not installed")
    context.exit()


def _as_toml(values: Mapping[str, object], sources: Mapping[str, str]) -> str:
    """Write `section.key` values as a TOML file; secrets and what has no value are comments."""
    from gateway.settings.schema import SECRETS

    lines: list[str] = []
    section = ""
    for path, value in values.items():
        head, _, key = path.partition(".")
        if head != section:
            lines += [f"{'' if not section else chr(10)}[{head}]"]
            section = head
        if path in SECRETS:
            lines.append(f"# {key} is {value}  # {sources[path]}")
        elif value is None:
            lines.append(f"# {key} is not set")
        else:
            key = key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
            lines.append(f"{key} = {_as_toml_value(value)}  # {sources[path]}")
    return "\n".join(lines) + "\n"


_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def _as_toml_value(value: object) -> str:
    if value == math.inf:
        return "inf"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
