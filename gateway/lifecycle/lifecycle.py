"""
The public face of the lifecycle: a lease for each request, and what steps of plans ask for.

docs/lifecycle.md says which states a model has. The parts share those states (`state`): `readiness`
is about waiting requests, `changes` about loads and unloads, `instances` about what is loaded, and
`keep_alive` about timers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal, TypeAlias

from msgspec import UNSET, UnsetType

from ..catalogue.catalogue import Catalogue
from ..faults import UpstreamFailure
from ..names import keys
from ..observability.journal import get_logger
from ..queueing.order import Home
from ..queueing.waiting import SlotQueue
from ..settings.schema import ModelSettings, QueueSettings
from ..types import internal
from ..upstream.client import Upstream
from ..wire.duration import parse_setting
from ..wire.times import local_text
from .changes import Changes
from .context_length import Wish, grown_for, read_wish
from .instances import Instances
from .loader import Loader
from .ownership import Ownership
from .readiness import Readiness
from .sharing import Sharing
from .state import ModelRequest, ModelStates, Warn

WINDOW_S = 12.0
"""
How long a host may refuse in seconds while it reloads a model; 5 to 10 s were seen
(docs/facts/lmstudio.md#reload-window).
"""
CONTRADICTION_S = 2.0
"""
How long a host may say in seconds that a model is not loaded which it lists as loaded; it says so
of a model of the wrong kind, too.
"""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
"""The pauses in seconds between two recoveries; each is twice as long as the one before."""
SWEEP_S = 60.0
"""Seconds between two looks for instances of gateways that have died."""

CountSlots: TypeAlias = Callable[[internal.CatalogueRow | None], int]
"""Returns how many requests a model runs at a time, 0 if nobody knows; None is any model."""


def _unknown(_: internal.CatalogueRow | None) -> int:
    """Know the slots of no model, so that nobody waits for them."""
    return 0


def _no_warning(_: str) -> None:
    """Drop a warning that no client can be given."""


class Lease:
    """One request's use of a model, from before the load until its answer has ended."""

    # What only a recovery sets.
    _refused_since: float | None = None
    _quiet_since = 0.0
    _pause_s = 0.0
    _has_grown = False

    def __init__(self, request: ModelRequest, readiness: Readiness, lifecycle: Lifecycle) -> None:
        """Be made by `Lifecycle.lease`; nothing is used before `prepare`."""
        self.row = request.row
        self._request = request
        self._readiness = readiness
        self._lifecycle = lifecycle
        self.slot: Home | None = None
        """The home of which it has a slot; it may be set before `prepare` to one that is taken."""

    @property
    def home(self) -> Home:
        """The slots of the model, once it is prepared."""
        assert self._request.state is not None, "it is prepared"
        return self._request.state.home

    async def prepare(self, *, takes_slot: bool = True) -> bool:
        """
        Begin to use the model, and load it first if it is not loaded and the host has a load call.

        A host without native loading loads with the first request. Returns whether the request may
        begin: it has a slot of the model, or does not need one. Else it waits for one (`waiting`)
        and calls `go_on`; until then it uses the model and does not run on it. Raises
        UpstreamFailure when the load fails, and Refusal when too many requests wait already.
        """
        request = self._request
        if self._readiness.lacking_room:
            await self._readiness.wait_for_turn(request)
        self._readiness.join(request)
        if self._readiness.is_ready(request):
            # As `make_ready` finds as well, without a coroutine of its own.
            request.is_running = True
        else:
            await self._readiness.make_ready(request)
        if not takes_slot or self.slot is not None:
            return True
        # Here and not in a function of its own: every request passes.
        assert request.state is not None, "it was joined"
        home = request.state.home
        if home.taken < home.slots:
            home.taken += 1
            self.slot = home
            return True
        # A reload waits for what runs. It must not wait for a request that waits for what it holds.
        request.is_running = False
        return False

    async def go_on(self, slot: Home | None) -> None:
        """
        Run after a wait, with a slot or without.

        The model may have been unloaded meanwhile. Raises as `prepare`.
        """
        self.slot = slot
        await self._readiness.make_ready(self._request)

    async def recover(self, failure: UpstreamFailure, how: Literal["load", "grow"]) -> bool:
        """
        Make the model ready again after a failure that a row of `recover` names.

        With "load" LM Studio said that it is not loaded, with "grow" that the prompt is longer than
        its context. Returns False when the failure stands. Raises the failure of a load.
        """
        return await (self._load_again(failure) if how == "load" else self._grow(failure))

    async def _grow(self, failure: UpstreamFailure) -> bool:
        """Load an own model with more context for a prompt, once; return whether it has more."""
        request, lifecycle = self._request, self._lifecycle
        state = request.state
        if self._has_grown or state is None:
            return False
        self._has_grown = True
        before = state.context_length
        tokens = lifecycle.context_for_prompt(self.row, before, failure.message)
        if tokens is None:
            return False
        request.is_running = False
        request.wish = Wish(tokens, is_own=False)
        await self._readiness.make_ready(request)
        after = None if request.state is None else request.state.context_length
        return after is not None and after > (before or 0)

    async def _load_again(self, failure: UpstreamFailure) -> bool:
        """
        Make the model ready again after LM Studio said in `failure` that it is not loaded.

        The first time this returns at once, then after growing pauses. Returns False when the time
        for a load is over or the host contradicts itself for too long: the failure stands. Raises
        the failure of a load.
        """
        request = self._request
        request.is_running = False
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = self._quiet_since = now
        is_listed = request.state is not None and bool(request.state.instances)
        is_contradiction = is_listed and "no model" in failure.message.lower()
        quiet_s = CONTRADICTION_S if is_contradiction else WINDOW_S
        over_at = min(
            self._refused_since + self._readiness.load_timeout_s, self._quiet_since + quiet_s
        )
        if now + self._pause_s >= over_at:
            return False
        loads = await self._readiness.look_again(request, self._pause_s)
        self._pause_s = min(max(2 * self._pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        if loads:
            self._quiet_since = time.monotonic()
        return True

    async def warm(self) -> None:
        """Have a host that loads for requests only load the prepared model, if it is not loaded."""
        await self._lifecycle.warm(self.row)

    def release(self) -> None:
        """End the use of the model; its keep-alive counts from here. A second call does nothing."""
        self._request.is_running = False
        slot = self.slot
        if slot is not None:
            self.slot = None
            slot.taken -= 1
            if slot.lanes:
                self._lifecycle.queue.fill(slot)
        if self._request.state is not None:
            self._readiness.leave(self._request)


class Lifecycle:
    """The loaded models of one host, as far as this gateway loads and unloads them."""

    def __init__(
        self,
        upstream: Upstream,
        catalogue: Catalogue,
        settings: ModelSettings,
        ownership: Ownership,
        sharing: Sharing,
        queue: SlotQueue | None = None,
        count_slots: CountSlots = _unknown,
    ) -> None:
        """
        Follow the list of `catalogue`.

        `ownership` remembers the own instances, `sharing` knows of those that others use. Requests
        wait in `queue`, and `count_slots` returns how many slots a model has on the host, by its
        row if there is one; 0 is unknown.
        """
        self.queue = queue or SlotQueue(QueueSettings())
        self._count_slots = count_slots
        self._rows: dict[str, internal.CatalogueRow] = {}
        """The rows of the last list, by `instances_of`."""
        self._catalogue = catalogue
        self._settings = settings
        self._ownership = ownership
        self._sharing = sharing
        sharing.refresh = lambda: catalogue.rows(fresh=True)
        self._loader = Loader(upstream, catalogue, settings.load_timeout_s)
        self._states = ModelStates(
            parse_setting(settings.keep_alive), lambda: Home(self.queue.slots(count_slots(None)))
        )
        self._instances = Instances(self._states, ownership)
        self._changes = Changes(
            self._states,
            self._instances,
            ownership,
            sharing,
            self._loader,
            catalogue,
            settings,
            self._adopt,
        )
        self._readiness = Readiness(self._states, self._changes, sharing, catalogue, settings)
        self._sweeping: asyncio.Task[None] | None = None
        self._log = get_logger()
        catalogue.watch(self._update_from)

    @property
    def waiting(self) -> int:
        """Return how many requests wait for changes of models which others started."""
        return self._readiness.queue.waiting

    async def start(self) -> None:
        """Adopt the instances of dead gateways, now and from time to time."""
        self.queue.watch(self.resize)
        await self._ownership.start()
        await self._sharing.look()
        await self._adopt()
        self._sweeping = asyncio.create_task(self._sweep())

    async def show_again(self) -> None:
        """
        Show other gateways again what is loaded and in use here, and learn what is theirs now.

        The store was away or has lost something, or they took this gateway for dead.
        """
        for state in self._states:
            for instance in (*state.owned.values(), *filter(None, [state.pending])):
                self._ownership.note(instance)
        self._ownership.write_again()
        await self._ownership.written()
        theirs = await self._ownership.others()
        for state in self._states:
            for identifier in state.owned.keys() & theirs:
                self._instances.disown(state, identifier)
        self._sharing.show_again(self._states)
        await self._adopt()

    async def aclose(self) -> None:
        """Stop every timer and every change; nothing is unloaded for it, or forgotten."""
        self.queue.unwatch(self.resize)
        self.send_away()
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self._changes.aclose()
        if self._sweeping is not None:
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await self._sharing.aclose()
        await self._ownership.aclose()

    def lease(
        self,
        row: internal.CatalogueRow,
        keep_alive: float | UnsetType | None = UNSET,
        num_ctx: float | UnsetType = UNSET,
        warn: Warn = _no_warning,
    ) -> Lease:
        """
        Return a lease on a model that is not prepared yet.

        `keep_alive` is in seconds, None is forever, UNSET leaves it as it is. `num_ctx` is the
        context length in tokens that the request asks for. `warn` is called with a sentence for the
        client when it gets another one.
        """
        settings = self._settings
        wish = read_wish(num_ctx, settings.context_length, settings.context_policy)
        return Lease(ModelRequest(row, keep_alive, wish, warn), self._readiness, self)

    def context_for_prompt(
        self, row: internal.CatalogueRow, loaded: int | None, message: str
    ) -> int | None:
        """Return the context length in tokens that a refused prompt needs, None if none helps."""
        settings = self._settings
        if not settings.grow_for_prompt or settings.context_policy == "ignore":
            return None
        most = row.max_context_length
        cap = settings.most_context
        limits = [int(limit) for limit in (cap, most) if not isinstance(limit, UnsetType) and limit]
        return grown_for(message, loaded, min(limits)) if limits else None

    async def warm(self, row: internal.CatalogueRow) -> None:
        """
        Make the smallest request, where LM Studio has no load route and lists the model unloaded.

        Other servers with the OpenAI API say nothing about loading, so they get none. Raises
        UpstreamFailure.
        """
        if self._catalogue.dialect == "v0" and not row.instances:
            await self._loader.warm(row)

    async def unload(self, row: internal.CatalogueRow) -> None:
        """
        Unload every instance of a model, at once if it is free, else as soon as it is.

        Raises UpstreamFailure when an unload at once fails.
        """
        state = self._states.state_for(row)
        state.stop_timer()
        state.stop_asked_at = time.time()
        state.retry_at = None
        if state.change == "unloading" and state.task is not None:
            await asyncio.wait({state.task})
        if state.stop_asked_at is not None and self._states.is_free(state):
            await self._changes.unload(state)

    def resize(self) -> None:
        """Count the slots of every model anew; requests that find one free now go on."""
        for state in self._states:
            self.queue.resize(state.home, self._count_slots(self._rows.get(state.name)))

    def send_away(self) -> None:
        """Have no request wait for the host's models: it can't be reached, or is drained."""
        for state in self._states:
            if state.home.lanes:
                self.queue.close_home(state.home)

    def home_of(self, row: internal.CatalogueRow) -> Home:
        """Return the slots of a model."""
        return self._states.state_for(row).home

    def identifier_of(self, row: internal.CatalogueRow) -> str:
        """Return the identifier of a loaded instance of a model, its key where none is loaded."""
        return next(iter(self._states.state_for(row).instances), row.request_key)

    def running(self, rows: list[internal.CatalogueRow]) -> list[internal.RunningInstance]:
        """Return every loaded instance in `rows` with its model, the last to expire first."""
        now = time.time()
        found: dict[str, tuple[float, internal.RunningInstance]] = {}
        for row in rows:
            for instance in row.instances:
                # An instance whose identifier names a variant is listed as that variant.
                named = keys.split_instance(instance.id)[0]
                if instance.id in found and named != row.request_key:
                    continue
                expires = self._changes.keep_alive.expires_at(row, instance, now)
                found[instance.id] = (
                    expires,
                    internal.RunningInstance(
                        row=self._row_loaded_as(row),
                        context_length=int(instance.context_length or row.max_context_length or 0),
                        expires_at=local_text(expires),
                    ),
                )
        ordered = sorted(found.values(), key=lambda item: -item[0])
        return [instance for _, instance in ordered]

    # -- inside -------------------------------------------------------------------------------

    def _row_loaded_as(self, row: internal.CatalogueRow) -> internal.CatalogueRow:
        """Return the row of the derived model that an instance was loaded for, else its own row."""
        state = self._states.get(row.instances_of)
        derived = self._catalogue.made_named(state.loaded_as) if state is not None else None
        return derived if derived is not None and derived.instances_of == row.instances_of else row

    def _update_from(self, rows: list[internal.CatalogueRow]) -> None:
        for state in self._instances.update_from(rows):
            self._changes.after_change(state)
        self._sharing.note_list(self._states)
        self._rows = {row.instances_of: row for row in rows}
        self.resize()

    async def _adopt(self) -> None:
        for adopted in await self._ownership.adopt():
            state = self._states.named(adopted.state, adopted.key)
            self._instances.adopt(state, adopted)
            if adopted.is_pending:
                self._changes.after_change(state)
            elif self._states.is_free(state):
                self._changes.keep_alive.resume(state, adopted)
            self._log.info("adopted an instance from an earlier process", instance=adopted.id)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            await self._adopt()
