"""
Getting a model ready for a request: which changes the request waits for, and which it starts.

How a change is made is in `changes`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.catalogue.catalogue import Catalogue
from gateway.faults import Refusal
from gateway.lifecycle.changes import Changes
from gateway.lifecycle.state import ModelRequest, ModelState, ModelStates
from gateway.observability.journal import get_logger
from gateway.settings.schema import ModelSettings

BUSY = "server busy, please try again.  maximum pending requests exceeded"
"""Ollama's text, two spaces included (docs/facts/ollama.md#queue)."""


class Queue:
    """The requests that wait for changes which others started; their number has a limit."""

    def __init__(self, most: int) -> None:
        """Let at most `most` requests wait."""
        self._most = most
        self._waiting = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Wait inside the block. Raises Refusal (503) when the queue is full."""
        if self._waiting >= self._most:
            raise Refusal(503, BUSY)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1


class Readiness:
    """Has the models of one host loaded as requests want them."""

    def __init__(
        self,
        states: ModelStates,
        changes: Changes,
        catalogue: Catalogue,
        settings: ModelSettings,
    ) -> None:
        """Work on `states`, which the other parts of the lifecycle share."""
        self.load_timeout_s = settings.load_timeout_s
        """Seconds that a load may take, and that a request waits for one."""
        self._states = states
        self._changes = changes
        self._catalogue = catalogue
        self._queue = Queue(settings.max_queue)
        self._log = get_logger()

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
            self._changes.after_change(variant)

    async def make_ready(self, request: ModelRequest) -> bool:
        """
        Let a request run once its model is loaded as it wants; return whether that took a load.

        Raises UpstreamFailure when a load fails, and Refusal when too many requests wait already.
        """
        until = time.monotonic() + self.load_timeout_s
        loads = has_reloaded = False
        while True:
            state = self._move(request)
            if (blocker := self._blocker(state, request)) is not None:
                await self._wait_for(blocker)
                loads = True
                continue
            if self._catalogue.dialect != "v1":
                break
            if not state.instances:
                loads = True
                await self._changes.load(state, request)
                continue
            decision = self._changes.context_for(state, request)
            if decision.note is not None:
                self._warn(request, decision.note)
            if not decision.needs_reload:
                break
            reason = self._changes.reason_against_reload(
                state, decision.tokens, has_reloaded=has_reloaded
            )
            if reason is not None:
                self._warn_of_context(request, state, reason)
                break
            if not await self._wait_until_idle(state, request, until):
                self._warn_of_context(request, state, "requests ran on it all the time")
                break
            if state.task is None:
                loads = has_reloaded = True
                await self._changes.reload(state, request)
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
            try:
                async with asyncio.timeout(pause_s):
                    await state.wait()
            except TimeoutError:
                pass
        if state.task is None:
            await self._catalogue.rows(fresh=True)
        return await self.make_ready(request)

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

    async def _wait_for(self, state: ModelState) -> None:
        """Wait for a change that is under way; a failed load fails for all that wait for it."""
        task, change = state.task, state.change
        with self._queue.place():
            if task is None:
                await state.wait()
                return
            await asyncio.wait({task})
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
