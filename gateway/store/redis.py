"""
The store in Redis or Valkey, which gateways on several machines share.

What it keeps is in memory on each gateway, too: a server that was restarted and lost the last
changes, or all of them, gets them again from the gateway that knows the most.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Collection, Coroutine, Iterable, Mapping
from math import inf
from typing import Any

from ..observability.journal import get_logger
from ..settings.schema import StoreSettings
from . import redis_scripts as scripts
from .interface import LOAD_S, WANTED_S, AliasChanges, Watcher
from .redis_board import RedisBoard
from .redis_client import check_at_start
from .redis_link import RedisLink, Renewal
from .redis_meter import RedisMeter
from .redis_names import RedisNames

STAYS, NEVER = -2, -1

OTHERS = b"other"
"""What a claim is answered with that another gateway has."""


# Large because the interface of a store is: each of its calls is one script.
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
        self._claims: dict[tuple[str, str], str] = {}
        """The fence with which each load under way was claimed."""
        self._loading: dict[tuple[str, str], float] = {}
        """
        The loads that other gateways have claimed, by the key of the host's owners and the
        identifier: until when each may be under way, on the monotonic clock.
        """
        self._own: dict[str, set[str]] = {}
        """The identifiers of each host that the gateway knows as its own."""
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, watcher: Watcher) -> None:
        """Have a watcher told of what other gateways change."""
        self._watcher = watcher

    async def trouble(self) -> str:
        """Return why the store can't be used now, empty if it can be."""
        trouble = self._link.trouble
        return trouble.text if trouble is not None else ""

    async def may_load_unclaimed(self, host: str, gateway: str, identifier: str) -> bool:
        """
        Return whether this one of the gateways that were alive is to load.

        A claim stands while the server is away, so who has it loads; what nobody has claimed is
        loaded by the gateway that a hash chooses.
        """
        if (host, identifier) in self._claims:
            return True
        if self._loading.get((self._owners_of(host), identifier), -inf) > time.monotonic():
            return False
        rivals = {gateway, *self._link.others}
        return gateway == max(
            rivals, key=lambda each: hashlib.sha256(f"{host}|{identifier}|{each}".encode()).digest()
        )

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

    async def update_instances(
        self,
        host: str,
        gateway: str,
        changed: Mapping[str, bytes | None],
        loaded: Collection[str] = (),
    ) -> None:
        """Keep instances as the gateway's own; None deletes one, if it is the gateway's."""
        given: list[str | bytes] = []
        for identifier, document in changed.items():
            what = "gone" if document is None else "loaded" if identifier in loaded else "kept"
            given += [identifier, what, document or b""]
        claimed = [int(fence) for (of, _), fence in self._claims.items() if of == host]
        fence = str(min(claimed)) if claimed else self._link.fence_of(gateway)
        answer = await self._link.run(scripts.UPDATE, gateway, fence, *given, host=host)
        foreign = {identifier.decode() for identifier in answer}
        own = self._own.setdefault(host, set())
        for identifier, document in changed.items():
            if document is None:
                own.discard(identifier)
                self._claims.pop((host, identifier), None)
            elif identifier not in foreign:
                own.add(identifier)
        if foreign:
            self._watcher.instances_changed()

    async def take_over_instances(self, host: str, gateway: str) -> list[bytes]:
        """Give the instances of all dead gateways to this one, and return their documents."""
        own = self._own.setdefault(host, set())
        documents: list[bytes] = await self._link.run(scripts.TAKE_OVER, gateway, *own, host=host)
        return documents

    async def instances_of_others(self, host: str, gateway: str) -> set[str]:
        """Return the identifiers of instances of all other gateways that are alive."""
        answer = await self._link.run(scripts.OTHERS_INSTANCES, gateway, host=host)
        theirs = {identifier.decode() for identifier in answer}
        self._own.setdefault(host, set()).difference_update(theirs)
        owners, until = self._owners_of(host), time.monotonic() + LOAD_S
        self._loading = {each: at for each, at in self._loading.items() if each[0] != owners}
        self._loading |= {(owners, identifier): until for identifier in theirs}
        return theirs

    async def claim_load(self, host: str, gateway: str, identifier: str, document: bytes) -> bool:
        """
        Keep a document under an identifier, unless another gateway has one there.

        A server that was away may not know yet what was loaded meanwhile, and has to be told first.
        """
        if self._link.is_settling():
            return False
        fence = await self._link.run(scripts.CLAIM_LOAD, gateway, identifier, document, host=host)
        if not fence or fence == OTHERS:
            if fence:
                self._note_load(self._owners_of(host), identifier)
            return False
        self._loading.pop((self._owners_of(host), identifier), None)
        self._claims[host, identifier] = fence.decode()
        self._own.setdefault(host, set()).add(identifier)
        return True

    # -- instances in use ---------------------------------------------------------------------

    async def others_alive(self, gateway: str) -> bool:
        """Return whether any other gateway has a lease."""
        return bool(await self._link.run(scripts.OTHERS_ALIVE, gateway))

    async def use_instances(
        self, host: str, gateway: str, uses: Mapping[str, bool], at: float
    ) -> set[str]:
        """Show which instances the gateway uses; return those that another one is unloading."""
        given = [
            each
            for identifier, is_used in uses.items()
            for each in (identifier, "using" if is_used else "used")
        ]
        age_ms = max(0, round((time.time() - at) * 1000))
        answer = await self._link.run(scripts.USE, gateway, age_ms, *given, host=host)
        return {identifier.decode() for identifier in answer}

    async def claim_unload(self, host: str, gateway: str, identifier: str) -> float | None:
        """Show that the gateway is unloading an instance, unless another living one uses it."""
        age_ms = await self._link.run(scripts.CLAIM_UNLOAD, gateway, identifier, host=host)
        if age_ms == STAYS:
            return None
        return 0.0 if age_ms == NEVER else time.time() - age_ms / 1000

    async def wanted_unloads(self, host: str, gateway: str) -> set[str]:
        """Return the instances that another living gateway is unloading, or waits to unload."""
        wanted_ms = round(WANTED_S * 1000)
        answer = await self._link.run(scripts.WANTED_UNLOADS, gateway, wanted_ms, host=host)
        return {identifier.decode() for identifier in answer}

    async def end_unload(self, host: str, gateway: str, identifier: str) -> None:
        """Show that the gateway is not unloading an instance any more."""
        await self._link.run(scripts.END_UNLOAD, gateway, identifier, host=host)

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
            self._note_load(*place)
        elif what == "ended":
            self._loading.pop((place[0], place[1]), None)
        elif what in ("joined", "left"):
            # Who the others are decides who loads while the server is away.
            self._link.poke()
            if what == "joined":
                self._watcher.instances_changed()

    def _note_load(self, owners: str, identifier: str) -> None:
        """Note that another gateway has claimed a load."""
        self._loading[owners, identifier] = time.monotonic() + LOAD_S

    def _owners_of(self, host: str) -> str:
        """Return the key of a host's owners, by which scripts name the host to other gateways."""
        return self._link.layout.of_host(host)[0]

    def _renewed(self, found: Renewal) -> None:
        """Write again what the server has lost, and have read again what others have changed."""

        async def restore() -> None:
            await self.names.restore()
            self._watcher.names_changed()

        if found.lacks(self.names.count):
            self._in_background(restore())
        elif found.has_lapsed:
            # The server may have lost some changes, and counted others, in the meantime.
            self.names.doubt()
            self._watcher.names_changed()
        elif found.changes != self.names.count:
            self._watcher.names_changed()
        if found.has_lapsed:
            self._watcher.instances_changed()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
