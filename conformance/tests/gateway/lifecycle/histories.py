"""
Histories of the lifecycle: requests, leavers, loads that fail or are lost, crashes and restarts of
gateways and of the host, and its other users, on two gateways with one store, in virtual time.

`play` runs a history and returns what was broken, of the rules of docs/lifecycle.md:
no second load for one wish, no unload under an answer, nothing unloaded that is not the gateways'
own, all of that unloaded in the end, no request without an end, and none before an earlier load
that lacks memory.
"""

import asyncio
import traceback
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from msgspec import UNSET, UnsetType

from conformance.tests.gateway.lifecycle.played_host import (
    KEYS,
    VARIANTS,
    End,
    PlayedHost,
    PlayedUpstream,
)
from conformance.tests.gateway.lifecycle.played_store import PlayedStore, Shared
from conformance.tests.gateway.lifecycle.virtual_time import Stuck, run
from gateway.catalogue.aliases import Aliases
from gateway.catalogue.catalogue import Catalogue
from gateway.catalogue.first_seen import FirstSeen
from gateway.catalogue.pulled_names import PulledNames
from gateway.faults import Refusal, UpstreamFailure
from gateway.lifecycle.lifecycle import Lifecycle
from gateway.lifecycle.ownership import Ownership
from gateway.lifecycle.sharing import Sharing
from gateway.settings.schema import ModelSettings
from gateway.types import internal

HOST = "http://played.test"
GATEWAYS = 2
LOAD_TIMEOUT_S = 30.0
LONGEST_PREPARE_S = 6 * LOAD_TIMEOUT_S
"""A request may wait for others' loads, then reload, and load the old context again."""
AT_LAST_S = 2000.0
"""Longer than any keep-alive and any search of a history."""
NAMES = (KEYS[0], f"{KEYS[0]}:{VARIANTS[0]}", f"{KEYS[0]}:{VARIANTS[1]}", KEYS[1], KEYS[2])
BASES = (KEYS[0], f"{KEYS[0]}@{VARIANTS[1]}", KEYS[1], KEYS[2])


@dataclass(frozen=True)
class Ask:
    """A request; `keep_alive` is in seconds, -1 for ever, None for nothing said."""

    gateway: int
    name: str
    lasts_s: float = 1.0
    keep_alive: float | None = None
    num_ctx: int | None = None
    leaves_after_s: float | None = None


@dataclass(frozen=True)
class Act:
    """
    Something else that happens. `what` has the place: a gateway's number, a model, or nothing.
    """

    what: Literal[
        "unload", "load by hand", "unload by hand", "crash", "restart host", "lock", "fail unload"
    ]
    gateway: int = 0
    base: str = KEYS[1]


Step: TypeAlias = tuple[float, Ask | Act]
"""Seconds since the step before, and what happens then."""


@dataclass
class History:
    """What is drawn of a history."""

    steps: list[Step]
    ends: list[End] = field(default_factory=list)
    room: int = 0
    max_loaded: int = 0
    keep_alive: str = "5m"


@dataclass
class _Gateway:
    name: str
    upstream: PlayedUpstream
    store: PlayedStore
    catalogue: Catalogue
    lifecycle: Lifecycle
    requests: set[asyncio.Task[None]] = field(default_factory=set)


def play(history: History) -> tuple[list[str], list[str]]:
    """Run a history; return the rules that were broken, and what happened."""
    host = PlayedHost(history.room)
    try:
        run(_Played(history, host).run())
    except Stuck:
        host.break_rule("nothing can happen any more, or the same for ever")
    return host.broken, host.story


def _loads_ahead(lifecycle: Lifecycle, row: internal.CatalogueRow) -> set[tuple[str, int | None]]:
    """Return the loads of other models that lack memory, if a row's requests wait for them."""
    state = lifecycle._states.state_for(row)
    if state.instances and not state.owned:
        return set()
    lacking = lifecycle._states.lacking_room
    return {(other.name, other.room_place) for other in lacking if other is not state}


class _Played:
    def __init__(self, history: History, host: PlayedHost) -> None:
        self.history = history
        self.host = host
        self.host.ends = list(history.ends)
        self.shared = Shared()
        self.gateways: list[_Gateway] = []
        self.started = 0
        self.forever: set[str] = set()
        self.forgotten: set[str] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._note_exception)
        self.host.now = loop.time
        for _ in range(GATEWAYS):
            self.gateways.append(await self._start())
        for number, (pause_s, step) in enumerate(self.history.steps):
            await asyncio.sleep(pause_s)
            self.host.tell(f"{number}: {step}")
            await self._do(step)
        await self._end()

    async def _do(self, step: Ask | Act) -> None:
        if isinstance(step, Ask):
            gateway = self.gateways[step.gateway]
            task = asyncio.create_task(self._ask(gateway, step))
            gateway.requests.add(task)
            task.add_done_callback(gateway.requests.discard)
            return
        match step.what:
            case "unload":
                task = asyncio.create_task(self._unload(self.gateways[step.gateway], step.base))
                self.gateways[step.gateway].requests.add(task)
                task.add_done_callback(self.gateways[step.gateway].requests.discard)
            case "load by hand" if not self.host.is_away:
                self.host.load_by_hand(step.base)
            case "unload by hand":
                self.host.unload_by_hand(step.base)
            case "crash":
                self._crash(step.gateway)
                await asyncio.sleep(1.0)
                self.gateways[step.gateway] = await self._start()
            case "restart host":
                self.host.restart()
                await asyncio.sleep(10.0)
                self.host.come_back()
            case "lock":
                # Gateways that can't write can't agree: what begins by then is no fault of theirs.
                self.shared.is_locked = True
                self.host.agree_from = asyncio.get_running_loop().time() + 10.0
                await asyncio.sleep(3.0)
                self.shared.is_locked = False
            case "fail unload":
                self.host.failing_unloads += 1

    async def _start(self) -> _Gateway:
        self.started += 1
        name = f"gateway {self.started}"
        store = PlayedStore(self.shared)
        upstream: Any = PlayedUpstream(self.host, name)
        settings = ModelSettings(
            keep_alive=self.history.keep_alive,
            load_timeout_s=LOAD_TIMEOUT_S,
            max_loaded=self.history.max_loaded,
        )
        aliases = Aliases(store, {})
        catalogue = Catalogue(
            upstream, settings, aliases, FirstSeen(store, HOST), PulledNames(store), ()
        )
        lifecycle = Lifecycle(
            upstream,
            catalogue,
            settings,
            Ownership(store, HOST, name),
            Sharing(store, HOST, name),
        )
        await lifecycle.start()
        return _Gateway(name, upstream, store, catalogue, lifecycle)

    def _crash(self, number: int) -> None:
        gateway = self.gateways[number]
        if not self.host.can_agree():
            # What it could not write, nobody can know.
            self.forgotten.add(gateway.name)
        gateway.upstream.is_dead = True
        gateway.store.is_closed = True
        # A process that was killed starts nothing more.
        gateway.lifecycle._changes._is_closed = True
        self.shared.alive.discard(gateway.name)
        for task in list(gateway.requests):
            task.cancel()

    # -- requests -----------------------------------------------------------------------------

    async def _ask(self, gateway: _Gateway, ask: Ask) -> None:
        if ask.keep_alive == -1:
            self.forever.add(ask.name)
        if ask.keep_alive == 0:
            self.host.asked.add(KEYS[0] if ask.name.startswith(KEYS[0]) else ask.name)
        began = asyncio.get_running_loop().time()
        work = asyncio.create_task(self._answer(gateway, ask))
        try:
            limit_s = LONGEST_PREPARE_S + ask.lasts_s
            done, _ = await asyncio.wait({work}, timeout=ask.leaves_after_s or limit_s)
            if not done and ask.leaves_after_s is None:
                self.host.break_rule(f"a request has had no end since {began:g}: {ask}")
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _answer(self, gateway: _Gateway, ask: Ask) -> None:
        keep_alive: float | UnsetType | None = UNSET
        if ask.keep_alive is not None:
            keep_alive = None if ask.keep_alive < 0 else ask.keep_alive
        lease = None
        try:
            row = await gateway.catalogue.find(ask.name, trust_loaded=True)
            if row is None:
                self.host.break_rule(f"{ask.name} is unknown")
                return
            lease = gateway.lifecycle.lease(row, keep_alive, ask.num_ctx or UNSET)
            ahead = _loads_ahead(gateway.lifecycle, row)
            await lease.prepare()
            if passed := ahead & _loads_ahead(gateway.lifecycle, row):
                self.host.break_rule(f"{ask} came after a load and before its memory: {passed}")
            while True:
                with self.host.running_on(lease.row.request_key) as instance:
                    if instance is not None:
                        self.host.tell(f"{gateway.name} answers from {instance.id}")
                        await asyncio.sleep(ask.lasts_s)
                        return
                unloaded = UpstreamFailure("Model unloaded.", status=400)
                if not await lease.recover(unloaded, "load"):
                    return
        except (UpstreamFailure, Refusal) as failure:
            self.host.tell(f"{gateway.name} tells {failure}")
        except Exception:
            self.host.break_rule(traceback.format_exc())
        finally:
            if lease is not None:
                lease.release()

    async def _unload(self, gateway: _Gateway, base: str) -> None:
        key = base.split("@")[0]
        self.host.asked.add(key)
        try:
            row = await gateway.catalogue.find(base)
            assert row is not None
            await gateway.lifecycle.unload(row)
        except UpstreamFailure as failure:
            self.host.tell(f"{gateway.name} could not unload: {failure}")

    # -- the end ------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Let all come to its end, and look at what is left."""
        requests = [task for gateway in self.gateways for task in gateway.requests]
        if requests:
            await asyncio.wait(requests)
        self.host.ends.clear()
        self.host.failing_unloads = 0
        await asyncio.sleep(AT_LAST_S)
        for name in sorted(self.forever):
            self.host.asked.add(KEYS[0] if name.startswith(KEYS[0]) else name)
            for gateway in self.gateways:
                row = await gateway.catalogue.find(name)
                assert row is not None
                await gateway.lifecycle.unload(row)
        await asyncio.sleep(AT_LAST_S)
        own = [
            one.id
            for one in self.host.instances.values()
            if one.by is not None and one.by not in self.forgotten
        ]
        if own:
            self.host.break_rule(f"never unloaded: {own}")
        if self.shared.instances:
            self.host.break_rule(f"never forgotten: {self.shared.instances}")
        unloading = [key for key, (state, _) in self.shared.usage.items() if state == "unloading"]
        if any(key[2] in self.shared.alive for key in unloading):
            self.host.break_rule(f"unloading for ever: {unloading}")
        for gateway in self.gateways:
            if lacking := [state.name for state in gateway.lifecycle._states.lacking_room]:
                self.host.break_rule(f"lacking memory for ever: {lacking}")
            gateway.catalogue.close()
            await gateway.lifecycle.aclose()

    def _note_exception(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        problem = context.get("exception")
        self.host.break_rule(f"{context['message']}: {problem!r}")
