"""
The client's side of an exchange, as the engine sees it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol


class Client(Protocol):
    """Where an answer goes: the client of this request, over whatever protocol."""

    @property
    def is_started(self) -> bool:
        """Whether the status is sent; after that an error can only be a line."""

    @property
    def is_gone(self) -> bool:
        """Whether the client has left."""

    def leave(self) -> None:
        """Note that the client has left."""

    def start_after(self, seconds: float) -> None:
        """Begin a streamed answer by itself after a time, unless it or another has begun."""

    def stop_waiting(self) -> None:
        """Forget `start_after`."""

    def add_header(self, name: str, value: str) -> None:
        """Add a header to an answer that is not started yet."""

    async def answer(self, status: int, content_type: bytes, body: bytes) -> None:
        """Send a whole answer."""

    def push(self, part: bytes) -> Awaitable[None] | None:
        """
        Send one or more lines of a streamed answer; the first ones start it.

        What is returned has to be waited for before anything more is sent.
        """

    async def finish(self, lines: bytes = b"") -> None:
        """End a streamed answer, its last lines in the same write."""
