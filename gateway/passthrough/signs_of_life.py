"""
Comments in an event stream while LM Studio is silent, so that nobody takes the silence for an end.

A token pays nothing for them: a timer looks whether the stream has moved since it looked last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

COMMENT: Final = b": LM Studio is working\n\n"
"""A comment of server-sent events, which clients skip."""
_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
"""How an event ends. A comment within one could cut a line."""


class SignsOfLife:
    """
    Sends a comment before a silence lasts as long as `interval_s`; 0 sends none.

    `sent` returns the last bytes that were sent, another object after each chunk. `push` sends a
    comment, or not if the client is slow.
    """

    def __init__(
        self, interval_s: float, sent: Callable[[], bytes], push: Callable[[bytes], bool]
    ) -> None:
        self._period_s = interval_s / 2
        self._sent = sent
        self._push = push
        self._seen = b""
        self._is_due = True
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        if interval_s > 0:
            self._timer = self._loop.call_later(self._period_s, self._look)

    def close(self) -> None:
        """Send no further comments."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Send a comment in the first of two periods without a chunk, and not in the second."""
        sent = self._sent()
        if sent is not self._seen:
            self._seen, self._is_due = sent, True
        elif self._is_due and sent.endswith(_ENDS):
            self._is_due = not self._push(COMMENT)
        else:
            self._is_due = True
        self._timer = self._loop.call_later(self._period_s, self._look)
