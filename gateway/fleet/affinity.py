"""
The hash of a request's beginning: LM Studio keeps the prompt's cache of what begins alike.

A beginning is the model, the system text, the tools, and the messages up to the first one of the
user. All requests of one conversation have the same beginning, and so have conversations that share
a long system text and a first question. Which members of a request these are, and what ends a list
of messages, is said by the route's `Needs`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from hashlib import blake2b
from typing import Any

import msgspec

from ..wire.lenient import UNREADABLE

MOST_BYTES = 16 * 1024
"""The most bytes of one part that are hashed; what differs only later is alike."""
MOST_TURNS = 64
"""The most items of a list that are hashed, if none of them ends the beginning."""

Until = tuple[str, str] | None
"""A member and its value that the last item of a beginning has; None where nothing ends it."""

_encode = msgspec.json.Encoder().encode
_TURNS = msgspec.json.Decoder(list[msgspec.Raw])


@cache
def _only(name: str) -> msgspec.json.Decoder[Any]:
    """Return a decoder of objects that reads one member alone."""
    return msgspec.json.Decoder(msgspec.defstruct("Only", [(name, Any, None)], gc=False))


def read_member(raw: msgspec.Raw, name: str) -> Any:
    """Return a member of a raw object, None where it has none; raises those of `UNREADABLE`."""
    return getattr(_only(name).decode(raw), name)


def beginning_of(model: str, parts: Iterable[Any], until: Until = None) -> int:
    """
    Return 64 bits for the beginning of a request, never 0, the same in every process.

    A part is a text, raw JSON, a struct of a request or a list of these; absent parts (None, UNSET)
    count as absent. A list is cut behind the first item that has what `until` says.

    >>> turns = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]
    >>> later = [*turns, {"role": "assistant", "content": "Hello"}]
    >>> until = ("role", "user")
    >>> beginning_of("m", [turns], until) == beginning_of("m", [later], until)
    True
    """
    digest = blake2b(model.encode("utf-8", "surrogatepass"), digest_size=8)
    for part in parts:
        digest.update(b"\0")
        if part is None or part is msgspec.UNSET:
            continue
        for piece in _pieces(part, until):
            digest.update(piece[:MOST_BYTES])
    return int.from_bytes(digest.digest(), "big") or 1


def _pieces(part: Any, until: Until) -> Iterable[bytes]:
    if isinstance(part, str):
        # No more characters than bytes are used.
        return (part[:MOST_BYTES].encode("utf-8", "surrogatepass"),)
    if isinstance(part, msgspec.Raw | bytes):
        return _of_raw(memoryview(part), until)
    if isinstance(part, list):
        return _of_turns(part, until)
    return (_encoded(part),)


def _of_turns(turns: list[Any], until: Until) -> Iterable[bytes]:
    for turn in turns[:MOST_TURNS]:
        yield _encoded(turn)
        if until is not None:
            name, last = until
            value = turn.get(name) if isinstance(turn, dict) else getattr(turn, name, None)
            if value == last:
                return


def _of_raw(raw: memoryview, until: Until) -> Iterable[bytes]:
    """Cut a raw list behind the item that ends the beginning; other JSON is one piece."""
    if bytes(raw[:1]) != b"[":
        yield bytes(raw[:MOST_BYTES])
        return
    try:
        turns = _TURNS.decode(raw)
    except UNREADABLE:
        yield bytes(raw[:MOST_BYTES])
        return
    for turn in turns[:MOST_TURNS]:
        yield bytes(turn)[:MOST_BYTES]
        if until is not None and _ends(turn, *until):
            return


def _ends(turn: msgspec.Raw, name: str, last: str) -> bool:
    try:
        return bool(read_member(turn, name) == last)
    except UNREADABLE:
        return False


def _encoded(part: Any) -> bytes:
    try:
        return _encode(part)[:MOST_BYTES]
    except (TypeError, ValueError):
        return repr(part).encode("utf-8", "surrogatepass")[:MOST_BYTES]
