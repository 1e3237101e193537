"""
`olgate keys add NAME`, `olgate keys list` and `olgate keys remove NAME`.
"""

import os
import sys
from pathlib import Path

import click

from .options import Flags, load_settings

_config = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Settings file (TOML), instead of the platform's (OLGATE_CONFIG).",
)
_THEN = "run `olgate reload`, or start the gateway, to put this in force"


@click.group("keys")
def keys() -> None:
    """Add, list and remove access keys with names."""


@keys.command()
@click.argument("name")
@click.option("--model", "models", multiple=True, help="Pattern of models; once for each.")
@click.option("--route", "routes", multiple=True, help="Pattern of paths; once for each.")
@click.option("--max-running", type=click.IntRange(0), help="Requests at a time.")
@click.option("--requests-per-minute", type=click.IntRange(0), help="Requests within a minute.")
@click.option("--tokens-per-minute", type=click.IntRange(0), help="Tokens within a minute.")
@click.option(
    "--weight",
    type=click.FloatRange(0, min_open=True),
    help="How much of a busy model it gets; 1 without it.",
)
@click.option("--priority", type=int, help="Whose requests come first where requests wait.")
@click.option("--admin", is_flag=True, help="The key may change the gateway.")
@_config
def add(name: str, config: Path | None, **wanted: object) -> None:
    """
    Make a secret for NAME, print it once, and keep its digest in the settings file.

    \b
    Example: olgate keys add alice --model 'qwen/*' --max-running 4
    """
    from secrets import token_urlsafe

    from ..settings.key_tables import CannotEdit, with_key
    from ..settings.values import digest_of, is_key_name

    if not is_key_name(name):
        sys.exit("olgate: a name begins with a letter and has letters, digits, _ and - only")
    file = _file(config)
    secret = f"olgate-{token_urlsafe(32)}"
    values = {key: value for key, value in wanted.items() if value}
    try:
        text = file.read_text("utf-8-sig") if file.exists() else ""
        _write(file, with_key(text, name, {"digest": digest_of(secret), **values}))
    except (OSError, CannotEdit) as problem:
        sys.exit(f"olgate: {problem}")
    click.echo(secret)
    click.echo(f"This is the key of {name}, shown this once; {_THEN}.", err=True)


@keys.command("list")
@_config
def list_keys(config: Path | None) -> None:
    """
    List the keys and what each may do; secrets are never shown.

    \b
    Example: olgate keys list
    """
    from ..settings.schema import KeySettings
    from ..settings.written import as_value
    from .tables import print_table

    found = load_settings(_flags(config)).settings
    plain = KeySettings()
    rows = []
    for name, key in found.keys.items():
        stated = [
            f"{each} = {as_value(value)}"
            for each in key.__struct_fields__
            if each != "digest" and (value := getattr(key, each)) != getattr(plain, each)
        ]
        stated += [f"stands for port {port.port}" for port in found.listen.more if port.key == name]
        rows.append((name, ", ".join(stated) or "everything but admin"))
    if found.listen.keys:
        rows.append(
            ("listen.keys", f"{len(found.listen.keys)} without names, which may everything")
        )
    if not rows:
        click.echo("there are no keys: everybody who reaches the port may use the gateway")
        return
    print_table(("NAME", "WHAT"), rows)


@keys.command()
@click.argument("name")
@_config
def remove(name: str, config: Path | None) -> None:
    """
    Remove the key of NAME from the settings file.

    \b
    Example: olgate keys remove alice
    """
    from ..settings.key_tables import CannotEdit, without_key

    file = _file(config)
    try:
        _write(file, without_key(file.read_text("utf-8-sig") if file.exists() else "", name))
    except (OSError, CannotEdit) as problem:
        sys.exit(f"olgate: {problem}")
    click.echo(f"the key of {name} is removed; {_THEN}")
    for port in load_settings(_flags(config)).settings.listen.more:
        if port.key == name:
            click.echo(
                f"port {port.port} (listen.more) stands for it: from then on it refuses every "
                "request, and a start of the gateway wants the port removed",
                err=True,
            )


def _file(config: Path | None) -> Path:
    from ..settings.location import find_file, platform_file

    return find_file(config, os.environ) or platform_file()


def _write(file: Path, text: str) -> None:
    """Replace a file at once, so that no reader sees half of it; its mode stays."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
    with open(
        os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8"
    ) as at:
        at.write(text)
    new.replace(file)


def _flags(config: Path | None) -> Flags:
    return {"host": None, "port": None, "upstream": (), "config": config, "log_level": None}
