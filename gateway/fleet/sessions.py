"""
Which host gave an answer its identifier: a request that goes on from the answer goes there.

The store is told in the background. It is asked only for an identifier that is not known here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ..faults import StoreFailure
from ..observability.record import background
from ..store.interface import Board

MOST = 20_000
"""Identifiers that are kept in memory; the oldest is left out first."""
MOST_CHARS = 200
"""Characters of an identifier that is kept; a longer one is no host's."""
AGAIN_S = 0.1
"""
Seconds after which the store is asked once more for an identifier that it does not know: the
gateway that passed it on may be about to write it.
"""

CLOSING_S = 5.0
"""Seconds that the end of a gateway waits for the store."""


class Sessions:
    """The identifiers that hosts gave, each with the host, by `store.hosts.host_identity`."""

    def __init__(
        self, board: Board, lasts_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Know nothing yet. An identifier is forgotten after `lasts_s` seconds of the clock."""
        self._board = board
        self._lasts_s = lasts_s
        self._clock = clock
        self._known: dict[str, tuple[str, float]] = {}
        """The host of each, and when it is forgotten; the oldest first."""
        self._unwritten: dict[str, str] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, session: str, host: str) -> None:
        """Keep the host of an identifier, and tell the store in the background."""
        if not session or len(session) > MOST_CHARS or self._lasts_s <= 0:
            return
        self._keep(session, host)
        self._unwritten[session] = host
        while len(self._unwritten) > MOST:
            del self._unwritten[next(iter(self._unwritten))]
        if self._writing is None or self._writing.done():
            loop = asyncio.get_running_loop()
            self._writing = loop.create_task(self._write(), context=background())

    async def host_of(self, session: str) -> str | None:
        """Return the host that gave an identifier, None if nobody knows it any more."""
        known = self._known.get(session)
        if known is not None and known[1] > self._clock():
            return known[0]
        if not session or len(session) > MOST_CHARS:
            return None
        try:
            host = await self._board.session(session)
            if host is None:
                await asyncio.sleep(AGAIN_S)
                host = await self._board.session(session)
        except StoreFailure:
            # Without the store it is like one that nobody knows.
            return None
        if host is not None:
            self._keep(session, host)
        return host

    async def aclose(self) -> None:
        """Write what is not written yet, if the store can be used."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=CLOSING_S)
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    def _keep(self, session: str, host: str) -> None:
        now = self._clock()
        self._known.pop(session, None)
        self._known[session] = (host, now + self._lasts_s)
        while len(self._known) > MOST or next(iter(self._known.values()))[1] <= now:
            del self._known[next(iter(self._known))]

    async def _write(self) -> None:
        """Tell the store all that it does not know. What fails is tried with the next one again."""
        while self._unwritten:
            session, host = next(iter(self._unwritten.items()))
            try:
                await self._board.put_session(session, host, self._lasts_s)
            except StoreFailure:
                return
            if self._unwritten.get(session) == host:
                del self._unwritten[session]
