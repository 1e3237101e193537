"""
Small functions on values that generated code calls and no rule names.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import inf
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from ..observability.journal import get_logger
from ..wire.go_text import quote
from ..wire.lenient import UNREADABLE
from ..wire.odd_values import note_odd
from ..wire.salvage import NotJson, salvage

T = TypeVar("T")

_log = get_logger()


def value_of(raw: msgspec.Raw) -> Any:
    """
    Return the value of raw JSON; None for null, infinity where a number in it is too large.

    To Go such a value is of no type: neither an object nor a text. (docs/facts/ollama.md#format)

    >>> value_of(msgspec.Raw(b'{"a": 1}')), value_of(msgspec.Raw(b'{"a": -1e400}'))
    ({'a': 1}, inf)
    """
    try:
        return msgspec.json.decode(raw)
    except msgspec.ValidationError:
        return inf


def path_value(text: str) -> str:
    """
    Return a value for a parameter of a path; its slashes are a part of the path.

    >>> path_value("a/b é?")
    'a/b%20%C3%A9%3F'
    """
    return urllib.parse.quote(text, errors="replace")


def shown(value: object) -> str:
    """
    Return a value for the braces of an error text: "" for absence, raw JSON as Go quotes it.

    >>> shown("a"), shown(None), shown(msgspec.Raw(b'"xml"'))
    ('a', '', '"\\\\"xml\\\\""')
    """
    if value is None or value is UNSET:
        return ""
    if isinstance(value, msgspec.Raw):
        return quote(bytes(value))
    return str(value)


def shown_quoted(value: object) -> str:
    r"""
    Return a text for the braces of an error text that ask for Go's quotes (`{name!q}`).

    >>> shown_quoted("a\tb"), shown_quoted(None)
    ('"a\\tb"', '""')
    """
    return quote(value if isinstance(value, str) else "")


@lru_cache(maxsize=256)
def _log_once(problem: str) -> None:
    """Log a problem once; its list is fetched every few seconds."""
    _log.warning("left out an entry of LM Studio's list", reason=problem)


def decode_each(items: Iterable[msgspec.Raw], decoder: msgspec.json.Decoder[T]) -> Iterator[T]:
    """
    Decode a list item by item; what cannot be read of an item is left out and counted.

    An item without a value that it needs is left out as a whole, and logged once.
    """
    for item in items:
        try:
            value = decoder.decode(item)
        except UNREADABLE:
            name = decoder.type.__name__
            try:
                value, odd = salvage(bytes(item), decoder.type)
            except NotJson as problem:
                note_odd(name, ("entry",))
                _log_once(str(problem))
                continue
            note_odd(name, odd)
        yield value
