"""
The flow of a client's connection: whether bytes are read from it, and whether it takes more.
"""

from __future__ import annotations

import asyncio
from typing import Final

from .stalled import Stalled

READ_AHEAD_BYTES: Final = 64 * 1024
"""Bytes of a body that wait for the application; with more, the connection is not read."""


class Flow:
    """
    What the connection and its requests know of its flow.

    `read_paused` is whether it is not read, `write_paused` whether more is written than its client
    has read. A client that reads nothing for `limit_s` seconds is dropped; 0 is no limit.
    """

    __slots__ = (
        "_limit_s",
        "_loop",
        "_stalled",
        "_transport",
        "_writable",
        "read_paused",
        "write_paused",
    )

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, limit_s: float
    ) -> None:
        """Read, and write."""
        self._transport = transport
        self._loop = loop
        self._limit_s = limit_s
        self.read_paused = self.write_paused = False
        # Most clients take everything at once, and need neither.
        self._writable: asyncio.Event | None = None
        self._stalled: Stalled | None = None

    def pause_reading(self) -> None:
        """Read no more for now."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Have nothing more written until the client has read."""
        if self.write_paused:
            return
        self.write_paused = True
        if self._writable is None:
            self._writable = asyncio.Event()
            self._stalled = Stalled(self._loop, self._limit_s)
        self._writable.clear()
        assert self._stalled is not None, "it is made with the event"
        self._stalled.begin(self._transport)

    def resume_writing(self) -> None:
        """Have more written, also to let those go who wait for a client that has left."""
        if not self.write_paused:
            return
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
        if self._stalled is not None:
            self._stalled.end()

    async def drain(self) -> None:
        """Wait until more may be written."""
        if self.write_paused and self._writable is not None:
            await self._writable.wait()
