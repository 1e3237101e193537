"""
A store in memory that several gateways of one process share, as they share a file.

The tests of stores hold it to what the file does, so that histories can be run in virtual time.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.faults import StoreFailure
from gateway.store.interface import WANTED_S, AliasChanges, Counts, Watcher, sum_of

T = TypeVar("T")

STEP_S = 0.001
"""How long a call takes, so that others come in between."""


@dataclass
class Shared:
    """What is in the store."""

    named: dict[str, bytes] = field(default_factory=dict)
    alias_numbers: dict[str, int] = field(default_factory=dict)
    alias_count: int = 0
    pulled: dict[str, bytes] = field(default_factory=dict)
    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    instances: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    usage: dict[tuple[str, str, str], tuple[str, float]] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)
    requests: dict[str, bytes] = field(default_factory=dict)
    sessions: dict[str, tuple[str, float]] = field(default_factory=dict)
    drained: set[str] = field(default_factory=set)
    is_locked: bool = False
    """Whether every write fails."""


class PlayedStore:
    """One gateway's way to a shared store."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.is_closed = False
        self._lock = asyncio.Lock()

    async def aclose(self) -> None:
        """Refuse everything from now on."""
        self.is_closed = True

    @property
    def meter(self) -> None:
        """Keys have no part in the histories."""

    @property
    def board(self) -> "PlayedBoard":
        """Tell and learn of requests."""
        return PlayedBoard(self.shared)

    def watch(self, watcher: Watcher) -> None:
        """Tell of nothing."""

    async def trouble(self) -> str:
        """Say whether it can be written."""
        return "the store can't be written" if self.shared.is_locked or self.is_closed else ""

    async def may_load_unclaimed(self, host: str, gateway: str, identifier: str) -> bool:
        """Let every gateway load, as with a file."""
        return True

    async def aliases(self) -> dict[str, bytes]:
        """Return all aliases."""
        return await self._do(lambda: dict(self.shared.named))

    async def changed_aliases(self, since: int) -> AliasChanges | None:
        """Return what was put or deleted since."""

        def work() -> AliasChanges | None:
            number, named = self.shared.alias_count, self.shared.named
            if number == since:
                return None
            after = since if since < number else 0
            numbers = self.shared.alias_numbers
            put = {name: text for name, text in named.items() if numbers[name] > after}
            return AliasChanges(number, frozenset(named), put)

        return await self._do(work)

    async def put_alias(self, name: str, document: bytes) -> None:
        """Keep an alias."""

        def work() -> None:
            self.shared.alias_count += 1
            self.shared.named[name] = document
            self.shared.alias_numbers[name] = self.shared.alias_count

        await self._write(work)

    async def delete_alias(self, name: str) -> None:
        """Delete an alias."""

        def work() -> None:
            if self.shared.named.pop(name, None) is not None:
                self.shared.alias_count += 1

        await self._write(work)

    async def pulled(self) -> dict[str, bytes]:
        """Return all pulled names."""
        return await self._do(lambda: dict(self.shared.pulled))

    async def put_pulled(self, name: str, document: bytes) -> None:
        """Keep a pulled name."""
        await self._write(lambda: self.shared.pulled.update({name: document}))

    async def note_first_seen(self, host: str, keys: Iterable[str], at_ns: int) -> dict[str, int]:
        """Keep times, and return all of a host."""

        def work() -> dict[str, int]:
            for key in keys:
                self.shared.seen.setdefault((host, key), at_ns)
            return {key: at for (of, key), at in self.shared.seen.items() if of == host}

        return await self._write(work)

    async def announce(self, gateway: str) -> None:
        """Show that a gateway lives."""
        await self._do(lambda: self.shared.alive.add(gateway))

    async def withdraw(self, gateway: str) -> None:
        """Show that it does not."""
        await self._do(lambda: self.shared.alive.discard(gateway))

    async def update_instances(
        self,
        host: str,
        gateway: str,
        changed: Mapping[str, bytes | None],
        loaded: Collection[str] = (),
    ) -> None:
        """Keep and delete own instances."""
        instances = self.shared.instances

        def work() -> None:
            for identifier, document in changed.items():
                place = (host, identifier)
                owner = instances.get(place, (gateway, b""))[0]
                if document is None:
                    if owner == gateway:
                        instances.pop(place, None)
                    continue
                if identifier in loaded:
                    owner = gateway
                if owner == gateway:
                    instances[place] = (gateway, document)

        await self._write(work)

    async def claim_load(self, host: str, gateway: str, identifier: str, document: bytes) -> bool:
        """Keep a document, unless another gateway has one there."""

        def work() -> bool:
            owner = self.shared.instances.get((host, identifier), (gateway, b""))[0]
            if owner != gateway:
                return False
            self.shared.instances[host, identifier] = (gateway, document)
            return True

        return await self._write(work)

    async def take_over_instances(self, host: str, gateway: str) -> list[bytes]:
        """Take over what dead gateways left."""
        instances, usage = self.shared.instances, self.shared.usage

        def work() -> list[bytes]:
            for key in [key for key in usage if key[0] == host and self._is_dead(key[2], gateway)]:
                del usage[key]
            taken = []
            for place, (owner, document) in list(instances.items()):
                if place[0] == host and self._is_dead(owner, gateway):
                    instances[place] = (gateway, document)
                    taken.append(document)
            return taken

        return await self._write(work)

    async def instances_of_others(self, host: str, gateway: str) -> set[str]:
        """Return the identifiers of instances of other living gateways."""
        return await self._do(
            lambda: {
                identifier
                for (of, identifier), (owner, _) in self.shared.instances.items()
                if of == host and owner != gateway and owner in self.shared.alive
            }
        )

    async def others_alive(self, gateway: str) -> bool:
        """Return whether another gateway lives."""
        return await self._do(lambda: bool(self.shared.alive - {gateway}))

    async def use_instances(
        self, host: str, gateway: str, uses: Mapping[str, bool], at: float
    ) -> set[str]:
        """Show uses; return what is being unloaded."""

        def work() -> set[str]:
            leaving = set()
            for identifier, is_used in uses.items():
                if is_used and any(
                    state == "unloading" and other in self.shared.alive
                    for other, state, _ in self._others(host, identifier, gateway)
                ):
                    leaving.add(identifier)
                    continue
                state = "using" if is_used else "used"
                self.shared.usage[host, identifier, gateway] = (state, at)
            return leaving

        return await self._write(work)

    async def claim_unload(self, host: str, gateway: str, identifier: str) -> float | None:
        """Begin an unload, unless another living gateway uses or owns the instance."""

        def work() -> float | None:
            others = self._others(host, identifier, gateway)
            if any(state == "using" and other in self.shared.alive for other, state, _ in others):
                now = asyncio.get_running_loop().time()
                self.shared.usage[host, identifier, gateway] = ("waiting", now)
                return None
            owner = self.shared.instances.get((host, identifier), (gateway, b""))[0]
            if owner != gateway and owner in self.shared.alive:
                return None
            self.shared.usage[host, identifier, gateway] = ("unloading", 0.0)
            return max((at for _, state, at in others if state != "waiting"), default=0.0)

        return await self._write(work)

    async def wanted_unloads(self, host: str, gateway: str) -> set[str]:
        """Return what others unload, or want to unload."""

        def work() -> set[str]:
            oldest = asyncio.get_running_loop().time() - WANTED_S
            return {
                identifier
                for (of, identifier, other), (state, at) in self.shared.usage.items()
                if of == host
                and other != gateway
                and other in self.shared.alive
                and (state == "unloading" or (state == "waiting" and at >= oldest))
            }

        return await self._do(work)

    async def end_unload(self, host: str, gateway: str, identifier: str) -> None:
        """End an unload."""
        await self._write(lambda: self.shared.usage.pop((host, identifier, gateway), None))

    def _is_dead(self, gateway: str, asking: str) -> bool:
        return gateway != asking and gateway not in self.shared.alive

    def _others(self, host: str, identifier: str, gateway: str) -> list[tuple[str, str, float]]:
        return [
            (other, state, at)
            for (of, one, other), (state, at) in self.shared.usage.items()
            if (of, one) == (host, identifier) and other != gateway
        ]

    async def _write(self, work: Callable[[], T]) -> T:
        async with self._lock:
            await asyncio.sleep(STEP_S)
            if self.shared.is_locked:
                raise StoreFailure("database is locked")
            return self._done(work)

    async def _do(self, work: Callable[[], T]) -> T:
        await asyncio.sleep(STEP_S)
        return self._done(work)

    def _done(self, work: Callable[[], T]) -> T:
        if self.is_closed:
            raise StoreFailure("the store is closed")
        return work()


class PlayedBoard:
    """What gateways of one process tell each other."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def exchange_requests(
        self, gateway: str, running: Mapping[str, Counts]
    ) -> dict[str, Counts]:
        """Tell own requests, learn of those of others; a word counts for ever."""
        self._shared.requests[gateway] = json.dumps(running).encode()
        return sum_of(word for name, word in self._shared.requests.items() if name != gateway)

    async def put_drained(self, host: str, *, is_drained: bool) -> None:
        """Keep whether a host is drained."""
        (self._shared.drained.add if is_drained else self._shared.drained.discard)(host)

    async def drained(self) -> frozenset[str]:
        """Return the drained hosts."""
        return frozenset(self._shared.drained)

    async def put_session(self, session: str, host: str, lasts_s: float) -> None:
        """Keep a host for a time."""
        until = asyncio.get_running_loop().time() + lasts_s
        self._shared.sessions[session] = (host, until)

    async def session(self, session: str) -> str | None:
        """Return the host, if its time is not over."""
        host, until = self._shared.sessions.get(session, (None, 0.0))
        return host if until >= asyncio.get_running_loop().time() else None
