"""Vectors of answers that are passed on: none is missing, and each is in the wanted form."""

from __future__ import annotations

import sys
from array import array
from base64 import b64encode
from operator import attrgetter
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..faults import UpstreamFailure
from ..wire.lenient import UNREADABLE


class _Item(msgspec.Struct, gc=False):
    embedding: list[float] | str


_decode_items: Final = msgspec.json.Decoder(list[_Item]).decode
_decode_members: Final = msgspec.json.Decoder(list[dict[str, Raw]]).decode
# A function of operator's is not entered as one of Python's would be, once for each vector.
_embedding: Final = attrgetter("embedding")


def passed_on_vectors(data: Raw | UnsetType, count: int, in_base64: bool) -> list[Raw] | UnsetType:
    """
    Return the embeddings of an answer that is passed on with vectors as base64; UNSET as they came.

    `count` is how many there must be, 0 for any number. A vector that is a text is in base64
    already; of numbers it is made of little-endian float32. Raises UpstreamFailure (`empty`) when a
    vector is missing, empty, or not made of numbers. (docs/facts/lmstudio.md#embeddings-errors)

    >>> data = Raw(b'[{"embedding":[1,-0.5],"index":0}]')
    >>> passed_on_vectors(data, 1, False)
    UNSET
    >>> bytes(passed_on_vectors(data, 1, True)[0])
    b'{"embedding":"AACAPwAAAL8=","index":0}'
    """
    try:
        found = _decode_items(b"null" if isinstance(data, UnsetType) else data)
    except UNREADABLE:
        raise UpstreamFailure("a vector that is no list of numbers", fault="empty") from None
    vectors = [*map(_embedding, found)]
    if count and len(vectors) != count:
        raise UpstreamFailure(f"vectors for {len(vectors)} of {count} texts", fault="empty")
    if not all(vectors):
        raise UpstreamFailure("a vector without numbers", fault="empty")
    if not in_base64 or {*map(type, vectors)} <= {str}:
        return UNSET
    items = [] if isinstance(data, UnsetType) else _decode_members(data)
    for item, vector in zip(items, vectors, strict=True):
        if not isinstance(vector, str):
            item["embedding"] = Raw(b'"' + b64encode(_float32(vector)) + b'"')
    return [Raw(msgspec.json.encode(item)) for item in items]


def _float32(vector: list[float]) -> bytes:
    packed = array("f", vector)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
