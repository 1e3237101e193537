"""
The order in which requests are begun when many come at once.

Without it, all requests of a wave are begun in one turn of the event loop, and the first answer of
LM Studio is read after the last of them. With it, few are begun in a turn, and what the loop has
for the earlier ones comes between: the first tokens of a wave are not behind all of its requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

AT_ONCE: Final = 4
"""Requests that are begun in one turn; to begin one takes some tenths of a millisecond."""

RequestT = TypeVar("RequestT")


class Waves(Generic[RequestT]):
    """Begins requests in the order in which they came, a few in each turn of the loop."""

    def __init__(self) -> None:
        """Let nobody wait yet."""
        self._waiting: deque[tuple[Callable[[RequestT], None], RequestT]] = deque()
        self._turn = 0.0
        self._begun = 0

    def begin(
        self,
        start: Callable[[RequestT], None],
        request: RequestT,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Start a request now, or in a later turn if this one has begun enough."""
        # uvloop's clock stands still within a turn. A clock that goes on makes nobody wait.
        now = loop.time()
        if now != self._turn:
            self._turn = now
            self._begun = 0
        if self._waiting:
            self._waiting.append((start, request))
        elif self._begun < AT_ONCE:
            self._begun += 1
            start(request)
        else:
            self._waiting.append((start, request))
            loop.call_soon(self._go_on, loop)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin the next ones, and the rest in the turns after this one."""
        waiting = self._waiting
        for _ in range(min(AT_ONCE, len(waiting))):
            try:
                start, request = waiting.popleft()
                start(request)
            except BaseException:
                if waiting:
                    loop.call_soon(self._go_on, loop)
                raise
        if waiting:
            loop.call_soon(self._go_on, loop)
