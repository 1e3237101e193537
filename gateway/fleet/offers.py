"""
Homes that come while requests wait for a slot: a model was loaded, or a host is back.

While requests wait that may go to other hosts, the hosts' lists are read every `LOOK_S` seconds,
since nobody else may ask for them. Nothing is done while nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from ..faults import UpstreamFailure
from ..observability.journal import get_logger
from ..observability.record import background
from ..queueing.waiting import SlotQueue

LOOK_S: Final = 2.0
"""Seconds between two looks at the lists while requests wait; many hosts are asked more seldom."""
LISTS_PER_S: Final = 4
"""How many lists are read in a second at most."""


class Offers:
    """Offers new homes to the requests of a queue."""

    def __init__(self, queue: SlotQueue, read_lists: Callable[[float], Awaitable[None]]) -> None:
        """Call `read_lists` with the age in seconds that a list may have. It may fail."""
        self._queue = queue
        self._read_lists = read_lists
        self._looking: asyncio.Task[None] | None = None
        self._is_asked = False
        self.when_offering: Callable[[], None] = lambda: None
        """Called before requests look for new homes."""
        self._log = get_logger()

    def look(self, hosts: int) -> None:
        """Look for new homes from now on, as long as anybody waits."""
        if self._looking is None or self._looking.done():
            pause_s = max(LOOK_S, hosts / LISTS_PER_S)
            loop = asyncio.get_running_loop()
            self._looking = loop.create_task(self._look(pause_s), context=background())

    def note(self) -> None:
        """Take note that there may be new homes; they are offered in the next turn of the loop."""
        if self._queue.waiting and not self._is_asked:
            self._is_asked = True
            asyncio.get_running_loop().call_soon(self._offer, context=background())

    async def aclose(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self, pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            if not self._queue.waiting:
                return
            with suppress(UpstreamFailure):
                await self._read_lists(pause_s / 2)
            self._offer()

    def _offer(self) -> None:
        self._is_asked = False
        try:
            self.when_offering()
            self._queue.offer()
        except Exception:
            # Who waits still waits for the homes that it knows.
            self._log.exception("could not offer new hosts (internal error)")
