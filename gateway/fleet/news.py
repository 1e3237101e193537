"""
What becomes of other gateways' changes: names are read again, and uses are shown again.

Twice a second gateways tell each other how many requests they run, and learn which hosts are
drained, if there is a choice of hosts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ..faults import StoreFailure
from ..observability.journal import get_logger
from ..observability.record import background
from ..store.interface import Counts, Store, Watcher
from .fleet import Fleet
from .host import Names

EXCHANGE_S = 0.5
"""Seconds between two words to other gateways on running requests."""


class Again:
    """Work that is done in the background, and once more if it is asked for meanwhile."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do nothing before it is asked for."""
        self._work = work
        self._must_repeat = False
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Do it soon, after what changed now."""
        self._must_repeat = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        """Do it no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._must_repeat:
            self._must_repeat = False
            await self._work()


class News:
    """Acts on what a store tells of other gateways."""

    def __init__(self, fleet: Fleet, names: Names) -> None:
        """Listen to the store of `names`."""
        self._fleet = fleet
        self._names = names
        self._reading = Again(self._read_names)
        self._showing = Again(self._show)
        self._exchanging: asyncio.Task[None] | None = None
        self._log = get_logger()
        names.store.watch(Watcher(self._reading.ask, self._showing.ask))

    async def start(self) -> None:
        """Learn which hosts are drained, and begin as `use_hosts` does."""
        if not self._fleet.is_one:
            await self._read_drained()
        self.use_hosts()

    def use_hosts(self) -> None:
        """Tell others of running requests from now on, if there is a choice of hosts."""
        if not self._fleet.is_one and self._exchanging is None:
            loop = asyncio.get_running_loop()
            self._exchanging = loop.create_task(self._exchange(), context=background())
        elif self._fleet.is_one and self._exchanging is not None:
            self._exchanging.cancel()
            self._exchanging = None

    async def aclose(self) -> None:
        """Listen no more."""
        self._names.store.watch(Watcher())
        await self._reading.aclose()
        await self._showing.aclose()
        if self._exchanging is not None:
            self._exchanging.cancel()
            await asyncio.gather(self._exchanging, return_exceptions=True)

    async def _read_names(self) -> None:
        await self._names.aliases.refresh()
        await self._names.pulled.refresh()
        self._fleet.models.update_made()

    async def _show(self) -> None:
        for host in self._fleet.hosts:
            await host.lifecycle.show_again()

    async def _read_drained(self) -> None:
        # What is known stays while the store is away.
        with suppress(StoreFailure):
            await self._fleet.draining.refresh()

    async def _exchange(self) -> None:
        while True:
            await self._read_drained()
            await asyncio.sleep(EXCHANGE_S)
            # What nobody tells counts as nothing: an old number would keep requests away.
            told: dict[str, Counts] = {}
            with suppress(StoreFailure):
                told = await exchange(self._names.store, self._names.gateway, self._fleet)
            names = {host.identity: host.name for host in self._fleet.hosts}
            self._fleet.set_elsewhere(
                {
                    names[host]: sum(counts.values())
                    for host, counts in told.items()
                    if host in names
                }
            )


async def exchange(store: Store, gateway: str, fleet: Fleet) -> dict[str, Counts]:
    """Tell the store what runs here, and return what runs through others. Raises StoreFailure."""
    running = {host.identity: {"": host.running} for host in fleet.hosts if host.running}
    return await store.board.exchange_requests(gateway, running)
