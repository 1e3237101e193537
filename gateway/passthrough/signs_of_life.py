"""
Comments in an event stream while LM Studio is silent, so that nobody takes the silence for an end.

A token pays nothing for them: a timer looks whether the stream has moved since it looked last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from ..settings.schema import AnswerSettings

COMMENT: Final = b": LM Studio is working\n\n"
"""A comment of server-sent events, which clients skip."""
_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
"""How an event ends. A comment within one could cut a line."""


WAITING: Final = b": waiting for a slot of the model\n\n"
"""The same while LM Studio does not know of the request yet."""
_HEADERS: Final = [(b"content-type", b"text/event-stream; charset=utf-8")]


class Client(Protocol):
    """The client of an event stream."""

    @property
    def is_started(self) -> bool:
        """Whether the answer has started."""

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Start an answer whose body follows."""

    def push(self, part: bytes) -> Awaitable[None] | None:
        """Send a part of it; the caller awaits what is returned."""


async def live_while(wait: Awaitable[None], client: Client, answers: AnswerSettings) -> None:
    """
    Await a wait, and let the client of an event stream see that it is one.

    After `answers.early_headers_s` its answer starts, if that is set, with a comment, and with
    another one every `answers.sign_of_life_s`. A failure can only be an event from then on. Raises
    what `wait` raises.
    """
    if answers.early_headers_s is None:
        await wait
        return
    showing = asyncio.ensure_future(
        _show_life(client, answers.early_headers_s, answers.sign_of_life_s)
    )
    try:
        await wait
    finally:
        showing.cancel()
        # What is sent is sent whole, or not at all, before anything else is.
        await asyncio.wait([showing])


async def _show_life(client: Client, early_s: float, interval_s: float) -> None:
    await asyncio.sleep(early_s)
    if not client.is_started:
        await client.start(200, _HEADERS)
    while interval_s > 0:
        if (pending := client.push(WAITING)) is not None:
            await pending
        await asyncio.sleep(interval_s)


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
