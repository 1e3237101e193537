"""
The client's side of an exchange, as the engine sees it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from ..observability.record import Grant


class Client(Protocol):
    """
    The client of a request, to which its answer is sent over any protocol.

    `pinned` is the host that it wants, None for any. `served_by` is the one that serves it, which
    an answer says that has not started; empty for none. `grant` is what its key may do.
    """

    pinned: str | None
    served_by: str
    grant: Grant | None

    held_bytes: int
    """Bytes that count as held of its body (`bodies`)."""

    @property
    def is_started(self) -> bool:
        """Whether the status is sent; after that, an error can only be a line."""

    @property
    def is_gone(self) -> bool:
        """Whether the client has left."""

    def leave(self) -> None:
        """Note that the client has left."""

    def start_after(self, seconds: float) -> None:
        """Start a streamed answer by itself after a time, unless an answer has started."""

    def stop_waiting(self) -> None:
        """Cancel `start_after`."""

    def add_header(self, name: str, value: str) -> None:
        """Add a header to an answer that has not started yet."""

    async def answer(
        self, status: int, content_type: bytes, body: bytes | list[bytes | memoryview]
    ) -> None:
        """Send a whole answer, whose body may be in parts."""

    def push(self, part: bytes) -> Awaitable[None] | None:
        """
        Send one or more lines of a streamed answer; the first ones start it.

        The caller must await a returned awaitable before it sends anything more.
        """

    async def finish(self, lines: bytes = b"") -> None:
        """End a streamed answer, with its last lines in the same write."""
