"""
Split a large JSON body into parts, in steps that each take a bounded time.

A step is one `yield` of a generator; the caller decides when the next one runs. Each step looks at
no more than `WINDOW` bytes with compiled code, or `SMALL` bytes with patterns. Everything that is
passed over is checked by Go's rules, so a whole that was split is JSON, and a whole that is not is
refused in Go's words at the place where the splitting stops.

A run is some items of an array that follow one another. Its end is guessed from its bytes, and
proven: if the bytes up to a comma are a list of values, that comma stands between two items.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from ..faults import Refusal
from .go_json import MISSING_BODY, first_value
from .go_syntax import (
    TEXT,
    Broken,
    broken_at,
    is_json,
    runs_of_items,
    skip_scalar,
    skip_string,
    value_pattern,
)
from .lenient import UNREADABLE
from .shapes import Shape, fold

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""Work that ends in a value; after every step the caller may do something else."""

PartKind: TypeAlias = Literal["leaf", "run", "text", "array", "object"]

WINDOW: Final = 16 * 1024
"""Bytes that compiled code looks at in one step: at most 3 ms, where each value has a check."""
SMALL: Final = 4 * 1024
"""Bytes that a pattern or interpreted code looks at in one step: about 1 ms."""

LONGEST_KEY: Final = 256
"""Bytes of the longest key that could be a field's name, with its colon and blanks."""

MOST_DIGITS: Final = 64 * 1024
"""Digits of the longest number that is read."""
MOST_MEMBERS: Final = 10_000
"""Members that are kept of one object."""

_BLANK: Final = b" \t\r\n"
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")
_VALUE: Final = re.compile(value_pattern(3).encode())
_ITEMS: Final = runs_of_items(3)[0]
_KEY: Final = re.compile(rf"({TEXT})[ \t\r\n]*+:[ \t\r\n]*+".encode())
_NUMBER: Final = re.compile(rb"[-+.0-9eE]*+")
_PLAIN: Final = re.compile(rb'[^"\\\x00-\x1f]*+')
_ESCAPES: Final = re.compile(rb'(?>\\(?:[bfnrt\\/"]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]{0,64}+)*+')
_NUMBER_STARTS: Final = frozenset(b"%c" % each for each in b"-0123456789")
_CLOSERS: Final = {b"{": b"}", b"[": b"]", b'"': b'"'}
_HEAD: Final = 8
"""Bytes in which the items of a list usually begin alike, such as `{"role":`."""


@dataclass(slots=True, eq=False)
class Part:
    """
    Some bytes of a body, from `start` to `end`.

    A `leaf` is a short value, a `run` some items of an array without its brackets, a `text` a long
    string. The others have parts: `items` of an array, and `members` of an object by their names.
    Parts that nobody wants are not kept.
    """

    kind: PartKind
    start: int
    end: int
    items: list[Part] = field(default_factory=list)
    members: list[tuple[str, Part]] = field(default_factory=list)


def split(body: bytes, shape: Shape | None) -> Steps[Part]:
    """
    Split the first value of a body; what `shape` does not name is checked and not kept.

    Raises `Broken` with Go's text for a body without a value and for a syntax error, RecursionError
    for more levels than Python follows, and `Refusal` for what is beyond Go's measure.
    """
    at = yield from _skip_blanks(body, 0)
    if at == len(body):
        raise Broken(MISSING_BODY)
    return (yield from _split_value(body, at, shape))


def split_items(body: bytes, window: int) -> Steps[list[Part]]:
    """Split some items, as a run has them, into smaller runs; `body` is known to be JSON."""
    whole = yield from _split_array(b"[" + body + b"]", 0, _ANY, window)
    for part in whole.items:
        part.start -= 1
        part.end -= 1
    return whole.items


_ANY: Final = Shape(item=Shape())
ANY_OBJECT: Final = Shape(frozenset({"object"}), item=Shape())
"""The shape of an object all of whose members are wanted."""


def is_at_end(body: bytes, at: int) -> Steps[bool]:
    """Return whether nothing but blanks follows."""
    return (yield from _skip_blanks(body, at)) == len(body)


def _split_value(body: bytes, at: int, shape: Shape | None) -> Steps[Part]:
    stop = min(at + SMALL, len(body))
    found = _VALUE.match(body, at, stop)
    # A number at the end of what was looked at may go on.
    if found is not None and (found.end() < stop or stop == len(body)):
        return Part("leaf", at, found.end())
    yield
    first = body[at : at + 1]
    if first == b"[":
        return (yield from _split_array(body, at, shape))
    if first == b"{":
        return (yield from _split_object(body, at, shape))
    if first == b'"':
        return Part("text", at, (yield from _end_of_text(body, at)))
    number = _NUMBER.match(body, at, at + MOST_DIGITS)
    if number is not None and number.end() == at + MOST_DIGITS:
        raise Refusal(400, f"a number in the body has more than {MOST_DIGITS} digits")
    # A long number is one, and everything else is a mistake.
    return Part("leaf", at, skip_scalar(body, at))


def _split_array(
    body: bytes, start: int, shape: Shape | None, window: int | None = None
) -> Steps[Part]:
    whole = Part("array", start, start)
    inner = None if shape is None else shape.item
    keeps = shape is not None and (inner is not None or not shape.kinds)
    at = yield from _skip_blanks(body, start + 1)
    if body[at : at + 1] == b"]":
        whole.end = at + 1
        return whole
    while True:
        comma = _end_of_run(body, at, window or WINDOW)
        yield
        if comma is not None:
            if keeps:
                whole.items.append(Part("run", at, comma))
        else:
            part = yield from _split_value(body, at, inner)
            if keeps:
                whole.items.append(part)
            comma = yield from _skip_blanks(body, part.end)
            if body[comma : comma + 1] == b"]":
                whole.end = comma + 1
                return whole
            if body[comma : comma + 1] != b",":
                raise _no_separator(body, part, comma, "after array element")
        at = yield from _skip_blanks(body, comma + 1)


def _end_of_run(body: bytes, at: int, window: int) -> int | None:
    """Return the position of the comma after as many items as are found in one step."""
    stop = min(at + window, len(body))
    first = body[at : at + 1]
    closer = _CLOSERS.get(first, b"")
    head = body[at : at + _HEAD] if first == b"{" else b""
    for mark in (closer + b"," + head, closer + b", " + head, closer + b","):
        found = body.rfind(mark, at, stop)
        if found > at and is_json(b"[" + body[at : found + len(closer)] + b"]"):
            return found + len(closer)
    end = _ITEMS.match(body, at, min(at + SMALL, stop))
    return end.end() - 1 if end is not None and end.end() > at else None


def _split_object(body: bytes, start: int, shape: Shape | None) -> Steps[Part]:
    whole = Part("object", start, start)
    at = yield from _skip_blanks(body, start + 1)
    if body[at : at + 1] == b"}":
        whole.end = at + 1
        return whole
    while True:
        name, at = yield from _key(body, at)
        inner = None if shape is None else _wanted(shape, name)
        part = yield from _split_value(body, at, inner)
        if inner is not None:
            if len(whole.members) == MOST_MEMBERS:
                raise Refusal(400, f"an object in the body has more than {MOST_MEMBERS} members")
            whole.members.append((name, part))
        yield
        at = yield from _skip_blanks(body, part.end)
        if body[at : at + 1] == b"}":
            whole.end = at + 1
            return whole
        if body[at : at + 1] != b",":
            raise _no_separator(body, part, at, "after object key:value pair")
        at = yield from _skip_blanks(body, at + 1)


def _no_separator(body: bytes, part: Part, at: int, where: str) -> Broken:
    """Return the mistake after a value; raises the one in it, if it is a broken number."""
    if part.kind == "leaf" and body[part.start : part.start + 1] in _NUMBER_STARTS:
        skip_scalar(body, part.start)
    return broken_at(body, at, where)


def _key(body: bytes, at: int) -> Steps[tuple[str, int]]:
    """Return a key, and where its value starts; a long key, which no field has, is empty."""
    found = _KEY.match(body, at, at + LONGEST_KEY)
    if found is not None and found.end() < at + LONGEST_KEY:
        return key_text(found[1]), found.end()
    if body[at : at + 1] != b'"':
        raise broken_at(body, at, "looking for beginning of object key string")
    end = yield from _end_of_text(body, at)
    at = yield from _skip_blanks(body, end)
    if body[at : at + 1] != b":":
        raise broken_at(body, at, "after object key")
    at = yield from _skip_blanks(body, at + 1)
    return "", at


def key_text(raw: bytes) -> str:
    """Return the text of a key as it is written in JSON."""
    try:
        return msgspec.json.decode(raw, type=str)
    except UNREADABLE:
        found: Any = first_value(raw)
        return str(found)


def _wanted(shape: Shape, name: str) -> Shape | None:
    """Return the shape of a member, None if nothing of it is wanted."""
    if shape.struct is None:
        return shape.item if "object" in shape.kinds else None
    found = shape.fields.get(name)
    if found is None and (folded := shape.names.get(fold(name))) is not None:
        found = shape.fields[folded]
    return found


def _end_of_text(body: bytes, start: int) -> Steps[int]:
    at = start + 1
    while True:
        found = _PLAIN.match(body, at, at + WINDOW)
        at = found.end() if found is not None else at
        mark = body[at : at + 1]
        if mark == b'"':
            return at + 1
        if mark == b"\\":
            escapes = _ESCAPES.match(body, at, at + SMALL)
            if escapes is None or escapes.end() == at:
                return skip_string(body, at - 1)
            at = escapes.end()
        elif not mark or mark < b" ":
            return skip_string(body, at - 1)
        yield


def _skip_blanks(body: bytes, at: int) -> Steps[int]:
    while body[at : at + 1] in _BLANKS_BY_ONE:
        found = _BLANKS.match(body, at, at + WINDOW)
        at = found.end() if found is not None else at
        yield
    return at


_BLANKS_BY_ONE: Final = frozenset(bytes((each,)) for each in _BLANK)
