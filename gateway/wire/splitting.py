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
"""
Bytes that compiled code looks at in one step: at most 3 ms, where each value has a check.

At least the 12 of a pair of surrogates, as texts are cut between whole escapes.
"""
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
BACKSLASH: Final = ord("\\")
"""As a number: searching for it is ten times as fast."""
_HALF_A_PAIR: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
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
    is_long = body[at : at + 1] == b'"' and body.find(b'"', at + 1, stop) < 0
    found = None if is_long else _VALUE.match(body, at, stop)
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
        size, is_end = _rest_of_text(body, at)
        if size and not is_json(b'"%b"' % body[at : at + size]):
            # A mistake, or half a pair of surrogates, which is none to Go.
            yield from _walk_over_text(body, at, at + size)
        elif not (size or is_end):
            raise broken_at(body, at, "in string literal")
        at += size
        if is_end:
            return at + 1
        yield


def _rest_of_text(body: bytes, at: int) -> tuple[int, bool]:
    """Return how many bytes of a text one step takes, and whether its quote follows them."""
    stop = at + WINDOW
    quote = body.find(b'"', at, stop)
    if quote >= 0 and body[quote - 1] != BACKSLASH:
        return quote - at, True
    piece = body[at:stop]
    if BACKSLASH in piece:
        piece = without_quotes(piece)
    quote = piece.find(b'"')
    if quote >= 0:
        return quote, True
    # Where the body ends in a text, what it ends with is the mistake.
    return whole_units(piece) if stop < len(body) else len(piece), False


def without_quotes(piece: bytes) -> bytes:
    r"""
    Return a piece of a text, with other bytes for its escaped quotes and backslashes.

    It begins with a whole unit. Each backslash that is left begins an escape, and no quote is left
    but that after the text.

    >>> without_quotes(rb'\\\"\n"')
    b'....\\n"'
    """
    return piece.replace(b"\\\\", b"..").replace(b'\\"', b"..")


def whole_units(piece: bytes) -> int:
    r"""
    Return how many bytes of a piece `without_quotes` don't end within an escape or a pair of them.

    >>> whole_units(rb"a\n\u12"), whole_units(rb"a\ud83d"), whole_units(rb"a\n")
    (3, 1, 3)
    """
    size = len(piece)
    last = piece.rfind(b"\\", max(size - 6, 0))
    if last < 0:
        return size
    if last + 1 == size or (piece[last + 1 : last + 2] == b"u" and last + 6 > size):
        size = last
    half = _HALF_A_PAIR.match(piece, max(size - 6, 0), size)
    return size if half is None else half.start()


def _walk_over_text(body: bytes, at: int, stop: int) -> Steps[None]:
    """Look at some whole units of a text; raises `Broken` for a mistake."""
    while at < stop:
        begin = at
        found = _PLAIN.match(body, at, min(at + SMALL, stop))
        at = found.end() if found is not None else at
        if at < stop and body[at] == BACKSLASH:
            escapes = _ESCAPES.match(body, at, min(at + SMALL, stop))
            at = escapes.end() if escapes is not None else at
        if at == begin:
            skip_string(body, at - 1)
            return
        yield


def _skip_blanks(body: bytes, at: int) -> Steps[int]:
    while body[at : at + 1] in _BLANKS_BY_ONE:
        found = _BLANKS.match(body, at, at + WINDOW)
        at = found.end() if found is not None else at
        yield
    return at


_BLANKS_BY_ONE: Final = frozenset(bytes((each,)) for each in _BLANK)
