"""Vectors in blocks, which are read and written together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Raw

from ..wire import float32

DIFFER: Final = "vectors of different lengths"
_BLOCK_BYTES: Final = 256 * 1024
"""
About as many bytes of vectors are read and written together: sixteen of 768 numbers, 0.7 ms. What
is made for one block is in the processor's cache when it is used.
"""
_SLOW_BLOCK_BYTES: Final = 32 * 1024
"""The same where the numbers are calculated one by one: two vectors, 0.9 ms."""


def read_in_blocks(vectors: Sequence[Raw | bytes | memoryview]) -> Iterator[float32.Vectors]:
    """
    Return vectors block by block, in their order.

    Raises what `float32.read` does, Ragged for vectors of different blocks, too.

    >>> [block.texts() for block in read_in_blocks([b"[1,2]", b"[0.5,3]"])]
    [[b'[1,2]', b'[0.5,3]']]
    """
    sizes = [*map(len, vectors)]
    # Vectors of one answer have about as many bytes each.
    most = _BLOCK_BYTES if float32.is_fast() else _SLOW_BLOCK_BYTES
    in_each = -(-len(sizes) // (sum(sizes) // most + 1)) or 1
    if {*map(type, vectors)} != {memoryview}:
        vectors = [raw if type(raw) is memoryview else bytes(raw) for raw in vectors]
    width = 0
    for start in range(0, len(sizes), in_each):
        read = float32.read(vectors[start : start + in_each])
        if width not in (0, read.width):
            raise float32.Ragged(DIFFER)
        width = read.width
        yield read
