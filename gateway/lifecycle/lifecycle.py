"""
Loading and unloading: what becomes of each model's copies, and when (docs/lifecycle.md).

One change at a time per model, and none that takes a copy away while a request of ours runs on it.
Only what this gateway loaded, or what a client asked to unload, is ever unloaded.

May live here: who waits for what, and which change comes next. May not live here: the calls
(`loader`), what is known of a model (`holds`), how much context is due (`context`), the store
(`ownership`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType, structs

from gateway.catalogue.catalogue import Catalogue
from gateway.faults import UpstreamFailure
from gateway.lifecycle.context_length import Verdict, Wish, decide, read_wish
from gateway.lifecycle.loader import Loader, is_outcome_unknown, lacks_memory
from gateway.lifecycle.ownership import Owned, Ownership
from gateway.lifecycle.state import Change, Hold, Queue
from gateway.names import keys
from gateway.observability.journal import get_logger
from gateway.settings.schema import ModelSettings
from gateway.types import internal
from gateway.upstream.client import Upstream
from gateway.wire.duration import parse_setting
from gateway.wire.times import local_text

FOREVER_S = (2**63 - 1) / 1e9
"""
What "forever" is shown as: now plus the longest duration that Go has
(docs/facts/ollama.md#forever).
"""
RETRY_S = 30.0
"""After a failed unload, when to try again."""
WINDOW_S = 12.0
"""
How long a host may refuse while it reloads a model; 5 to 10 s were seen
(docs/facts/lmstudio.md#reload-window).
"""
CONTRADICTION_S = 2.0
"""How long it may call unloaded what it lists: it does so for a model of the wrong kind, too."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
PENDING_S = 600.0
"""How long a load may go on after we lost sight of it."""
SWEEP_S = 60.0
"""How often to look for what gateways that died had loaded."""
_LEAST_CHANGE_S = 1.0
"""A smaller change of an expiry is not worth a write."""

Warn = Callable[[str], None]


def _no_warning(_: str) -> None:
    """Drop a warning that nobody can be given."""


class Lease:
    """One request's hold on a model, from before it is loaded until its answer has ended."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        row: internal.CatalogueRow,
        keep_alive: float | UnsetType | None,
        wish: Wish | None,
        warn: Warn,
    ) -> None:
        self._lifecycle = lifecycle
        self.row = row
        self.keep_alive = keep_alive
        self.wish = wish
        self.warn = warn
        self.hold: Hold | None = None
        self.is_running = False
        self._refused_since: float | None = None
        self._quiet_since = 0.0
        self._pause_s = 0.0

    @property
    def is_bare(self) -> bool:
        """Whether LM Studio chooses among a model's variants for it."""
        return self.row.request_key == self.row.key

    async def prepare(self) -> None:
        """
        Hold the model, and load it first when it is not loaded and the host can be told to.

        A host without native loading loads with the first request. Raises UpstreamFailure, and
        Refusal when too many wait already.
        """
        self._lifecycle.join(self)
        await self._lifecycle.make_ready(self)

    async def recover(self, failure: UpstreamFailure) -> None:
        """
        Get the model ready anew after LM Studio said that it is not loaded; return when it may be.

        The first time at once, then after growing pauses, until the time for a load is over or the
        host contradicts itself for too long. Raises the failure then, or that of a load.
        """
        self.is_running = False
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = self._quiet_since = now
        is_listed = self.hold is not None and bool(self.hold.instances)
        is_contradiction = is_listed and "no model" in failure.message.lower()
        quiet_s = CONTRADICTION_S if is_contradiction else WINDOW_S
        over_at = min(
            self._refused_since + self._lifecycle.load_timeout_s, self._quiet_since + quiet_s
        )
        if now + self._pause_s >= over_at:
            raise failure
        loads = await self._lifecycle.look_again(self, self._pause_s)
        self._pause_s = min(max(2 * self._pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        if loads:
            self._quiet_since = time.monotonic()

    async def warm(self) -> None:
        """Get a prepared model loaded by a host that loads for requests only, if it is not yet."""
        await self._lifecycle.warm(self.row)

    def release(self) -> None:
        """Let the model go; its keep-alive counts from here. A second call does nothing."""
        self.is_running = False
        if self.hold is not None:
            self._lifecycle.leave(self)


class Lifecycle:
    """The loaded models of one host, as far as this gateway has a part in them."""

    def __init__(
        self,
        upstream: Upstream,
        catalogue: Catalogue,
        settings: ModelSettings,
        ownership: Ownership,
    ) -> None:
        self._catalogue = catalogue
        self._settings = settings
        self._ownership = ownership
        self._loader = Loader(upstream, catalogue, settings.load_timeout_s)
        self._queue = Queue(settings.max_queue)
        self._default_keep_alive_s = parse_setting(settings.keep_alive)
        self._holds: dict[str, Hold] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self._is_closed = False
        self._log = get_logger()
        catalogue.watch(self._take_view)

    @property
    def load_timeout_s(self) -> float:
        """How long a load may take, and how long a request waits for one."""
        return self._settings.load_timeout_s

    async def start(self) -> None:
        """Take up what was loaded before a crash, now and when another gateway dies."""
        await self._ownership.start()
        await self._adopt()
        self._sweeping = asyncio.create_task(self._sweep())

    def lease(
        self,
        row: internal.CatalogueRow,
        keep_alive: float | UnsetType | None = UNSET,
        num_ctx: float | UnsetType = UNSET,
        warn: Warn = _no_warning,
    ) -> Lease:
        """Return a hold that is not taken yet. `keep_alive` in seconds, None for ever."""
        settings = self._settings
        wish = read_wish(num_ctx, settings.context_length, settings.context_policy)
        return Lease(self, row, keep_alive, wish, warn)

    # -- for leases ---------------------------------------------------------------------------

    def join(self, lease: Lease) -> None:
        """Count one more request on a model; an explicit keep-alive is the model's from now on."""
        hold = self._seat_of(lease.row)
        lease.hold = hold
        hold.leases.append(lease)
        hold.is_due = False
        hold.stop_timer()
        self._apply_keep_alive(hold, lease)

    def leave(self, lease: Lease) -> None:
        """Count one request less; the last one starts the timer."""
        hold = lease.hold
        assert hold is not None
        lease.hold = None
        hold.leases.remove(lease)
        hold.last_used = time.monotonic()
        for each in self._around(hold):
            each.wake()
            self._settle(each)

    async def make_ready(self, lease: Lease) -> bool:
        """
        Let a request run once its model is loaded as it wants; return whether that took a load.

        Raises UpstreamFailure, Refusal.
        """
        until = time.monotonic() + self.load_timeout_s
        loads = grown = False
        while True:
            hold = self._move(lease)
            if (blocker := self._blocker(hold, lease)) is not None:
                await self._wait_for(blocker)
                loads = True
                continue
            if self._catalogue.dialect != "v1":
                break
            if not hold.instances:
                loads = True
                await self._change(hold, "loading", self._load(hold, lease))
                continue
            verdict = self._judge(hold, lease)
            if verdict.note is not None:
                self._tell(lease, verdict.note)
            if not verdict.is_reload:
                break
            if (why := self._why_not(hold, verdict.tokens, grown)) is not None:
                self._tell_of_context(lease, hold, why)
                break
            if not await self._wait_until_idle(hold, lease, until):
                self._tell_of_context(lease, hold, "requests ran on it all the time")
                break
            if hold.task is None:
                loads = grown = True
                await self._change(hold, "reloading", self._reload(hold, lease))
        hold.grower = None if hold.grower is lease else hold.grower
        lease.is_running = True
        return loads

    async def warm(self, row: internal.CatalogueRow) -> None:
        """
        Make the smallest request, where LM Studio has no load route and lists the model unloaded.

        Another server of the OpenAI dialect is left alone: it says nothing of loading.
        """
        if self._catalogue.dialect == "v0" and not row.instances:
            await self._loader.warm(row)

    async def look_again(self, lease: Lease, pause_s: float) -> bool:
        """Look at the host anew after a pause, which a change ends, and make the model ready."""
        hold = lease.hold
        assert hold is not None
        for each in self._around(hold):
            each.wake()
        if pause_s:
            try:
                async with asyncio.timeout(pause_s):
                    await hold.wait()
            except TimeoutError:
                pass
        if hold.task is None:
            await self._catalogue.rows(fresh=True)
        return await self.make_ready(lease)

    # -- for steps ----------------------------------------------------------------------------

    async def unload(self, row: internal.CatalogueRow) -> None:
        """Unload every copy of a model, at once when it is idle, else when it becomes so."""
        hold = self._seat_of(row)
        hold.stop_timer()
        hold.stop_asked_at = time.time()
        if hold.change == "unloading" and hold.task is not None:
            await asyncio.wait({hold.task})
        if hold.stop_asked_at is not None and self._is_free(hold):
            await self._change(hold, "unloading", self._unload(hold))

    def running(self, rows: list[internal.CatalogueRow]) -> list[internal.RunningInstance]:
        """Return every loaded instance with its model, the one that lives longest first."""
        now = time.time()
        found: dict[str, tuple[float, internal.RunningInstance]] = {}
        for row in rows:
            for instance in row.instances:
                # A model is shown as its variant when its instance names one.
                named = keys.split_instance(instance.id)[0]
                if instance.id in found and named != row.request_key:
                    continue
                expires = self._expires_at(row, instance, now)
                found[instance.id] = (
                    expires,
                    internal.RunningInstance(
                        row=self._shown(row),
                        context_length=int(instance.context_length or row.max_context_length or 0),
                        expires_at=local_text(expires),
                    ),
                )
        ordered = sorted(found.values(), key=lambda item: -item[0])
        return [instance for _, instance in ordered]

    async def aclose(self) -> None:
        """Stop every timer and what is under way; nothing is unloaded for it, or forgotten."""
        self._is_closed = True
        for hold in self._holds.values():
            hold.stop_timer()
        pending = [hold.task for hold in self._holds.values() if hold.task is not None]
        if self._sweeping is not None:
            pending.append(self._sweeping)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self._ownership.aclose()

    def _shown(self, row: internal.CatalogueRow) -> internal.CatalogueRow:
        """Return the row that a copy is shown as: of the made model it was loaded for, if any."""
        hold = self._holds.get(row.copies_of)
        made = self._catalogue.made_named(hold.asked_as) if hold is not None else None
        return made if made is not None and made.copies_of == row.copies_of else row

    # -- which model's copies -----------------------------------------------------------------

    def _hold_of(self, name: str, key: str) -> Hold:
        hold = self._holds.get(name)
        if hold is None:
            hold = self._holds[name] = Hold(name, key, self._default_keep_alive_s)
        return hold

    def _seat_of(self, row: internal.CatalogueRow) -> Hold:
        """Return the hold that a row's requests use: a loaded variant's, when any will do."""
        hold = self._hold_of(row.copies_of, row.key)
        if row.request_key == row.key and not hold.instances and hold.task is None:
            return next((one for one in self._around(hold) if one.instances), hold)
        return hold

    def _move(self, lease: Lease) -> Hold:
        """Return a waiting request's hold, which another variant's load may have changed."""
        before, hold = lease.hold, self._seat_of(lease.row)
        assert before is not None
        if hold is not before:
            before.leases.remove(lease)
            lease.hold = hold
            hold.leases.append(lease)
            hold.is_due = False
            hold.stop_timer()
            self._apply_keep_alive(hold, lease)
            before.wake()
            self._settle(before)
        return hold

    def _around(self, hold: Hold) -> list[Hold]:
        """Return the holds of all variants of its model, itself among them."""
        return [one for one in self._holds.values() if one.key == hold.key]

    def _is_in_use(self, hold: Hold) -> bool:
        """Whether a request may run on its copies, one that LM Studio found a variant for too."""
        return hold.is_running or any(
            lease.is_running and lease.is_bare for one in self._around(hold) for lease in one.leases
        )

    def _is_free(self, hold: Hold) -> bool:
        return hold.task is None and not hold.leases and not self._is_in_use(hold)

    def _take_view(self, rows: Iterable[internal.CatalogueRow]) -> None:
        """Bring what is known of each model's copies up to date with the host's list."""
        seen: dict[str, dict[str, internal.HostInstance]] = {}
        by_key: dict[str, set[str]] = {}
        rows = list(rows)
        for row in rows:
            by_key.setdefault(row.key, set()).add(row.copies_of)
        for row in rows:
            for instance in row.instances:
                base = keys.split_instance(instance.id)[0]
                name = base if base in by_key[row.key] else row.key
                hold = self._hold_of(name, row.key)
                seen.setdefault(name, {})[instance.id] = instance
                self._recognise(hold, instance)
        for hold in self._holds.values():
            before = hold.instances
            hold.instances = seen.get(hold.name, {})
            gone = [each for each in hold.owned if not self._is_still(hold, each)]
            for identifier in gone:
                self._disown(hold, identifier)
            self._notice_refusal(hold)
            is_over = (before and not hold.instances) or (gone and not hold.owned)
            if is_over and hold.task is None:
                self._reset(hold)

    def _recognise(self, hold: Hold, instance: internal.HostInstance) -> None:
        """See whether a copy is the one whose load was lost sight of."""
        pending = hold.pending
        if (
            pending is not None
            and instance.id not in hold.owned
            and keys.split_instance(instance.id)[0] == pending.request_key
            and isinstance(instance.remaining_ttl_seconds, UnsetType)
        ):
            self._end_pending(hold)
            self._own(hold, structs.replace(pending, id=instance.id, is_pending=False))
            if hold.task is None:
                self._settle(hold)

    def _is_still(self, hold: Hold, identifier: str) -> bool:
        """
        Whether a copy of ours is still there, and not another one under its name.

        LM Studio gives a time to live to what it loads by itself, and none to ours.
        """
        instance = hold.instances.get(identifier)
        if instance is None or not isinstance(instance.remaining_ttl_seconds, UnsetType):
            return False
        was, now = hold.owned[identifier].context_length, instance.context_length
        if was is None and not isinstance(now, UnsetType):
            hold.owned[identifier] = structs.replace(
                hold.owned[identifier], context_length=int(now)
            )
        return was is None or isinstance(now, UnsetType) or was == int(now)

    def _notice_refusal(self, hold: Hold) -> None:
        """Remember a context that was asked for and not given, so as not to ask again."""
        context = hold.context_length
        if hold.asked is not None and context is not None and context != hold.asked:
            hold.refused.add(hold.asked)
            hold.asked = None

    # -- waiting ------------------------------------------------------------------------------

    def _blocker(self, hold: Hold, lease: Lease) -> Hold | None:
        """Return the hold whose change a request has to wait for, None when it need not wait."""
        if hold.task is not None or hold.grower not in (None, lease):
            return hold
        if lease.is_bare:
            others = (one for one in self._around(hold) if one is not hold)
            return next((one for one in others if one.change in ("reloading", "unloading")), None)
        return None

    async def _wait_for(self, hold: Hold) -> None:
        """Wait for a change that is under way; a failed load fails for all who wait for it."""
        task, change = hold.task, hold.change
        with self._queue.place():
            if task is None:
                await hold.wait()
                return
            await asyncio.wait({task})
        if change != "unloading" and not task.cancelled() and (failure := task.exception()):
            raise failure

    async def _wait_until_idle(self, hold: Hold, lease: Lease, until: float) -> bool:
        """Wait until nothing runs on a model, and have later requests wait meanwhile."""
        hold.grower = lease
        try:
            while self._is_in_use(hold) and hold.task is None:
                left = until - time.monotonic()
                try:
                    async with asyncio.timeout(None if left == float("inf") else max(0.0, left)):
                        await hold.wait()
                except TimeoutError:
                    return False
            return True
        finally:
            hold.grower = None
            hold.wake()

    async def _change(self, hold: Hold, change: Change, work: Coroutine[Any, Any, None]) -> None:
        """Begin a change and wait for it; it goes on for the others when one of them leaves."""
        task = self._begin(hold, change, work)
        await asyncio.shield(task)

    def _begin(
        self, hold: Hold, change: Change, work: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        hold.task, hold.change = task, change
        hold.halt_timer()
        task.add_done_callback(partial(self._end_change, hold))
        return task

    def _end_change(self, hold: Hold, task: asyncio.Task[None]) -> None:
        change = hold.change
        hold.task = hold.change = None
        if not task.cancelled():
            failure = task.exception()
            if isinstance(failure, UpstreamFailure) and change == "unloading":
                self._log.warning("could not unload", model=hold.name, reason=failure.message)
            elif failure is not None and not isinstance(failure, UpstreamFailure):
                self._log.error("a change failed by a fault of ours", reason=repr(failure))
        for each in self._around(hold):
            each.wake()
        self._settle(hold)

    def _settle(self, hold: Hold) -> None:
        """See what becomes of a model that nobody uses now."""
        if self._is_closed or not self._is_free(hold):
            return
        if hold.stop_asked_at is not None:
            self._begin(hold, "unloading", self._unload(hold))
        elif hold.owned or hold.pending is not None:
            self._start_timer(hold)

    # -- keep-alive ---------------------------------------------------------------------------

    def _apply_keep_alive(self, hold: Hold, lease: Lease) -> None:
        if not isinstance(lease.keep_alive, UnsetType):
            hold.keep_alive_s = lease.keep_alive
            hold.stop_asked_at = time.time() if lease.keep_alive == 0 else None

    def _start_timer(self, hold: Hold) -> None:
        hold.stop_timer()
        seconds = hold.keep_alive_s
        if hold.must_retry or hold.pending is not None:
            seconds = RETRY_S if seconds is None else max(seconds, RETRY_S)
        if seconds is not None:
            self._set_timer(hold, time.time() + seconds)
        for owned in hold.owned.values():
            self._note_expiry(hold, owned)

    def _set_timer(self, hold: Hold, expires_at: float) -> None:
        hold.stop_timer()
        hold.expires_at = expires_at
        hold.timer = asyncio.get_running_loop().call_later(
            max(0.0, expires_at - time.time()), self._end_time, hold
        )

    def _note_expiry(self, hold: Hold, owned: Owned) -> None:
        before, now = owned.expires_at, hold.expires_at
        is_same = before is None if now is None else before and abs(before - now) < _LEAST_CHANGE_S
        if is_same and owned.keep_alive_s == hold.keep_alive_s:
            return
        self._own(hold, structs.replace(owned, expires_at=now, keep_alive_s=hold.keep_alive_s))

    def _end_time(self, hold: Hold) -> None:
        hold.timer = None
        hold.is_due = True
        if self._is_free(hold):
            self._begin(hold, "unloading", self._unload(hold))

    def _expires_at(
        self, row: internal.CatalogueRow, instance: internal.HostInstance, now: float
    ) -> float:
        hold = next(
            (
                one
                for one in self._holds.values()
                if instance.id in one.instances and one.key == row.key
            ),
            None,
        )
        if hold is not None and hold.stop_asked_at is not None:
            return min(hold.stop_asked_at, now)
        if hold is not None and instance.id in hold.owned:
            if hold.keep_alive_s is None:
                return now + FOREVER_S
            return hold.expires_at or now + hold.keep_alive_s
        remaining = instance.remaining_ttl_seconds
        return now + (FOREVER_S if isinstance(remaining, UnsetType) else float(remaining))

    # -- ownership ----------------------------------------------------------------------------

    def _own(self, hold: Hold, owned: Owned) -> None:
        hold.owned[owned.id] = owned
        self._ownership.note(owned)

    def _disown(self, hold: Hold, identifier: str) -> None:
        if hold.owned.pop(identifier, None) is not None:
            self._ownership.forget(identifier)

    def _reset(self, hold: Hold) -> None:
        """
        Start afresh: what a client wanted was for the load that is over
        (docs/facts/ollama.md#keep-alive).
        """
        hold.keep_alive_s = self._default_keep_alive_s
        hold.stop_asked_at = hold.asked = None
        hold.is_due = hold.must_retry = False
        hold.refused.clear()
        hold.stop_timer()
        for lease in hold.leases:
            self._apply_keep_alive(hold, lease)

    def _end_pending(self, hold: Hold) -> None:
        if hold.pending is not None:
            self._ownership.forget(hold.pending.id)
            hold.pending = None

    async def _adopt(self) -> None:
        for owned in await self._ownership.adopt():
            hold = self._hold_of(owned.hold, owned.key)
            hold.keep_alive_s = owned.keep_alive_s
            if owned.is_pending:
                hold.pending = owned
            else:
                hold.owned[owned.id] = owned
                hold.instances.setdefault(owned.id, internal.HostInstance(id=owned.id))
            if not self._is_free(hold):
                continue
            if owned.is_pending:
                self._start_timer(hold)
            elif owned.expires_at is not None:
                self._set_timer(hold, max(owned.expires_at, hold.expires_at or 0.0))
            self._log.info("took up what was loaded before", instance=owned.id)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            await self._adopt()

    # -- changes ------------------------------------------------------------------------------

    def _judge(self, hold: Hold, lease: Lease) -> Verdict:
        most = lease.row.max_context_length
        return decide(
            lease.wish,
            self._settings.context_policy,
            loaded=hold.context_length,
            most=None if isinstance(most, UnsetType) else most,
            cap=self._settings.context_cap,
        )

    def _why_not(self, hold: Hold, tokens: int | None, grown: bool) -> str | None:
        """Return what speaks against a reload, None when nothing does."""
        if not hold.is_ours:
            return "it was not loaded by this gateway"
        exact = self._settings.context_policy == "exact"
        is_refused = any(
            one == tokens if exact or tokens is None else one <= tokens for one in hold.refused
        )
        if grown or is_refused:
            return "LM Studio gave no other when it was asked"
        return None

    def _tell_of_context(self, lease: Lease, hold: Hold, why: str) -> None:
        wish = lease.wish
        if wish is not None and wish.is_own:
            has = hold.context_length
            self._tell(lease, f"num_ctx {wish.tokens} is not what the model has: {has}, {why}")

    def _tell(self, lease: Lease, text: str) -> None:
        self._log.info("context", model=lease.row.name, told=text)
        lease.warn(text)

    def _wanted(self, hold: Hold, lease: Lease) -> int | None:
        """Return the context to load with: the most that anyone who waits wants."""
        if self._settings.context_policy == "exact":
            return self._judge(hold, lease).tokens
        wants = [self._judge(hold, one).tokens for one in (lease, *hold.leases)]
        return max((tokens for tokens in wants if tokens is not None), default=None)

    async def _load(self, hold: Hold, lease: Lease) -> None:
        # A second look: a load of a loaded model may start a second copy
        # (docs/facts/lmstudio.md#load-again).
        await self._catalogue.rows(fresh=True)
        if hold.instances or (lease.is_bare and any(one.instances for one in self._around(hold))):
            return
        hold.keep_alive_s = self._default_keep_alive_s
        for one in hold.leases:
            if not isinstance(one.keep_alive, UnsetType):
                hold.keep_alive_s = one.keep_alive
        if self._settings.evict_others:
            await self._evict_others(hold)
        await self._load_copy(hold, lease, self._wanted(hold, lease))

    async def _load_copy(
        self,
        hold: Hold,
        lease: Lease,
        tokens: int | None,
        like: internal.HostInstance | None = None,
    ) -> None:
        """Load one copy, and keep in the store that it is ours before and after."""
        request_key = lease.row.request_key
        hold.asked_as = lease.row.name
        hold.pending = Owned(
            id=f"pending {hold.name}",
            hold=hold.name,
            key=hold.key,
            request_key=request_key,
            keep_alive_s=hold.keep_alive_s,
            expires_at=None,
            begun_at=time.time(),
            is_pending=True,
        )
        self._ownership.note(hold.pending)
        await self._ownership.written()
        pending = hold.pending
        try:
            instance = await self._load_with_room(hold, request_key, tokens, like)
        except UpstreamFailure as failure:
            if not is_outcome_unknown(failure):
                self._end_pending(hold)
            raise
        self._end_pending(hold)
        hold.instances = {**hold.instances, instance.id: instance}
        hold.asked = tokens
        keep_alive_s = hold.keep_alive_s
        assert pending is not None
        self._own(
            hold,
            structs.replace(
                pending,
                id=instance.id,
                is_pending=False,
                keep_alive_s=keep_alive_s,
                expires_at=None if keep_alive_s is None else time.time() + keep_alive_s,
            ),
        )
        await self._ownership.written()

    async def _load_with_room(
        self, hold: Hold, model: str, tokens: int | None, like: internal.HostInstance | None
    ) -> internal.HostInstance:
        tried: set[str] = set()
        while True:
            try:
                return await self._loader.load(model, tokens, like)
            except UpstreamFailure as failure:
                if not self._settings.make_room or not lacks_memory(failure):
                    raise
                victim = self._victim(hold, tried)
                if victim is None:
                    raise
                self._log.info("making room", model=hold.name, unloads=victim.name)
                tried.add(victim.name)
                victim.is_due = True
                await asyncio.wait({self._begin(victim, "unloading", self._unload(victim))})

    def _victim(self, hold: Hold, tried: set[str]) -> Hold | None:
        """Return the idle hold with copies of ours that was used longest ago."""
        idle = [
            one
            for one in self._holds.values()
            if one is not hold and one.owned and one.name not in tried and self._is_free(one)
        ]
        return min(idle, key=lambda one: one.last_used, default=None)

    async def _evict_others(self, hold: Hold) -> None:
        """Unload the idle copies of other models that somebody else loaded."""
        others = await self._ownership.others()
        for one in list(self._holds.values()):
            for identifier in list(one.instances):
                if one.key == hold.key or identifier in one.owned or identifier in others:
                    continue
                if not self._is_free(one):
                    break
                try:
                    await self._loader.unload(identifier)
                except UpstreamFailure as failure:
                    self._log.warning("could not evict", model=identifier, reason=failure.message)
                else:
                    one.instances.pop(identifier, None)

    async def _reload(self, hold: Hold, lease: Lease) -> None:
        """
        Load a model again with another context, and all else as it was.

        When that fails the old context is tried again; what is then told says whether there is a
        model still. Raises UpstreamFailure.
        """
        await self._catalogue.rows(fresh=True)
        verdict = self._judge(hold, lease)
        if not hold.is_ours or not verdict.is_reload or self._is_in_use(hold):
            return
        tokens = self._wanted(hold, lease)
        assert tokens is not None
        old = next(iter(hold.instances.values()))
        before = hold.context_length
        for identifier in list(hold.instances):
            try:
                await self._loader.unload(identifier)
            except UpstreamFailure as failure:
                hold.refused.add(tokens)
                self._log.warning("could not reload", model=hold.name, reason=failure.message)
                return
            hold.instances.pop(identifier, None)
            self._disown(hold, identifier)
        try:
            await self._load_copy(hold, lease, tokens, old)
        except UpstreamFailure as failure:
            self._log.warning("could not reload", model=hold.name, reason=failure.message)
            try:
                await self._load_copy(hold, lease, before, old)
            except UpstreamFailure as second:
                raise UpstreamFailure(
                    f"failed to load {hold.name} with a context of {tokens} ({failure.message}), "
                    f"and again with {before} ({second.message}); it is not loaded now",
                    status=500,
                    code="model_load_failed",
                ) from failure
            hold.refused.add(tokens)

    async def _unload(self, hold: Hold) -> None:
        """
        Unload all copies when somebody asked for that, else those of ours that are due.

        Ends early when somebody uses the model meanwhile, or wants it to stay.
        """
        try:
            await self._catalogue.rows(fresh=True)
            others: set[str] = set()
            if not hold.is_ours and hold.instances:
                others = await self._ownership.others()
            for identifier in list(hold.instances):
                if hold.leases or self._is_in_use(hold):
                    return
                if hold.stop_asked_at is None and not hold.is_due:
                    return
                if identifier in hold.owned or hold.stop_asked_at is not None:
                    if identifier in others:
                        self._log.warning("another gateway's copy stays", instance=identifier)
                        continue
                    await self._loader.unload(identifier)
                    hold.instances.pop(identifier, None)
                    self._disown(hold, identifier)
        except UpstreamFailure:
            hold.stop_asked_at = None
            hold.is_due = False
            hold.must_retry = True
            raise
        hold.stop_asked_at = None
        hold.is_due = hold.must_retry = False
        if hold.pending is not None and time.time() - hold.pending.begun_at > PENDING_S:
            self._end_pending(hold)
        if not hold.instances:
            self._reset(hold)
