"""What changes the chunks of one answer where a chunk depends on those before it."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from msgspec import Raw

Chunk: TypeAlias = dict[str, Raw]
"""The members of one chunk, or of a whole answer, each as it was written."""


class Rewriter(Protocol):
    """
    Takes the chunks of one answer, and returns what comes in place of them.

    While it `is_waiting`, the next chunk must be taken. `end` returns what waits.
    """

    @property
    def is_waiting(self) -> bool: ...

    def take(self, chunk: Chunk) -> list[Chunk]: ...

    def end(self) -> list[Chunk]: ...
