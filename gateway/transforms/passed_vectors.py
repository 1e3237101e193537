"""Vectors of answers that are passed on: none is missing, and each is in the wanted form."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..faults import UpstreamFailure
from ..wire import float32
from ..wire.apart import in_their_places, take_out
from ..wire.lenient import UNREADABLE
from ._vector_blocks import DIFFER, read_in_blocks

_decode_members: Final = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_EMBEDDING: Final = "embedding"
_MOST_BLANK: Final = 64
"""Bytes of a list that may have nothing but blanks in it."""


def passed_on_vectors(data: Raw | UnsetType, count: int, in_base64: bool) -> list[Raw] | UnsetType:
    """
    Return the embeddings of an answer that is passed on with vectors as base64; UNSET as they came.

    `count` is how many there must be, 0 for any number. A vector that is a text is in base64
    already; of numbers it is made of little-endian float32. Raises UpstreamFailure (`empty`) when a
    vector is missing, empty, of another length than the others, or not made of numbers.
    (docs/facts/lmstudio.md#embeddings-errors)

    >>> data = Raw(b'[{"embedding":[1,-0.5],"index":0}]')
    >>> passed_on_vectors(data, 1, False)
    UNSET
    >>> bytes(passed_on_vectors(data, 1, True)[0])
    b'{"embedding":"AACAPwAAAL8=","index":0}'
    """
    items, vectors = _read(b"null" if isinstance(data, UnsetType) else bytes(data))
    if count and len(vectors) != count:
        raise UpstreamFailure(f"vectors for {len(vectors)} of {count} texts", fault="empty")
    for vector in vectors:
        is_text = vector[:1] == b'"'
        if not (is_text or float32.is_list_of_numbers(vector)):
            raise _not_numbers()
        if vector == b'""' or (len(vector) < _MOST_BLANK and not vector.strip(b"[ \t\r\n]")):
            raise UpstreamFailure("a vector without numbers", fault="empty")
    lists = [vector for vector in vectors if vector[:1] != b'"']
    if in_base64 and lists:
        packed = _packed(lists)
        for item, vector in zip(items, vectors, strict=True):
            if vector[:1] != b'"':
                item[_EMBEDDING] = Raw(b'"%b"' % b64encode(next(packed)))
        return [Raw(msgspec.json.encode(item)) for item in items]
    # A list of numbers has nothing within that has commas of its own.
    if len(lists) > 1 and len({*map(float32.comma_count, lists)}) > 1:
        raise UpstreamFailure(DIFFER, fault="empty")
    return UNSET


def _read(data: bytes) -> tuple[list[dict[str, Raw]], list[bytes]]:
    """Return the members of each item, and the vectors, which are not decoded with them."""
    rest, lists = take_out([data], _EMBEDDING.encode())
    vectors: Sequence[bytes | memoryview] | None = None
    with suppress(*UNREADABLE, KeyError):
        items = _decode_members(rest)
        vectors = in_their_places([item[_EMBEDDING] for item in items], lists)
    if vectors is None:
        try:
            items = _decode_members(data)
            vectors = [bytes(item[_EMBEDDING]) for item in items]
        except (*UNREADABLE, KeyError):
            raise _not_numbers() from None
    return items, [*map(bytes, vectors)]


def _packed(lists: list[bytes]) -> Iterator[bytes]:
    try:
        for block in read_in_blocks(lists):
            yield from block.packed()
    except float32.Ragged:
        raise UpstreamFailure(DIFFER, fault="empty") from None
    except ValueError:
        raise _not_numbers() from None


def _not_numbers() -> UpstreamFailure:
    return UpstreamFailure("a vector that is no list of numbers", fault="empty")
