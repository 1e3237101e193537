"""
Texts that say which values a setting accepts.
"""

from __future__ import annotations

import math
import re
from types import NoneType
from typing import Annotated, Literal, get_args, get_origin

from msgspec import Meta

from .values import read_duration

NO_LIMIT = {
    "upstream.connect_timeout_s": None,
    "upstream.first_byte_timeout_s": None,
    "upstream.silence_timeout_s": None,
    "models.context_length": None,
    "models.load_timeout_s": math.inf,
    "downloads.stall_timeout_s": None,
}
"""The settings for which 0 is no limit, and the value that stands for it."""

TABLES_OF_PORTS = "tables [[listen.more]], each with a port and the name of a key"
"""What `listen.more` accepts."""

_TRUE_WORDS = frozenset({"1", "t", "true", "yes", "on"})

_FALSE_WORDS = frozenset({"0", "f", "false", "no", "off"})


def from_text(hint: object, text: str) -> object:
    """Convert the text of a number or a boolean; all other values stay text."""
    if accepts(hint, bool):
        return text.lower() in _TRUE_WORDS if text.lower() in _TRUE_WORDS | _FALSE_WORDS else text
    if accepts(hint, int) and re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    if accepts(hint, float) and re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", text):
        return float(text)
    return text


def _kinds(hint: object) -> tuple[object, ...]:
    """Return the plain types in a hint, without Annotated and without None."""
    if get_origin(hint) is Annotated:
        return _kinds(get_args(hint)[0])
    if get_origin(hint) in (tuple, Literal) or not get_args(hint):
        return (hint,)
    return tuple(kind for part in get_args(hint) if part is not NoneType for kind in _kinds(part))


def accepts(hint: object, kind: type) -> bool:
    return any(each is kind or get_origin(each) is kind for each in _kinds(hint))


def expectation(hint: object, path: str) -> str:
    """Describe the values that a hint accepts."""
    (kind,) = _kinds(hint)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        return "a list of texts" if get_args(kind)[0] is str else TABLES_OF_PORTS
    if path == "answers.version":
        return "a version of dotted whole numbers, such as 0.34.4"
    words: dict[object, str] = {
        str: "text",
        bool: "true or false",
        int: "a whole number",
        float: "a number of seconds",
    }
    bounds = _bounds(hint)
    low, high = (
        next((v for m in bounds if (v := getattr(m, b)) is not None), None) for b in ("ge", "le")
    )
    if path.endswith(".weight"):
        return "a number above 0"
    if path in NO_LIMIT:
        return f"{words[kind]} from 0 (none)" if kind is int else f"{words[kind]} from 0 (no limit)"
    if high is not None:
        return f"{words[kind]} from {low} to {high}"
    return words[kind] if low is None else f"{words[kind]} of at least {low}"


def hint_of_duration(hint: object, value: object) -> str:
    """
    Say what to write instead of a duration with a unit, where a number of seconds is expected.

    >>> hint_of_duration(float, "5m"), hint_of_duration(float, "soon")
    ('; for 5m write 300', '')
    """
    if not accepts(hint, float) or not isinstance(value, str):
        return ""
    try:
        seconds = read_duration(value)
    except ValueError:
        return ""
    return "" if seconds is None else f"; for {value} write {seconds:g}"


def _bounds(hint: object) -> list[Meta]:
    found = [part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Meta)]
    for part in get_args(hint):
        found += _bounds(part) if get_origin(part) is Annotated else []
    return found
