"""
The time that a connection may be idle between two requests.

One timer serves all requests of a connection: it is moved when it fires, and not for each request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class IdleTime:
    """Closes a connection that has been idle for too long. Times are the loop's, in seconds."""

    __slots__ = ("_close", "_limit_s", "_loop", "_since", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit_s: float, close: Callable[[], None]
    ) -> None:
        """Call `close` after `limit_s` without a request."""
        self._loop = loop
        self._limit_s = limit_s
        self._close = close
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Note that an answer is complete, and that nothing else is asked for."""
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._limit_s, self._look)

    def end(self) -> None:
        """Note that the client has sent something."""
        self._since = None

    def stop(self) -> None:
        """Let go of the connection, which is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._since is None:
            return
        left_s = self._since + self._limit_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self._close()
