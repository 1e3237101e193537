"""
Loads: under a claim that no other gateway loads the model, with room made for them, and searched
for if their end is not seen.

When a model is loaded is decided in `changes`, and the call is in `loader`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from msgspec import UnsetType

from ..catalogue.catalogue import Catalogue
from ..faults import UpstreamFailure
from ..observability.journal import get_logger
from ..settings.schema import ModelSettings
from ..types import internal
from .context_length import ContextDecision, decide
from .instances import Instances
from .loader import Loader, is_outcome_unknown, lacks_memory, search_time_s
from .room import Room
from .state import ModelRequest, ModelState, ModelStates

FIRST_LOOK_S, LONGEST_LOOK_S = 0.1, 2.0
"""
The pauses in seconds between two looks for an instance that is being loaded; each is twice as long
as the one before.
"""


Adopt: TypeAlias = Callable[[], Awaitable[None]]


class Loads:
    """Loads the models of one host."""

    def __init__(
        self,
        states: ModelStates,
        instances: Instances,
        room: Room,
        loader: Loader,
        catalogue: Catalogue,
        settings: ModelSettings,
        adopt: Adopt,
    ) -> None:
        """
        Work on `states`, which the other parts of the lifecycle share.

        `adopt` takes over what dead gateways left.
        """
        self._adopt = adopt
        self._states = states
        self._instances = instances
        self._room = room
        self._loader = loader
        self._catalogue = catalogue
        self._settings = settings
        self._cap = settings.most_context
        self._told_capped: set[str] = set()
        self._log = get_logger()

    def context_for(self, state: ModelState, request: ModelRequest) -> ContextDecision:
        """Return the context length that a request gets, and whether that takes a reload."""
        most = request.row.max_context_length
        return decide(
            request.wish,
            self._settings.context_policy,
            loaded=state.context_length,
            most=None if isinstance(most, UnsetType) else most,
            cap=self._cap,
        )

    async def load(self, state: ModelState, request: ModelRequest) -> None:
        """Load a model for a request, if it is not loaded by then. Raises UpstreamFailure."""
        until = time.monotonic() + self._settings.load_timeout_s
        state.keep_alive_s = self._states.default_keep_alive_s
        for waiting in state.requests:
            if not isinstance(waiting.keep_alive, UnsetType):
                state.keep_alive_s = waiting.keep_alive
        try:
            if not await self._claim_in_time(state, request, until):
                return
        finally:
            state.left_to_others = ""
        try:
            # The list is fetched again first: a load of a loaded model may start a second instance
            # (docs/facts/lmstudio.md#load-again). Another gateway may have loaded it before the
            # claim was made.
            await self._catalogue.rows(fresh=True, until=until)
            if self._is_loaded_for(state, request):
                return
            if self._settings.evict_others:
                await self._room.evict_foreign(state)
            tokens = self.largest_context(state, request)
            await self.load_instance(state, request, tokens, None, until)
        finally:
            if state.lost_until is None:
                self._instances.end_pending(state)

    def _is_loaded_for(self, state: ModelState, request: ModelRequest) -> bool:
        return bool(state.instances) or (
            request.takes_any_variant
            and any(variant.instances for variant in self._states.variants_of(state))
        )

    async def _claim_in_time(self, state: ModelState, request: ModelRequest, until: float) -> bool:
        """
        Record that a load starts; while another gateway loads the model, wait for its instance.

        If that gateway has died, its load is taken over and searched for.

        Returns False when the instance is there. Raises UpstreamFailure when `until`, a monotonic
        time, comes first.
        """
        pause_s = FIRST_LOOK_S
        while not await self._instances.claim_load(state, request.row.request_key):
            await self._adopt()
            if state.lost_until is not None:
                left = until - time.monotonic()
                limit = None if left == float("inf") else max(0.0, left)
                with suppress(TimeoutError):
                    async with asyncio.timeout(limit):
                        await self.search(state)
            else:
                await self._catalogue.rows(fresh=True, until=until)
            if self._is_loaded_for(state, request):
                return False
            if time.monotonic() >= until:
                raise not_loaded_in_time(state, self._settings.load_timeout_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_LOOK_S)
        return True

    def largest_context(self, state: ModelState, request: ModelRequest) -> int | None:
        """Return the context length to load with: the largest of all that wait."""
        if self._settings.context_policy == "exact":
            return self._wanted(state, request)
        waiting = (request, *state.requests)
        wanted = [self._wanted(state, each) for each in waiting]
        return max((tokens for tokens in wanted if tokens is not None), default=None)

    def _wanted(self, state: ModelState, request: ModelRequest) -> int | None:
        """Return the context length for a request; say once if the operator's own is too large."""
        decision, wish = self.context_for(state, request), request.wish
        if decision.is_capped and wish and not wish.is_own and state.name not in self._told_capped:
            self._told_capped.add(state.name)
            self._log.warning(
                "the configured context length is capped",
                model=state.name,
                configured=wish.tokens,
                context_length=decision.tokens,
            )
        return decision.tokens

    async def load_instance(
        self,
        state: ModelState,
        request: ModelRequest,
        tokens: int | None,
        like: internal.HostInstance | None,
        until: float,
    ) -> None:
        """
        Load one instance under a claim, and note in the store that it is an own one.

        A load whose end was not seen is noted as lost: the search for it begins with the end of
        this change. Raises UpstreamFailure.
        """
        pending = state.pending
        assert pending is not None
        state.loaded_as = request.row.name
        try:
            instance = await self._load_with_room(state, request, tokens, like, until)
        except UpstreamFailure as failure:
            if is_outcome_unknown(failure):
                self._instances.note_lost(state, search_time_s(failure))
            raise
        finally:
            state.takes_room = False
            self._room.leave_queue(state)
        state.requested_context = tokens
        await self._instances.note_loaded(state, pending, instance)

    async def _load_with_room(
        self,
        state: ModelState,
        request: ModelRequest,
        tokens: int | None,
        like: internal.HostInstance | None,
        until: float,
    ) -> internal.HostInstance:
        """Load one instance; when memory is short, have idle own models unloaded for it."""
        tried: set[str] = set()
        most = self._settings.max_loaded
        while most and self._room.count_loaded(state) >= most:
            if not await self._room.make(state, request.place, tried, until):
                raise UpstreamFailure(
                    f"no room for {state.name}: {most} models are loaded (models.max_loaded), and "
                    "none of them became idle in time",
                    status=503,
                )
        state.takes_room = True
        assert state.pending is not None
        model = state.pending.request_key
        while True:
            try:
                left_s = max(0.0, until - time.monotonic())
                return await self._loader.load(model, tokens, like, left_s)
            except UpstreamFailure as failure:
                if not self._settings.make_room or not lacks_memory(failure):
                    raise
                if not await self._room.make(state, request.place, tried, until):
                    raise

    async def search(self, state: ModelState) -> None:
        """
        Look for the instance of a lost load until it is there, or can't come any more.

        The list shows it, and has it noted as an own one. A host that was unreachable in the
        meantime has most likely ended, and the load with it.
        """
        pause_s = FIRST_LOOK_S
        was_away = False
        while (until := state.lost_until) is not None:
            try:
                await self._catalogue.rows(fresh=True)
                is_over = was_away
            except UpstreamFailure as failure:
                was_away = was_away or failure.fault == "connect"
                is_over = False
            if state.lost_until is None:
                self._log.info("found the instance of a lost load", model=state.name)
                return
            if is_over or time.time() >= until:
                self._log.warning("a lost load did not end in an instance", model=state.name)
                state.has_lost_one = True
                self._instances.end_pending(state)
                return
            await asyncio.sleep(max(0.01, min(pause_s, until - time.time())))
            pause_s = min(2 * pause_s, LONGEST_LOOK_S)


def not_loaded_in_time(state: ModelState, limit_s: float) -> UpstreamFailure:
    """Return the failure of a request whose time is over before its model is loaded."""
    reason = "LM Studio may still be loading it"
    if state.left_to_others:
        reason = (
            "another gateway was to load it, since those on one store can't ask each other "
            f"({state.left_to_others}); load it in LM Studio, or ask another gateway for it"
        )
    return UpstreamFailure(
        f"{state.name} was not loaded within {limit_s:g} s; {reason}", fault="first_byte_timeout"
    )
