"""
Small functions on values that generated code calls and no rule names.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from gateway.wire.go_text import quote
from gateway.wire.lenient import UNREADABLE

T = TypeVar("T")

_log = logging.getLogger("gateway.runtime.values")


def value_of(raw: msgspec.Raw) -> Any:
    """Return the value of raw JSON; None for null."""
    return msgspec.json.decode(raw)


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
    _log.warning("left out an entry of LM Studio's list: %s", problem)


def decode_each(items: Iterable[msgspec.Raw], decoder: msgspec.json.Decoder[T]) -> Iterator[T]:
    """Decode a list item by item; an item that cannot be decoded is left out and logged once."""
    for item in items:
        try:
            value = decoder.decode(item)
        except UNREADABLE as error:
            _log_once(str(error))
        else:
            yield value
