"""
Hosts that are drained: they get no new requests, and end those that run there.

What is loaded on a drained host stays loaded for as long as its keep-alive says. Which hosts are
drained is in the store, for all gateways and processes that share it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..faults import Refusal
from ..observability.journal import get_logger
from ..store.interface import Board
from .host import Host, find_host

_ONLY = (
    "this gateway has one host, and a drained one would leave its requests nowhere to go: stop the "
    "gateway instead, which lets running requests end"
)


class Draining:
    """The drained hosts of a fleet."""

    def __init__(self, board: Board) -> None:
        """Know of no drained host before `refresh`."""
        self.numbers: frozenset[int] = frozenset()
        """The numbers of the drained hosts."""
        self.when_taken_back: Callable[[], None] = lambda: None
        """Called when a host gets requests again."""
        self.when_drained: Callable[[Host], None] = lambda host: None
        """Called with a host that gets none any more."""
        self._board = board
        self._known: frozenset[str] = frozenset()
        """The identities of the drained hosts, those of other gateways included."""
        self._hosts: Sequence[Host] = ()
        self._is_one = True
        # An answer of the store from before a change must not undo it.
        self._turn = asyncio.Lock()
        self._log = get_logger()

    def use(self, hosts: Sequence[Host], *, is_one: bool) -> None:
        """Have these hosts from now on."""
        self._hosts, self._is_one = hosts, is_one
        self._count()

    def has(self, host: Host) -> bool:
        """Return whether a host is drained."""
        return host.number in self.numbers

    async def refresh(self) -> None:
        """Learn from the store which hosts are drained. Raises StoreFailure."""
        async with self._turn:
            self._know(await self._board.drained())

    async def begin(self, name: str) -> Host:
        """
        Give a host no new requests from now on, through no gateway of the store, and return it.

        Raises Refusal if there is no such host (404), or only one (409), and StoreFailure.
        """
        host = find_host(self._hosts, name)
        if self._is_one:
            raise Refusal(409, _ONLY)
        async with self._turn:
            await self._board.put_drained(host.identity, is_drained=True)
            self._know(self._known | {host.identity})
        return host

    async def end(self, name: str) -> Host:
        """
        Give a host requests again, and return it.

        Raises Refusal (404) if there is no such host, and StoreFailure.
        """
        host = find_host(self._hosts, name)
        async with self._turn:
            await self._board.put_drained(host.identity, is_drained=False)
            self._know(self._known - {host.identity})
        return host

    def refuse(self, host: Host) -> None:
        """
        Refuse a request that is about to use a model of a host. Raises Refusal (503) if drained.

        A drained host is only chosen where no other has the model, or the request names the host.
        """
        if host.number in self.numbers:
            raise Refusal(
                503,
                f"the host {host.name} is drained, and no other one may serve this request: take "
                f"it back with `olgate undrain {host.name}`",
            )

    def _know(self, drained: frozenset[str]) -> None:
        """Have these hosts drained from now on, and log what has changed."""
        if drained == self._known:
            return
        before, self._known = self._known, drained
        self._count()
        for host in self._hosts:
            if host.identity in drained - before and not self._is_one:
                self._log.info("the host is drained", host=host.name, running=host.running)
                self.when_drained(host)
            elif host.identity in before - drained and not self._is_one:
                self._log.info("the host is drained no more", host=host.name)
        if before - drained:
            self.when_taken_back()

    def _count(self) -> None:
        self.numbers = frozenset(
            host.number for host in self._hosts if host.identity in self._known and not self._is_one
        )
