"""
The tables of access keys in the text of a settings file: adding one, and removing one.

The rest of the file, its comments included, stays as it is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

from .paths import KEYS
from .written import as_value

_TABLE = re.compile(r"^[ \t]*\[")


class CannotEdit(Exception):
    """The file's text cannot be changed safely; one sentence says what to do instead."""


def with_key(text: str, name: str, values: Mapping[str, object]) -> str:
    """Return a settings file's text with a table of a key at its end. Raises CannotEdit."""
    if name in _keys_of(text):
        raise CannotEdit(f"there is a key {name} already: remove it first, or choose another name")
    lines = [f"[{KEYS}.{name}]", *(f"{key} = {as_value(value)}" for key, value in values.items())]
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    after = f"{text}{gap}" + "\n".join(lines) + "\n"
    _check(text, after, name, is_there=True)
    return after


def without_key(text: str, name: str) -> str:
    """Return a settings file's text without the table of a key. Raises CannotEdit."""
    if name not in _keys_of(text):
        raise CannotEdit(f"there is no key {name} in the settings file")
    heading = re.compile(rf"^[ \t]*\[\s*{KEYS}\s*\.\s*[\"']?{re.escape(name)}[\"']?\s*\]")
    kept: list[str] = []
    is_inside = False
    for line in text.splitlines(keepends=True):
        if _TABLE.match(line):
            is_inside = heading.match(line) is not None
        if not is_inside:
            kept.append(line)
    after = "".join(kept)
    _check(text, after, name, is_there=False)
    return after


def _keys_of(text: str) -> Mapping[str, object]:
    try:
        found = tomllib.loads(text).get(KEYS, {})
    except tomllib.TOMLDecodeError as problem:
        raise CannotEdit(f"the settings file is not TOML: {problem}") from None
    return found if isinstance(found, dict) else {}


def _check(before: str, after: str, name: str, *, is_there: bool) -> None:
    """Raise CannotEdit if anything but the key's table has changed."""
    try:
        old, new = tomllib.loads(before), tomllib.loads(after)
    except tomllib.TOMLDecodeError:
        old, new = {}, {"": None}
    tables = new.get(KEYS, {})
    is_right = (name in tables) == is_there
    for content in (old, new):
        content.get(KEYS, {}).pop(name, None)
        if not content.get(KEYS, True):
            del content[KEYS]
    if not is_right or old != new:
        raise CannotEdit(
            f"the table of {name} is not written as [{KEYS}.{name}] with its keys below: edit the "
            "file by hand"
        )
