"""
Which gateway has loaded, uses and unloads which instance, in a Redis that several gateways share.

What other gateways have claimed is remembered, for decisions while the server is away.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping
from math import inf

from . import redis_scripts as scripts
from .interface import LOAD_S, WANTED_S
from .redis_link import RedisLink

STAYS, NEVER = -2, -1

OTHERS = b"other"
"""What a claim is answered with that another gateway has."""


class RedisInstances:
    """The instances of all hosts, as one gateway sees them."""

    def __init__(self, link: RedisLink, when_changed: Callable[[], None]) -> None:
        """Use the connection of `link`; `when_changed` is called for what others have changed."""
        self._link = link
        self._when_changed = when_changed
        self._claims: dict[tuple[str, str], str] = {}
        """The fence with which each load under way was claimed."""
        self._loading: dict[tuple[str, str], float] = {}
        """
        The loads that other gateways have claimed, by the key of the host's owners and the
        identifier: until when each may be under way, on the monotonic clock.
        """
        self._own: dict[str, set[str]] = {}
        """The identifiers of each host that the gateway knows as its own."""

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

    async def update(
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
            self._when_changed()

    async def take_over(self, host: str, gateway: str) -> list[bytes]:
        """Give the instances of all dead gateways to this one, and return their documents."""
        own = self._own.setdefault(host, set())
        documents: list[bytes] = await self._link.run(scripts.TAKE_OVER, gateway, *own, host=host)
        return documents

    async def of_others(self, host: str, gateway: str) -> set[str]:
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
                self.note_load(self._owners_of(host), identifier)
            return False
        self._loading.pop((self._owners_of(host), identifier), None)
        self._claims[host, identifier] = fence.decode()
        self._own.setdefault(host, set()).add(identifier)
        return True

    async def use(self, host: str, gateway: str, uses: Mapping[str, bool], at: float) -> set[str]:
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

    def note_load(self, owners: str, identifier: str) -> None:
        """Note that another gateway has claimed a load."""
        self._loading[owners, identifier] = time.monotonic() + LOAD_S

    def note_end(self, owners: str, identifier: str) -> None:
        """Note that the load of another gateway has ended."""
        self._loading.pop((owners, identifier), None)

    def _owners_of(self, host: str) -> str:
        """Return the key of a host's owners, by which scripts name the host to other gateways."""
        return self._link.layout.of_host(host)[0]
