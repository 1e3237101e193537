"""
Getting a model ready for a request: which changes the request waits for, and which it starts.

How a change is made is in `changes`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..catalogue.catalogue import Catalogue
from ..faults import Refusal
from ..observability.journal import get_logger
from ..queueing.waiting import BUSY
from ..settings.schema import ModelSettings
from .changes import ELSEWHERE_S, Changes
from .loads import not_loaded_in_time
from .sharing import Sharing
from .state import ModelRequest, ModelState, ModelStates

LEAVING_S = 0.2
"""Seconds between two looks at a model that another gateway is unloading."""


class Queue:
    """The requests that wait for changes which others started; their number has a limit."""

    def __init__(self, most: int) -> None:
        """Let at most `most` requests wait."""
        self._most = most
        self.waiting = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Wait inside the block. Raises Refusal (503) when the queue is full."""
        if self.waiting >= self._most:
            raise Refusal(503, BUSY)
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1


class Readiness:
    """Has the models of one host loaded as requests want them."""

    def __init__(
        self,
        states: ModelStates,
        changes: Changes,
        sharing: Sharing,
        catalogue: Catalogue,
        settings: ModelSettings,
    ) -> None:
        """Work on `states`, which the other parts of the lifecycle share."""
        self.load_timeout_s = settings.load_timeout_s
        """Seconds that a load may take, and that a request waits for one."""
        self.lacking_room = states.lacking_room
        """The models whose loads lack memory: while there are some, requests `wait_for_turn`."""
        self._states = states
        self._changes = changes
        self._sharing = sharing
        self._catalogue = catalogue
        self.queue = Queue(settings.max_queue)
        self._log = get_logger()

    async def wait_for_turn(self, request: ModelRequest) -> None:
        """
        Wait until no earlier load lacks memory, as Ollama does (docs/facts/ollama.md#queue-order).

        A request that waits here uses no model yet, so that its model can make room for the load.
        Raises Refusal when too many requests wait already.
        """
        if self._states.load_ahead_of(request) is None:
            return
        with self.queue.place():
            while (ahead := self._states.load_ahead_of(request)) is not None:
                await ahead.wait()

    def join(self, request: ModelRequest) -> None:
        """Have a request use its model; no instance of it is unloaded until `leave`."""
        self._states.state_for(request.row).add(request)

    def leave(self, request: ModelRequest) -> None:
        """End a request's use of its model; the last request to leave starts the timer."""
        state = request.state
        assert state is not None
        request.state = None
        state.requests.remove(request)
        state.last_used = time.monotonic()
        for variant in self._states.variants_of(state):
            variant.wake()
            if variant is state:
                self._changes.after_change(variant)
            else:
                self._changes.after_sibling(variant)

    async def make_ready(self, request: ModelRequest) -> bool:
        """
        Let a request run once its model is loaded as it wants; return whether that took a load.

        Raises UpstreamFailure when a load fails, and Refusal when too many requests wait already.
        """
        if self.is_ready(request):
            request.is_running = True
            return False
        until = time.monotonic() + self.load_timeout_s
        loads = has_reloaded = is_settled = False
        note = None
        while True:
            state = self._move(request)
            if (blocker := self._blocker(state, request)) is not None:
                await self._wait_for(blocker, until)
                loads = True
                continue
            if self._catalogue.dialect != "v1":
                break
            if not state.instances and time.monotonic() >= until:
                raise not_loaded_in_time(state, self.load_timeout_s)
            if not state.instances:
                loads = True
                await self._changes.load(state, request)
                continue
            decision = self._changes.context_for(state, request)
            if decision.note is not None and decision.note != note:
                note = decision.note
                self._warn(request, note)
            if decision.needs_reload and not is_settled:
                reason = self._changes.reason_against_reload(
                    state, decision.tokens, has_reloaded=has_reloaded
                )
                if reason is None:
                    reason = await self._reload(state, request, until)
                    loads = loads or reason is None
                    has_reloaded = has_reloaded or (reason is None and not state.is_used_elsewhere)
                if reason is not None:
                    is_settled = True
                    self._warn_of_context(request, state, reason)
                continue
            if self._sharing.is_alone or not await self._is_leaving(state, request):
                break
            loads = True
        state.growing_for = None if state.growing_for is request else state.growing_for
        request.is_running = True
        return loads

    async def look_again(self, request: ModelRequest, pause_s: float) -> bool:
        """
        Fetch the list again after a pause in seconds, and make the model ready as `make_ready`.

        A change of the model ends the pause.
        """
        state = request.state
        assert state is not None
        for variant in self._states.variants_of(state):
            variant.wake()
        if pause_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    before = state.instances.keys()
                    # Others that look again wake this one, too; that is no change.
                    while state.task is None and state.instances.keys() == before:
                        await state.wait()
        if state.task is None:
            await self._catalogue.rows(fresh=True)
        return await self.make_ready(request)

    async def _reload(self, state: ModelState, request: ModelRequest, until: float) -> str | None:
        """
        Have a model loaded again as a request wants it, once it is idle.

        Returns None when that was tried, or has to be tried again, and else the reason why not.
        Raises UpstreamFailure when nothing is loaded now.
        """
        if not await self._wait_until_idle(state, request, until):
            return "requests ran on it all the time"
        if state.task is None:
            await self._changes.reload(state, request)
            if state.is_used_elsewhere and not await self._pause(state, until):
                return "another gateway used it all the time"
        return None

    def is_ready(self, request: ModelRequest) -> bool:
        """
        Return whether a request needs nothing but to run: no change, no context, no other gateway.

        This is so for nearly every request, and tells what `make_ready` would find out one by one.
        """
        state = request.state
        return (
            state is not None
            and request.wish is None
            and bool(state.instances)
            and state.task is None
            and state.growing_for is None
            and self._sharing.is_alone
            # Its state may be another variant's by now, and others may have a change under way.
            and (not request.takes_any_variant or len(self._states.variants_of(state)) == 1)
            and self._catalogue.dialect == "v1"
        )

    # -- waiting ------------------------------------------------------------------------------

    def _move(self, request: ModelRequest) -> ModelState:
        """Return a waiting request's state, which another variant's load may have changed."""
        before, state = request.state, self._states.state_for(request.row)
        assert before is not None
        if state is not before:
            before.requests.remove(request)
            state.add(request)
            before.wake()
            self._changes.after_change(before)
        return state

    def _blocker(self, state: ModelState, request: ModelRequest) -> ModelState | None:
        """Return the state whose change a request has to wait for, None if it need not wait."""
        if state.task is not None or state.growing_for not in (None, request):
            return state
        if request.takes_any_variant:
            variants = (each for each in self._states.variants_of(state) if each is not state)
            return next(
                (each for each in variants if each.change in ("reloading", "unloading")), None
            )
        return None

    async def _is_leaving(self, state: ModelState, request: ModelRequest) -> bool:
        """
        Show other gateways that a request runs on a model; return whether one is unloading it.

        Then the list is fetched again after a moment.
        """
        used = self._states.variants_of(state) if request.takes_any_variant else [state]
        leaving = await self._sharing.begin(used)
        if not leaving:
            # The store was asked in the meantime: a change may have begun.
            return state.task is not None or not state.instances
        await asyncio.sleep(LEAVING_S)
        await self._catalogue.rows(fresh=True)
        return True

    async def _pause(self, state: ModelState, until: float) -> bool:
        """Wait before another gateway is looked at again; return whether there is time left."""
        left = until - time.monotonic()
        await asyncio.sleep(max(0.0, min(left, ELSEWHERE_S)))
        return left > 0

    async def _wait_for(self, state: ModelState, until: float) -> None:
        """
        Wait for a change that is under way; a failed load fails for all that wait for it.

        Raises UpstreamFailure when `until`, a monotonic time, comes first.
        """
        task, change = state.task, state.change
        left = until - time.monotonic()
        limit = None if left == float("inf") else max(0.0, left)
        with self.queue.place():
            if task is None:
                try:
                    async with asyncio.timeout(limit):
                        await state.wait()
                except TimeoutError:
                    raise not_loaded_in_time(state, self.load_timeout_s) from None
                return
            await asyncio.wait({task}, timeout=limit)
        if not task.done():
            del task
            raise not_loaded_in_time(state, self.load_timeout_s)
        try:
            if change != "unloading" and not task.cancelled():
                task.result()
        finally:
            # A raised exception holds this frame, which must not hold the exception.
            del task

    async def _wait_until_idle(
        self, state: ModelState, request: ModelRequest, until: float
    ) -> bool:
        """
        Wait until no request runs on a model, and have later requests wait meanwhile.

        Returns False when `until`, a monotonic time, comes first.
        """
        state.growing_for = request
        try:
            while self._states.is_in_use(state) and state.task is None:
                left = until - time.monotonic()
                try:
                    async with asyncio.timeout(None if left == float("inf") else max(0.0, left)):
                        await state.wait()
                except TimeoutError:
                    return False
            return True
        finally:
            state.growing_for = None
            state.wake()

    # -- warnings -----------------------------------------------------------------------------

    def _warn_of_context(self, request: ModelRequest, state: ModelState, reason: str) -> None:
        wish = request.wish
        if wish is not None and wish.is_own:
            has = state.context_length
            self._warn(request, f"num_ctx {wish.tokens} is not what the model has: {has}, {reason}")

    def _warn(self, request: ModelRequest, text: str) -> None:
        self._log.info("request gets another context length", model=request.row.name, reason=text)
        request.warn(text)
