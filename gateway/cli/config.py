"""
`olgate config`: the effective settings and the source of each, and what can be set.
"""

import json
import os
from typing import Unpack

import click

from .options import Flags, load_settings, serve_options


@click.command("config")
@serve_options
@click.option("--default", "shows_default", is_flag=True, help="Print a file of all defaults.")
@click.option("--schema", "shows_schema", is_flag=True, help="Print a JSON Schema for editors.")
def show_config(shows_default: bool, shows_schema: bool, **flags: Unpack[Flags]) -> None:
    """
    Print the effective settings and the source of each, as TOML; secrets are masked.

    \b
    Example: olgate config --default > olgate.toml
    """
    if shows_default or shows_schema:
        from ..settings import reference

        _print(reference.default_file() if shows_default else _as_json(reference.json_schema()))
        return
    loaded = load_settings(flags)
    from ..settings.location import find_file, platform_file
    from ..settings.written import as_comment, as_toml

    file = find_file(flags["config"], os.environ)
    read = f"settings file: {file}" if file else f"no settings file; would be {platform_file()}"
    _print(f"{as_comment(read).strip()}\n\n{as_toml(loaded.settings, loaded.sources)}")


def _as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _print(text: str) -> None:
    """Print in UTF-8, whatever the encoding of the console is: it is read back as a file."""
    click.echo(text.encode(), nl=False)
