"""The kind of a raw JSON value, by its first byte, its value, and searches in large ones."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, UnsetType

from ..wire.go_json import first_value
from ..wire.lenient import UNREADABLE

Kind = Literal["absent", "string", "number", "bool", "array", "object"]

_KINDS: Final[dict[bytes, Kind]] = {
    b"": "absent",
    b"n": "absent",
    b'"': "string",
    b"t": "bool",
    b"f": "bool",
    b"[": "array",
    b"{": "object",
}

SEARCHED_BYTES: Final = 64 * 1024
"""What is searched at a time: at most 1 ms of work, and a tenth for a pattern with a beginning."""
OVERLAP_BYTES: Final = 64
"""
The bytes that are searched in the window before and in its own, for what stands in both, and for
what a pattern looks back at.
"""


def kind_of(raw: Raw | UnsetType) -> Kind:
    """Return the kind of a value; null counts as absent."""
    if isinstance(raw, UnsetType):
        return "absent"
    return _KINDS.get(bytes(memoryview(raw)[:1]), "number")


def decoded(raw: Raw | UnsetType) -> Any:
    """
    Return the value of a client's raw JSON, None for none.

    Bytes that are not UTF-8 and lone surrogates become U+FFFD, as in Go: a raw value may hold them.

    >>> decoded(Raw(bytes([34, 255, 34]))) == chr(0xFFFD)
    True
    """
    if isinstance(raw, UnsetType):
        return None
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        return first_value(bytes(raw))


def found_in(raw: Raw, pattern: re.Pattern[bytes]) -> bool:
    """
    Return whether a pattern of at most `OVERLAP_BYTES` is in raw JSON.

    It is searched in windows: in a thread, other threads get their turns only between them.

    >>> found_in(Raw(b'["tool"]'), re.compile(rb'"tool"'))
    True
    """
    text = memoryview(raw)
    for at in range(0, len(text), SEARCHED_BYTES):
        start = max(0, at - OVERLAP_BYTES)
        if pattern.search(text[start : at + SEARCHED_BYTES]) is not None:
            return True
    return False
