"""
The changes of a model, and which one comes next: load, reload, unload.

A model has one change at a time, and none unloads an instance while a request runs on it, through
this gateway or another one on the same store. Only own instances are unloaded, and those that a
client asked to unload. Which requests wait for a change is known to `readiness`; the calls are in
`loader`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

from ..catalogue.catalogue import Catalogue
from ..faults import UpstreamFailure
from ..observability.journal import get_logger
from ..settings.schema import ModelSettings
from ..types import internal
from .context_length import is_refused
from .instances import Instances
from .keep_alive import KeepAlive
from .loader import Loader
from .loads import Adopt, Loads
from .ownership import Ownership
from .room import Room
from .sharing import Sharing
from .state import Change, ModelRequest, ModelState, ModelStates

ELSEWHERE_S = 2.0
"""Seconds after which an unload is tried again that another gateway's use has stopped."""


class Changes:
    """Loads, reloads and unloads the models of one host."""

    def __init__(
        self,
        states: ModelStates,
        instances: Instances,
        ownership: Ownership,
        sharing: Sharing,
        loader: Loader,
        catalogue: Catalogue,
        settings: ModelSettings,
        adopt: Adopt,
    ) -> None:
        """
        Work on `states`, which the other parts of the lifecycle share.

        `adopt` takes over what dead gateways left.
        """
        room = Room(states, ownership, sharing, loader, self._start_unload)
        self._loads = Loads(states, instances, room, loader, catalogue, settings, adopt)
        self.context_for = self._loads.context_for
        self._sharing = sharing
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
        await self._run(state, "loading", self._loads.load(state, request))

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
        """
        Choose what comes next for a model: a search for a lost load, or, when no request uses it,
        an unload or its timer.
        """
        if self._is_closed or state.task is not None:
            return
        if state.lost_until is not None:
            self._start(state, "loading", self._loads.search(state))
        elif self._states.is_free(state):
            if state.retry_at is not None:
                self.keep_alive.wait_until(state, state.retry_at)
                state.retry_at = None
            elif state.stop_asked_at is not None:
                self._start_unload(state)
            elif state.owned:
                self.keep_alive.start(state)

    def after_sibling(self, state: ModelState) -> None:
        """
        Choose what comes next for a model after a request on another variant of it.

        A timer that runs goes on. A model that was due while the request ran is unloaded.
        """
        if state.timer is None and state.is_due and not self._is_closed:
            self._unload_if_free(state)
        elif state.timer is None:
            self.after_change(state)

    def reason_against_reload(
        self, state: ModelState, tokens: int | None, *, has_reloaded: bool
    ) -> str | None:
        """
        Return why a reload with a context length of `tokens` is not tried, None if it may be.

        `has_reloaded` says that this request has caused one already.
        """
        if not state.is_own:
            return "it was not loaded by this gateway"
        if has_reloaded or any(
            is_refused(asked, given, tokens or 0, self._settings.context_policy)
            for asked, given in state.given_contexts.items()
        ):
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
            self._start_unload(state)

    def _start_unload(self, state: ModelState) -> asyncio.Task[None]:
        return self._start(state, "unloading", self._unload(state))

    # -- reloading and unloading --------------------------------------------------------------

    async def _reload(self, state: ModelState, request: ModelRequest) -> None:
        until = time.monotonic() + self._settings.load_timeout_s
        state.is_used_elsewhere = False
        await self._catalogue.rows(fresh=True, until=until)
        decision = self.context_for(state, request)
        if not state.is_own or not decision.needs_reload or self._states.is_in_use(state):
            return
        tokens = self._loads.largest_context(state, request)
        assert tokens is not None
        old = next(iter(state.instances.values()))
        before = state.context_length
        # Under its own name: a request for the bare key would get the selected variant instead.
        name = next(iter(state.owned.values())).request_key
        # Claimed before the unload: no other gateway is to load the model in between.
        if not await self._instances.claim_load(state, name):
            state.is_used_elsewhere = True
            return
        try:
            for identifier in list(state.instances):
                try:
                    is_done = await self._unload_unused(state, identifier)
                except UpstreamFailure as failure:
                    state.given_contexts[tokens] = before or 0
                    self._log.warning("could not reload", model=state.name, reason=failure.message)
                    return
                if not is_done:
                    return
            await self._load_bigger(state, request, tokens, old, before, until)
        finally:
            if state.lost_until is None:
                self._instances.end_pending(state)

    async def _load_bigger(
        self,
        state: ModelState,
        request: ModelRequest,
        tokens: int,
        old: internal.HostInstance,
        before: int | None,
        until: float,
    ) -> None:
        """Load a model that was unloaded for this, and with its old context if that fails."""
        try:
            await self._loads.load_instance(state, request, tokens, old, until)
        except UpstreamFailure as failure:
            self._log.warning("could not reload", model=state.name, reason=failure.message)
            if state.lost_until is not None:
                raise
            try:
                until = time.monotonic() + self._settings.load_timeout_s
                await self._loads.load_instance(state, request, before, old, until)
            except UpstreamFailure as second:
                raise UpstreamFailure(
                    f"failed to load {state.name} with a context of {tokens} ({failure.message}), "
                    f"and again with {before} ({second.message}); it is not loaded now",
                    status=500,
                    code="model_load_failed",
                ) from failure
            state.given_contexts[tokens] = before or 0

    async def _unload(self, state: ModelState) -> None:
        """
        Unload all instances when a client asked for that, else the own ones that are due.

        Ends early when a request comes in the meantime, a client wants the model to stay, or
        another gateway uses it.
        """
        state.is_used_elsewhere = False
        try:
            await self._catalogue.rows(fresh=True)
            others = await self._ownership.others() if state.instances else set()
            for identifier in list(state.instances):
                if state.stop_asked_at is None and not state.is_due:
                    return
                if identifier in others:
                    # It was loaded anew by another gateway, if it was an own one.
                    self._instances.disown(state, identifier)
                    if state.stop_asked_at is not None:
                        self._log.warning(
                            "did not unload another gateway's instance", instance=identifier
                        )
                    continue
                if identifier in state.owned or state.stop_asked_at is not None:
                    if state.requests or self._states.is_in_use(state):
                        return
                    if not await self._unload_unused(state, identifier):
                        return
        except UpstreamFailure:
            state.stop_asked_at = None
            state.is_due = False
            state.must_retry = True
            raise
        state.stop_asked_at = None
        state.is_due = state.must_retry = False
        if not state.instances:
            state.reset(self._states.default_keep_alive_s)

    async def _unload_unused(self, state: ModelState, identifier: str) -> bool:
        """
        Unload one instance, unless another gateway uses it or did so a moment ago.

        Returns False if it stays, also because a request came in the meantime. `retry_at` then says
        when the keep-alive is over again. Raises UpstreamFailure.
        """

        def is_free() -> bool:
            is_asked_for = state.change == "unloading" and bool(state.requests)
            return not (is_asked_for or self._states.is_in_use(state))

        used_at = await self._sharing.claim_unload(identifier, is_free)
        if used_at is None:
            self._postpone(state, time.time())
            return False
        try:
            if not is_free():
                return False
            if self._is_due_by_time(state) and used_at + (state.keep_alive_s or 0.0) > time.time():
                self._postpone(state, used_at)
                return False
            await self._loader.unload(identifier)
            state.instances.pop(identifier, None)
            self._instances.disown(state, identifier)
        finally:
            await self._sharing.end_unload(identifier)
        return True

    def _is_due_by_time(self, state: ModelState) -> bool:
        ends = state.expires_at
        return state.stop_asked_at is None and ends is not None and ends <= time.time()

    def _postpone(self, state: ModelState, used_at: float) -> None:
        """
        Have an unload wait, because another gateway used the model at `used_at`.

        A keep-alive begins again with that use.
        """
        wait_s = (state.keep_alive_s or 0.0) if self._is_due_by_time(state) else 0.0
        state.retry_at = max(used_at + wait_s, time.time() + ELSEWHERE_S)
        state.is_used_elsewhere = True
        state.is_due = False
