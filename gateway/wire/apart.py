"""
The lists of numbers in a large JSON answer, taken out before it is decoded.

A decoder looks at every byte of a list even where it only has to find its end, and does so without
giving the interpreter's lock back. A search for the bracket that ends the list is many times as
fast, and one list is one step.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from operator import attrgetter
from typing import Final, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Raw

from .splitting import Steps

_OPENING, _CLOSING = b"[]"
"""As numbers, which `find` takes in fewer steps than bytes."""
_exhaust: Final = deque[None](maxlen=0).extend
_stand_in: Final = lru_cache(maxsize=1024)(b"[%d]".__mod__)
"""Makes what stands in the place of a list with a number. Making one takes as long as a search."""


class Place(NamedTuple):
    """Where lists are in a struct: a field that is a list of structs, and a raw field of these."""

    items: str
    field: str
    key: bytes
    """The raw field's name in JSON."""


@lru_cache(maxsize=64)
def place_in(kind: type[msgspec.Struct]) -> Place | None:
    """Return where a struct has raw values in a list, None where it has not exactly one place."""
    found = [
        Place(outer.name, inner.name, inner.encode_name.encode())
        for outer in msgspec.structs.fields(kind)
        if get_origin(outer.type) is list
        for item in get_args(outer.type)
        if isinstance(item, type) and issubclass(item, msgspec.Struct)
        for inner in msgspec.structs.fields(item)
        if inner.type is Raw
    ]
    return found[0] if len(found) == 1 else None


@lru_cache(maxsize=64)
def _member_of(name: bytes) -> re.Pattern[bytes]:
    """
    Return what finds the start of a member that is a list, up to the bracket.

    In valid JSON these bytes are a member, unless the first quote is one within a text.
    """
    quoted = b'"%b"' % re.escape(name)
    return re.compile(rb"%b(?<!\\%b)[ \t\r\n]*:[ \t\r\n]*(?=\[)" % (quoted, quoted))


def take_out(pieces: Sequence[bytes], key: bytes) -> tuple[bytes, list[memoryview]]:
    """Return what `take_out_in_steps` does, at once."""
    if len(pieces) == 1:
        # Most answers come in one piece, for which there is no seam.
        rest: list[bytes] = []
        lists: list[memoryview] = []
        _take_out_of(pieces[0], 0, len(pieces[0]), _member_of(key), rest, lists)
        return b"".join(rest), lists
    steps = take_out_in_steps(pieces, key)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            taken: tuple[bytes, list[memoryview]] = end.value
            return taken


def take_out_in_steps(pieces: Sequence[bytes], key: bytes) -> Steps[tuple[bytes, list[memoryview]]]:
    r"""
    Return JSON without the flat lists that members of that name have, and these lists.

    It comes in pieces, which are not joined: only the bytes around a seam are. The lists are parts
    of these bytes, not copies. One with the number of the list that was there is in its place.
    A list without lists is taken out; whether it is one of numbers, and valid JSON, is not looked
    at. If it has a text with a bracket, it ends there, within a text: then it is not valid, and
    what is left mostly is not. The name has no bracket. A step is for a piece.

    >>> rest, lists = take_out([b'{"a": [{"n": [0.5, ', b'1]}, {"n": [2]}], "b": "[3]"}'], b"n")
    >>> rest, [*map(bytes, lists)]
    (b'{"a": [{"n": [0]}, {"n": [1]}], "b": "[3]"}', [b'[0.5, 1]', b'[2]'])
    """
    member = _member_of(key)
    rest: list[bytes] = []
    lists: list[memoryview] = []
    held: list[bytes] = []
    for left, piece in enumerate(pieces, 1 - len(pieces)):
        # Neither a name nor a list of numbers goes on after the bracket that ends a list.
        end = piece.rfind(b"]") + 1 if left else len(piece)
        start = 0
        if held and end:
            start = piece.find(b"]") + 1 or end
            held.append(piece[:start])
            seam = b"".join(held)
            held = []
            _take_out_of(seam, 0, len(seam), member, rest, lists)
        _take_out_of(piece, start, end, member, rest, lists)
        if end < len(piece):
            held.append(piece[end:])
        if left:
            yield
    return b"".join(rest), lists


def _take_out_of(
    data: bytes,
    start: int,
    end: int,
    member: re.Pattern[bytes],
    rest: list[bytes],
    lists: list[memoryview],
) -> None:
    """Add to the rest and to the lists what is in a part of some bytes."""
    view, find, search = memoryview(data), data.find, member.search
    done = at = start
    while (found := search(data, at, end)) is not None:
        first = found.end()
        at = find(_CLOSING, first, end) + 1
        if not at:
            break
        if find(_OPENING, first + 1, at) < 0:
            rest += data[done:first], _stand_in(len(lists))
            lists.append(view[first:at])
            done = at
    rest.append(data[done:end])


def put_back(answer: msgspec.Struct, place: Place, lists: list[memoryview]) -> bool:
    """
    Give the items of a decoded struct the lists that were taken out.

    Returns False if they are not all there in their order, each once: then other members of that
    name were lists, or a name was written with escapes, and the answer must be decoded as it came.

    A list is put back as the view that it is. As `Raw`, it would be copied to be read.
    """
    items = getattr(answer, place.items)
    values = in_their_places(map(attrgetter(place.field), items), lists)
    if values is None:
        return False
    # Loops of C's: they are a step for each of hundreds of vectors.
    _exhaust(map(setattr, items, repeat(place.field), values))
    return True


def in_their_places(
    values: Iterable[Raw], lists: list[memoryview]
) -> Sequence[bytes | memoryview] | None:
    """
    Return values of members of that name, each list that was taken out in its place.

    Returns None if the lists are not all there in their order, each once, as `put_back` says.

    >>> lists = [memoryview(b"[0.5]"), memoryview(b"[7]")]
    >>> in_their_places([Raw(b"[0]"), Raw(b'"a"'), Raw(b"[1]")], lists)[1:2]
    [b'"a"']
    >>> in_their_places([Raw(b"[1]")], lists[:1]) is None
    True
    """
    found: list[bytes | memoryview] = []
    left = [*map(bytes, values)]
    if left == [*map(_stand_in, range(len(lists)))]:
        return lists
    due = 0
    for value in left:
        if value[:1] == b"[" and value[1:-1].isdigit():
            if due == len(lists) or value != _stand_in(due):
                return None
            found.append(lists[due])
            due += 1
        else:
            found.append(value)
    return found if due == len(lists) else None
