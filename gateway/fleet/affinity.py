"""
The hash of a request's beginning: LM Studio keeps the prompt's cache of what begins alike.

A beginning is the model, the system text, the tools, and the messages up to the first one of the
user. All requests of one conversation have the same beginning, and so have conversations that share
a long system text and a first question. Which members of a request these are is said in `needs`.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from ..wire.lenient import UNREADABLE

MOST_BYTES = 16 * 1024
"""The most bytes of one part that are hashed; what differs only later is alike."""
MOST_TURNS = 64
"""The most items of a list that are hashed, if none of them is a message of the user."""

_encode = msgspec.json.Encoder().encode


class _Turn(msgspec.Struct, gc=False):
    """One message of a request as it came: its role, and the bytes are kept beside it."""

    role: Any = None


_TURNS = msgspec.json.Decoder(list[msgspec.Raw])
_TURN = msgspec.json.Decoder(_Turn)


def beginning_of(model: str, parts: Iterable[Any]) -> int:
    """
    Return 64 bits for the beginning of a request, never 0, the same in every process.

    A part is a text, raw JSON, a struct of a request or a list of these; absent parts (None, UNSET)
    count as absent. A list of messages is cut behind the first one of the user.

    >>> turns = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]
    >>> later = [*turns, {"role": "assistant", "content": "Hello"}]
    >>> beginning_of("m", [turns]) == beginning_of("m", [later])
    True
    """
    digest = blake2b(model.encode("utf-8", "surrogatepass"), digest_size=8)
    for part in parts:
        digest.update(b"\0")
        if part is None or part is msgspec.UNSET:
            continue
        for piece in _pieces(part):
            digest.update(piece[:MOST_BYTES])
    return int.from_bytes(digest.digest(), "big") or 1


def _pieces(part: Any) -> Iterable[bytes]:
    if isinstance(part, str):
        # No more characters than bytes are used.
        return (part[:MOST_BYTES].encode("utf-8", "surrogatepass"),)
    if isinstance(part, msgspec.Raw | bytes):
        return _of_raw(memoryview(part))
    if isinstance(part, list):
        return _of_turns(part)
    return (_encoded(part),)


def _of_turns(turns: list[Any]) -> Iterable[bytes]:
    for turn in turns[:MOST_TURNS]:
        yield _encoded(turn)
        role = turn.get("role") if isinstance(turn, dict) else getattr(turn, "role", None)
        if role == "user":
            return


def _of_raw(raw: memoryview) -> Iterable[bytes]:
    """Cut raw messages behind the user's first one; other JSON is one piece."""
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
        try:
            role = _TURN.decode(turn).role
        except UNREADABLE:
            continue
        if role == "user":
            return


def _encoded(part: Any) -> bytes:
    try:
        return _encode(part)[:MOST_BYTES]
    except (TypeError, ValueError):
        return repr(part).encode("utf-8", "surrogatepass")[:MOST_BYTES]
