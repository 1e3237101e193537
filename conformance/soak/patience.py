"""
How long a client waits before it counts as hanging, in time in which there was a processor.

A request takes as long as the machine lets it: beside others, a gateway with work for a second may
get a tenth of it. So the clock stands still while the gateway, or the process of the clients, is
ready to run and does not; Linux counts that. What hangs leaves both idle, and the clock runs. Where
nothing is counted, it is an ordinary clock (`conformance/bench/waits.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LOOKS_S = 0.5


class Patience:
    """The waits of all clients of a soak."""

    def __init__(
        self,
        seconds: float,
        without_s: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`without_s` returns the seconds so far in which somebody waited for a processor."""
        self._seconds = seconds
        self._without_s = without_s
        self._clock = clock
        self._last = clock(), without_s()
        self.all_s = 0.0
        self.spent_s = 0.0
        """Seconds of all in which nobody waited for a processor."""
        self._waits: dict[asyncio.Timeout, float] = {}

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """End what is in the block when it has taken too long. Raises TimeoutError."""
        async with asyncio.timeout(None) as wait:
            self._waits[wait] = self.spent_s
            try:
                yield
            finally:
                del self._waits[wait]

    async def keep(self) -> None:
        """Look at all waits again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(LOOKS_S)
            self.look()

    def look(self) -> None:
        """Move the clock on, and end the waits that have taken too long."""
        now, without_s = self._clock(), self._without_s()
        passed_s = now - self._last[0]
        # Several threads may have waited at the same time.
        self.spent_s += max(0.0, passed_s - max(0.0, without_s - self._last[1]))
        self.all_s += passed_s
        self._last = now, without_s
        for wait, since_s in self._waits.items():
            if self.spent_s - since_s > self._seconds:
                wait.reschedule(asyncio.get_running_loop().time())

    def told(self) -> str:
        """Return in a few words how much of the time there was a processor."""
        return f"{self.spent_s:.0f} of {self.all_s:.0f} s"
