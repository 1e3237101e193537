"""
`olgate config`: the effective settings and the source of each.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Unpack

import click

from gateway.cli.options import Flags, load_settings, serve_options


@click.command("config")
@serve_options
def show_config(**flags: Unpack[Flags]) -> None:
    """Print the effective settings and the source of each; secrets are masked."""
    loaded = load_settings(flags)
    from gateway.settings.sources import describe

    click.echo(_as_toml(describe(loaded.settings), loaded.sources), nl=False)


def _as_toml(values: Mapping[str, object], sources: Mapping[str, str]) -> str:
    """Write `section.key` values as a TOML file; secrets and unset values are comments."""
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
