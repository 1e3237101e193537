"""
The store in Redis or Valkey, which gateways on several machines share.

What it keeps is in memory on each gateway, too: a server that was restarted and lost the last
changes, or all of them, gets them again from the gateway that knows the most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping

from ..observability.journal import get_logger
from ..settings.schema import StoreSettings
from . import redis_scripts as scripts
from .interface import AliasChanges, Watcher
from .redis_board import RedisBoard
from .redis_client import check_at_start
from .redis_instances import RedisInstances
from .redis_link import RedisLink, Renewal
from .redis_meter import RedisMeter
from .redis_names import RedisNames


class RedisStore:
    """One gateway's way to a Redis that others use, too."""

    def __init__(self, settings: StoreSettings) -> None:
        """
        Look at the server once, and say what is wrong with it.

        Raises StoreUrlProblem for what has to be corrected before a start. A server that is away
        does not forbid the start.
        """
        assert settings.url is not None
        self._log = get_logger()
        self._link = RedisLink(settings.url, settings.prefix, settings.lease_s, settings.timeout_s)
        trouble = check_at_start(settings.url, settings.timeout_s, self._link.layout)
        if trouble is not None:
            self._log.warning("the store can't be used at the start", reason=trouble.text)
        self._link.trouble = trouble
        self._link.when_renewed = self._renewed
        self._link.when_told = self._told
        self.board = RedisBoard(self._link)
        self.meter = RedisMeter(self._link)
        self._watcher = Watcher()
        self.names = RedisNames(self._link)
        self._instances = RedisInstances(self._link, lambda: self._watcher.instances_changed())
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, watcher: Watcher) -> None:
        """Have a watcher told of what other gateways change."""
        self._watcher = watcher

    async def trouble(self) -> str:
        """Return why the store can't be used now, empty if it can be."""
        trouble = self._link.trouble
        return trouble.text if trouble is not None else ""

    async def may_load_unclaimed(self, host: str, gateway: str, identifier: str) -> bool:
        """Return whether this one of the gateways that were alive is to load."""
        return await self._instances.may_load_unclaimed(host, gateway, identifier)

    async def aclose(self) -> None:
        """Close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._link.aclose()

    # -- names --------------------------------------------------------------------------------

    async def aliases(self) -> dict[str, bytes]:
        """Return the document of every alias by its name."""
        await self.names.read()
        return dict(self.names.aliases)

    async def changed_aliases(self, since: int) -> AliasChanges | None:
        """Return what has changed since a change; only documents that are new are read."""
        await self.names.read()
        return self.names.changes(since)

    async def put_alias(self, name: str, document: bytes) -> None:
        """Keep an alias, in place of one with the same name."""
        await self.names.change("alias", name, document)

    async def delete_alias(self, name: str) -> None:
        """Delete an alias; a missing name is not an error."""
        await self.names.change("alias", name, None)

    async def pulled(self) -> dict[str, bytes]:
        """Return the document of every pulled name."""
        await self.names.read()
        return dict(self.names.pulled)

    async def put_pulled(self, name: str, document: bytes) -> None:
        """Keep what a pulled name became, in place of what it was before."""
        await self.names.change("pulled", name, document)

    async def note_first_seen(self, host: str, keys: Iterable[str], at_ns: int) -> dict[str, int]:
        """Keep a time for each key that has none yet, and return the times of all of them."""
        return await self.names.note_seen(host, dict.fromkeys(keys, at_ns))

    # -- instances ----------------------------------------------------------------------------

    async def announce(self, gateway: str) -> None:
        """Take a lease, which is renewed until `withdraw`."""
        await self._link.announce(gateway)

    async def withdraw(self, gateway: str) -> None:
        """End the lease."""
        await self._link.withdraw(gateway)

    async def others_alive(self, gateway: str) -> bool:
        """Return whether any other gateway has a lease."""
        return bool(await self._link.run(scripts.OTHERS_ALIVE, gateway))

    async def update_instances(
        self,
        host: str,
        gateway: str,
        changed: Mapping[str, bytes | None],
        loaded: Collection[str] = (),
    ) -> None:
        """Keep instances as the gateway's own; None deletes one, if it is the gateway's."""
        await self._instances.update(host, gateway, changed, loaded)

    async def take_over_instances(self, host: str, gateway: str) -> list[bytes]:
        """Give the instances of all dead gateways to this one, and return their documents."""
        return await self._instances.take_over(host, gateway)

    async def instances_of_others(self, host: str, gateway: str) -> set[str]:
        """Return the identifiers of instances of all other gateways that are alive."""
        return await self._instances.of_others(host, gateway)

    async def claim_load(self, host: str, gateway: str, identifier: str, document: bytes) -> bool:
        """Keep a document under an identifier, unless another gateway has one there."""
        return await self._instances.claim_load(host, gateway, identifier, document)

    async def use_instances(
        self, host: str, gateway: str, uses: Mapping[str, bool], at: float
    ) -> set[str]:
        """Show which instances the gateway uses; return those that another one is unloading."""
        return await self._instances.use(host, gateway, uses, at)

    async def claim_unload(self, host: str, gateway: str, identifier: str) -> float | None:
        """Show that the gateway is unloading an instance, unless another living one uses it."""
        return await self._instances.claim_unload(host, gateway, identifier)

    async def wanted_unloads(self, host: str, gateway: str) -> set[str]:
        """Return the instances that another living gateway is unloading, or waits to unload."""
        return await self._instances.wanted_unloads(host, gateway)

    async def end_unload(self, host: str, gateway: str, identifier: str) -> None:
        """Show that the gateway is not unloading an instance any more."""
        await self._instances.end_unload(host, gateway, identifier)

    # -- inside -------------------------------------------------------------------------------

    def _told(self, word: str) -> None:
        """Act on a word of a gateway, which may be this one."""
        what, _, said = word.partition(" ")
        gateway, *place = said.split(" ", 2)
        if what == "names":
            if int(said) != self.names.count:
                self._watcher.names_changed()
        elif what == "instances":
            self._watcher.instances_changed()
        elif self._link.fence_of(gateway):
            pass
        elif what == "claimed":
            self._instances.note_load(*place)
        elif what == "ended":
            self._instances.note_end(*place)
        elif what in ("joined", "left"):
            # Who the others are decides who loads while the server is away.
            self._link.poke()
            if what == "joined":
                self._watcher.instances_changed()

    def _renewed(self, found: Renewal) -> None:
        """Write again what the server has lost, and have read again what others have changed."""

        async def restore() -> None:
            await self.names.restore()
            self._watcher.names_changed()

        if found.lacks(self.names.count):
            task = asyncio.get_running_loop().create_task(restore())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif found.has_lapsed:
            # The server may have lost some changes, and counted others, in the meantime.
            self.names.doubt()
            self._watcher.names_changed()
        elif found.changes != self.names.count:
            self._watcher.names_changed()
        if found.has_lapsed:
            self._watcher.instances_changed()
