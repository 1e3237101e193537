"""
The end of connections whose clients take nothing of their answers.

An answer that waits for its client keeps a slot of its model and a call of LM Studio. A client that
is slow is waited for, as long as it takes something.
"""

from __future__ import annotations

import asyncio
import sys

from ..observability.journal import get_logger


class Stalled:
    """
    Watches one connection while more is written than its client has read.

    It looks twice in each `limit_s` seconds, so a client has at most one and a half times as long.
    """

    __slots__ = ("_left", "_limit_s", "_loop", "_timer", "_transport", "_was_same")

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
        """Watch nothing yet; 0 is no limit."""
        self._loop = loop
        self._limit_s = limit_s
        self._timer: asyncio.TimerHandle | None = None
        self._left = 0
        self._was_same = False
        self._transport: asyncio.Transport | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        """Watch: the client has to read before anything more is written."""
        if self._limit_s and self._timer is None:
            self._transport = transport
            self._left, self._was_same = _unread(transport), False
            self._timer = self._loop.call_later(self._limit_s / 2, self._look)

    def end(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._transport = None

    def _look(self) -> None:
        self._timer = None
        transport = self._transport
        assert transport is not None, "it is watched"
        left = _unread(transport)
        if left >= self._left and self._was_same:
            log = get_logger()
            log.info(
                "a client is dropped",
                reason=f"it took nothing of its answer for {self._limit_s:g} s (limits.write_s)",
            )
            transport.abort()
            return
        self._was_same = left >= self._left
        self._left = left
        self._timer = self._loop.call_later(self._limit_s / 2, self._look)


def _unread(transport: asyncio.Transport) -> int:
    """
    Return how many bytes the client has not taken yet, as far as the system tells.

    A system has megabytes of its own buffers, and takes more only when a third of them is free. On
    Linux it says how many bytes wait there.
    """
    size = transport.get_write_buffer_size()
    if sys.platform == "linux":
        import fcntl
        import termios

        wire = transport.get_extra_info("socket")
        try:
            told = fcntl.ioctl(wire.fileno(), termios.TIOCOUTQ, bytes(4))
        except (OSError, ValueError, AttributeError):
            # It is not a socket of the system, or is about to be closed.
            return size
        size += int.from_bytes(told, sys.byteorder)
    return size
