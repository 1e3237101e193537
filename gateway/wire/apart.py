"""
The lists of numbers in a large JSON answer, taken out before it is decoded.

A decoder looks at every byte of a list even where it only has to find its end, and does so without
giving the interpreter's lock back. A search for the bracket that ends the list is many times as
fast, and one list is one step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Raw

from .float32 import is_list_of_numbers

_ESCAPE: Final = ord("\\")
_LIST_FOLLOWS: Final = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*(?=\[)")


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


def take_out(pieces: Sequence[bytes], key: bytes) -> tuple[bytes, list[bytes]]:
    r"""
    Return JSON without the lists of numbers that members of that name have, and these lists.

    It comes in pieces, which are not joined: only the bytes around a seam are. A list with the
    number of the one that was there is in its place. Whether what was taken out is valid JSON is
    not looked at. The name has no bracket.

    >>> take_out([b'{"a": [{"n": [0.5, ', b'1]}, {"n": [2]}], "b": "\\"n\\":[3]"}'], b"n")
    (b'{"a": [{"n": [0]}, {"n": [1]}], "b": "\\"n\\":[3]"}', [b'[0.5, 1]', b'[2]'])
    """
    name = b'"%b"' % key
    rest: list[bytes] = []
    lists: list[bytes] = []
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
            _take_out_of(seam, 0, len(seam), name, rest, lists)
        _take_out_of(piece, start, end, name, rest, lists)
        if end < len(piece):
            held.append(piece[end:])
    return b"".join(rest), lists


def _take_out_of(
    data: bytes, start: int, end: int, name: bytes, rest: list[bytes], lists: list[bytes]
) -> None:
    """Add to the rest and to the lists what is in a part of some bytes."""
    done, at = start, data.find(name, start, end)
    while at >= 0:
        follows = _LIST_FOLLOWS.match(data, at + len(name), end)
        # In valid JSON these bytes are a member, unless the first quote is one within a text.
        if follows is None or (at and data[at - 1] == _ESCAPE):
            at = data.find(name, at + len(name), end)
            continue
        first = follows.end()
        last = data.find(b"]", first, end) + 1
        if not last:
            break
        found = data[first:last]
        if is_list_of_numbers(found):
            rest += data[done:first], b"[%d]" % len(lists)
            lists.append(found)
            done = last
        at = data.find(name, last, end)
    rest.append(data[done:end])


def put_back(answer: msgspec.Struct, place: Place, lists: list[bytes]) -> bool:
    """
    Give the items of a decoded struct the lists that were taken out.

    Returns False if they are not all there in their order, each once: then other members of that
    name were lists, or a name was written with escapes, and the answer must be decoded as it came.

    A list is put back as the bytes that it is. As `Raw`, it would be copied to be read.
    """
    items = getattr(answer, place.items)
    values = in_their_places([getattr(item, place.field) for item in items], lists)
    if values is None:
        return False
    for item, value in zip(items, values, strict=True):
        setattr(item, place.field, value)
    return True


def in_their_places(values: Iterable[Raw], lists: list[bytes]) -> list[bytes] | None:
    """
    Return values of members of that name, each list that was taken out in its place.

    Returns None if the lists are not all there in their order, each once, as `put_back` says.

    >>> in_their_places([Raw(b"[0]"), Raw(b'"a"'), Raw(b"[1]")], [b"[0.5]", b"[7]"])
    [b'[0.5]', b'"a"', b'[7]']
    >>> in_their_places([Raw(b"[1]")], [b"[0.5]"]) is None
    True
    """
    found: list[bytes] = []
    due = 0
    for raw in values:
        value = bytes(raw)
        if value[:1] == b"[" and value[1:-1].isdigit():
            if due == len(lists) or value != b"[%d]" % due:
                return None
            value = lists[due]
            due += 1
        found.append(value)
    return found if due == len(lists) else None
