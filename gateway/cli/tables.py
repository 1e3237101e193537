"""
Output of commands: tables for people, and JSON for programs.

Output never fails because of the console's encoding: what it cannot show is written as an escape.
So is what would steer a terminal: names of models, texts of errors and headers come from others.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

import click

_UNITS = ("B", "KB", "MB", "GB", "TB")


def allow_any_character() -> None:
    """Have the console show characters outside its encoding as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        # Without a console, as under pythonw, there are no streams.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows below the names of their columns, as wide as their widest cell."""
    table = [list(columns), *([harmless(cell) for cell in row] for row in rows)]
    widths = [max(len(row[number]) for row in table) for number in range(len(columns))]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def print_json(value: object) -> None:
    """Print a value as JSON, in ASCII."""
    click.echo(json.dumps(value, indent=2))


def fail(sentence: str, code: int = 1) -> NoReturn:
    """End with a sentence on standard error, and an exit code."""
    click.echo(f"olgate: {harmless(sentence)}", err=True)
    sys.exit(code)


def say(text: str) -> None:
    """Print a line that may quote what came from others."""
    click.echo(harmless(text))


def harmless(text: str) -> str:
    r"""
    Return a text with control characters, and those that reorder others, as escapes.

    >>> harmless("tiny\x1b[2J é\u202e\n")
    'tiny\\x1b[2J é\\u202e\\n'
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def show_size(size_bytes: float) -> str:
    """
    Return a size as Ollama's command shows it, in units of 1000.

    >>> show_size(807403941), show_size(0)
    ('807 MB', '0 B')
    """
    unit = 0
    while size_bytes >= 1000 and unit < len(_UNITS) - 1:
        size_bytes /= 1000
        unit += 1
    digits = 1 if unit and size_bytes < 10 else 0
    return f"{size_bytes:.{digits}f} {_UNITS[unit]}"


def show_span(seconds: float) -> str:
    """
    Return a span of time in its largest whole unit.

    >>> show_span(90), show_span(7300), show_span(200000)
    ('1 minute', '2 hours', '2 days')
    """
    seconds = max(seconds, 0.0)
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= length or length == 1:
            count = int(seconds // length)
            return f"{count} {name}{'' if count == 1 else 's'}"
    raise AssertionError("a second is the smallest unit")
