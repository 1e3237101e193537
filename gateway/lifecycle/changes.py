"""
The changes of a model, and which one comes next: load, reload, unload.

A model has one change at a time, and none unloads an instance while a request of this gateway runs
on it. Only own instances are unloaded, and those that a client asked to unload. Which requests wait
for a change is known to `readiness`; the calls are in `loader`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

from msgspec import UnsetType

from gateway.catalogue.catalogue import Catalogue
from gateway.faults import UpstreamFailure
from gateway.lifecycle.context_length import ContextDecision, decide
from gateway.lifecycle.instances import Instances
from gateway.lifecycle.keep_alive import KeepAlive
from gateway.lifecycle.loader import Loader, is_outcome_unknown, lacks_memory
from gateway.lifecycle.ownership import Ownership
from gateway.lifecycle.state import Change, ModelRequest, ModelState, ModelStates
from gateway.observability.journal import get_logger
from gateway.settings.schema import ModelSettings
from gateway.types import internal

PENDING_S = 600.0
"""Seconds after its begin for which a load without a known end may still be running."""


class Changes:
    """Loads, reloads and unloads the models of one host."""

    def __init__(
        self,
        states: ModelStates,
        instances: Instances,
        ownership: Ownership,
        loader: Loader,
        catalogue: Catalogue,
        settings: ModelSettings,
    ) -> None:
        """Work on `states`, which the other parts of the lifecycle share."""
        self.keep_alive = KeepAlive(states, instances, self._unload_if_free)
        self._states = states
        self._instances = instances
        self._ownership = ownership
        self._loader = loader
        self._catalogue = catalogue
        self._settings = settings
        self._is_closed = False
        self._log = get_logger()

    async def load(self, state: ModelState, request: ModelRequest) -> None:
        """
        Load a model for a request. Raises UpstreamFailure.

        The load goes on for other requests when the caller is cancelled; so do all changes.
        """
        await self._run(state, "loading", self._load(state, request))

    async def reload(self, state: ModelState, request: ModelRequest) -> None:
        """
        Load an idle own model again, with the context length that a request wants.

        When that fails, the old context length is tried again. Raises UpstreamFailure when that
        fails too, and nothing is loaded.
        """
        await self._run(state, "reloading", self._reload(state, request))

    async def unload(self, state: ModelState) -> None:
        """Unload a free model. Raises UpstreamFailure."""
        await self._run(state, "unloading", self._unload(state))

    def after_change(self, state: ModelState) -> None:
        """Choose what comes next for a model that may be free now: an unload, a timer, nothing."""
        if self._is_closed or not self._states.is_free(state):
            return
        if state.stop_asked_at is not None:
            self._start(state, "unloading", self._unload(state))
        elif state.owned or state.pending is not None:
            self.keep_alive.start(state)

    def context_for(self, state: ModelState, request: ModelRequest) -> ContextDecision:
        """Return the context length that a request gets, and whether that takes a reload."""
        most = request.row.max_context_length
        return decide(
            request.wish,
            self._settings.context_policy,
            loaded=state.context_length,
            most=None if isinstance(most, UnsetType) else most,
            cap=self._settings.context_cap,
        )

    def reason_against_reload(
        self, state: ModelState, tokens: int | None, *, has_reloaded: bool
    ) -> str | None:
        """
        Return why a reload with a context length of `tokens` is not tried, None if it may be.

        `has_reloaded` says that this request has caused one already.
        """
        if not state.is_own:
            return "it was not loaded by this gateway"
        exact = self._settings.context_policy == "exact"
        is_refused = any(
            refused == tokens if exact or tokens is None else refused <= tokens
            for refused in state.refused_contexts
        )
        if has_reloaded or is_refused:
            return "LM Studio gave no other when it was asked"
        return None

    async def aclose(self) -> None:
        """Stop every timer and every change; nothing is unloaded for it, or forgotten."""
        self._is_closed = True
        for state in self._states:
            state.stop_timer()
        tasks = [state.task for state in self._states if state.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- the course of a change ---------------------------------------------------------------

    async def _run(
        self, state: ModelState, change: Change, work: Coroutine[Any, Any, None]
    ) -> None:
        await asyncio.shield(self._start(state, change, work))

    def _start(
        self, state: ModelState, change: Change, work: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        state.task, state.change = task, change
        state.halt_timer()
        task.add_done_callback(partial(self._end, state))
        return task

    def _end(self, state: ModelState, task: asyncio.Task[None]) -> None:
        change = state.change
        state.task = state.change = None
        if not task.cancelled():
            failure = task.exception()
            if isinstance(failure, UpstreamFailure) and change == "unloading":
                self._log.warning("could not unload", model=state.name, reason=failure.message)
            elif failure is not None and not isinstance(failure, UpstreamFailure):
                self._log.error(
                    "model change failed (internal error)",
                    model=state.name,
                    change=change,
                    reason=repr(failure),
                )
        for variant in self._states.variants_of(state):
            variant.wake()
        self.after_change(state)

    def _unload_if_free(self, state: ModelState) -> None:
        if self._states.is_free(state):
            self._start(state, "unloading", self._unload(state))

    # -- loading ------------------------------------------------------------------------------

    async def _load(self, state: ModelState, request: ModelRequest) -> None:
        # The list is fetched again first: a load of a loaded model may start a second instance
        # (docs/facts/lmstudio.md#load-again).
        await self._catalogue.rows(fresh=True)
        if state.instances or (
            request.takes_any_variant
            and any(variant.instances for variant in self._states.variants_of(state))
        ):
            return
        state.keep_alive_s = self._states.default_keep_alive_s
        for waiting in state.requests:
            if not isinstance(waiting.keep_alive, UnsetType):
                state.keep_alive_s = waiting.keep_alive
        if self._settings.evict_others:
            await self._evict_foreign(state)
        await self._load_instance(state, request, self._largest_context(state, request))

    def _largest_context(self, state: ModelState, request: ModelRequest) -> int | None:
        """Return the context length to load with: the largest of all that wait."""
        if self._settings.context_policy == "exact":
            return self.context_for(state, request).tokens
        waiting = (request, *state.requests)
        wanted = [self.context_for(state, each).tokens for each in waiting]
        return max((tokens for tokens in wanted if tokens is not None), default=None)

    async def _load_instance(
        self,
        state: ModelState,
        request: ModelRequest,
        tokens: int | None,
        like: internal.HostInstance | None = None,
    ) -> None:
        """Load one instance, and note in the store before and after that it is an own one."""
        request_key = request.row.request_key
        state.loaded_as = request.row.name
        pending = await self._instances.note_load(state, request_key)
        try:
            instance = await self._load_with_room(state, request_key, tokens, like)
        except UpstreamFailure as failure:
            if not is_outcome_unknown(failure):
                self._instances.end_pending(state)
            raise
        state.requested_context = tokens
        await self._instances.note_loaded(state, pending, instance)

    async def _load_with_room(
        self, state: ModelState, model: str, tokens: int | None, like: internal.HostInstance | None
    ) -> internal.HostInstance:
        """Load one instance; when memory is short, unload idle own models one after another."""
        tried: set[str] = set()
        while True:
            try:
                return await self._loader.load(model, tokens, like)
            except UpstreamFailure as failure:
                if not self._settings.make_room or not lacks_memory(failure):
                    raise
                idle = self._least_recently_used(state, tried)
                if idle is None:
                    raise
                self._log.info(
                    "unloading an idle model for its memory",
                    model=idle.name,
                    needed_by=state.name,
                )
                tried.add(idle.name)
                idle.is_due = True
                await asyncio.wait({self._start(idle, "unloading", self._unload(idle))})

    def _least_recently_used(self, state: ModelState, tried: set[str]) -> ModelState | None:
        """Return the free model with own instances that was unused for longest, None if none is."""
        idle = [
            other
            for other in self._states
            if other is not state
            and other.owned
            and other.name not in tried
            and self._states.is_free(other)
        ]
        return min(idle, key=lambda other: other.last_used, default=None)

    async def _evict_foreign(self, state: ModelState) -> None:
        """Unload the idle instances of other models that no living gateway loaded."""
        of_gateways = await self._ownership.others()
        for other in list(self._states):
            for identifier in list(other.instances):
                if other.key == state.key or identifier in other.owned:
                    continue
                if identifier in of_gateways:
                    continue
                if not self._states.is_free(other):
                    break
                try:
                    await self._loader.unload(identifier)
                except UpstreamFailure as failure:
                    self._log.warning(
                        "could not evict", instance=identifier, reason=failure.message
                    )
                else:
                    other.instances.pop(identifier, None)

    # -- reloading and unloading --------------------------------------------------------------

    async def _reload(self, state: ModelState, request: ModelRequest) -> None:
        await self._catalogue.rows(fresh=True)
        decision = self.context_for(state, request)
        if not state.is_own or not decision.needs_reload or self._states.is_in_use(state):
            return
        tokens = self._largest_context(state, request)
        assert tokens is not None
        old = next(iter(state.instances.values()))
        before = state.context_length
        for identifier in list(state.instances):
            try:
                await self._loader.unload(identifier)
            except UpstreamFailure as failure:
                state.refused_contexts.add(tokens)
                self._log.warning("could not reload", model=state.name, reason=failure.message)
                return
            state.instances.pop(identifier, None)
            self._instances.disown(state, identifier)
        try:
            await self._load_instance(state, request, tokens, old)
        except UpstreamFailure as failure:
            self._log.warning("could not reload", model=state.name, reason=failure.message)
            try:
                await self._load_instance(state, request, before, old)
            except UpstreamFailure as second:
                raise UpstreamFailure(
                    f"failed to load {state.name} with a context of {tokens} ({failure.message}), "
                    f"and again with {before} ({second.message}); it is not loaded now",
                    status=500,
                    code="model_load_failed",
                ) from failure
            state.refused_contexts.add(tokens)

    async def _unload(self, state: ModelState) -> None:
        """
        Unload all instances when a client asked for that, else the own ones that are due.

        Ends early when a request comes in the meantime, or a client wants the model to stay.
        """
        try:
            await self._catalogue.rows(fresh=True)
            others: set[str] = set()
            if not state.is_own and state.instances:
                others = await self._ownership.others()
            for identifier in list(state.instances):
                if state.requests or self._states.is_in_use(state):
                    return
                if state.stop_asked_at is None and not state.is_due:
                    return
                if identifier in state.owned or state.stop_asked_at is not None:
                    if identifier in others:
                        self._log.warning(
                            "did not unload another gateway's instance", instance=identifier
                        )
                        continue
                    await self._loader.unload(identifier)
                    state.instances.pop(identifier, None)
                    self._instances.disown(state, identifier)
        except UpstreamFailure:
            state.stop_asked_at = None
            state.is_due = False
            state.must_retry = True
            raise
        state.stop_asked_at = None
        state.is_due = state.must_retry = False
        if state.pending is not None and time.time() - state.pending.begun_at > PENDING_S:
            self._instances.end_pending(state)
        if not state.instances:
            state.reset(self._states.default_keep_alive_s)
