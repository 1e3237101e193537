"""
Room for a load: which idle own models are unloaded for it, and how long it waits for one.

Ollama lets a load wait until another model can be unloaded, and later requests wait for that load
(docs/facts/ollama.md#queue-order), so a load waits here, too, within its own time. The unloads
themselves are made in `changes`, and the requests wait in `readiness`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ..faults import UpstreamFailure
from ..observability.journal import get_logger
from .loader import Loader
from .ownership import Ownership
from .sharing import Sharing
from .state import ModelState, ModelStates

LOOK_S = 1.0
"""Seconds after which a waiting load looks again, even if nothing has told it of a change."""


class Room:
    """Unloads idle models of one host for the memory that a load needs."""

    def __init__(
        self,
        states: ModelStates,
        ownership: Ownership,
        sharing: Sharing,
        loader: Loader,
        unload: Callable[[ModelState], asyncio.Task[None]],
    ) -> None:
        """Choose among `states`; `unload` starts the unload of a model that is due."""
        self._states = states
        self._ownership = ownership
        self._sharing = sharing
        self._loader = loader
        self._unload = unload
        self._log = get_logger()

    async def make(self, state: ModelState, place: int, tried: set[str], until: float) -> bool:
        """
        Unload one idle own model for a load, the least recently used one, or wait for one.

        Returns True when some instance is gone, so that the load may be tried again, and False when
        `until`, a monotonic time, is over, nothing that could be unloaded is left, or no request
        wants the model any more. `tried` holds the names of the models that were unloaded for this
        load. From now until `leave_queue`, requests with a place after `place` wait for the load.
        """
        loaded = self._loaded()
        if state.room_place is None:
            state.room_place = place
            self._states.lacking_room.append(state)
        state.waits_for_room = True
        was_hopeless = False
        try:
            while state.requests:
                idle = self._least_recently_used(state, tried)
                if idle is not None:
                    await self._make_of(idle, state, tried)
                else:
                    hopes = self._hopes(state, tried)
                    # Another load that waits may have room by now, and not have noticed it yet.
                    may_hope = hopes or (not was_hopeless and self._has_rivals(state))
                    left = until - time.monotonic()
                    if not may_hope or left <= 0:
                        return False
                    was_hopeless = not hopes
                    await _wait_for_any([*hopes, state] if hopes else [], min(left, LOOK_S))
                before, loaded = loaded, self._loaded()
                if before - loaded:
                    return True
            return False
        finally:
            state.waits_for_room = False

    def leave_queue(self, state: ModelState) -> None:
        """End a load's wait for memory, however the load ended; the requests behind it go on."""
        if state.room_place is not None:
            state.room_place = None
            self._states.lacking_room.remove(state)
            state.wake()

    async def _make_of(self, idle: ModelState, state: ModelState, tried: set[str]) -> None:
        """Unload an idle model for a load, unless another gateway uses it."""
        self._log.info(
            "unloading an idle model for its memory", model=idle.name, needed_by=state.name
        )
        tried.add(idle.name)
        idle.is_due = True
        await asyncio.wait({self._unload(idle)})
        if idle.is_used_elsewhere:
            tried.discard(idle.name)

    def count_loaded(self, state: ModelState) -> int:
        """Return how many other models this gateway has loaded or is loading."""
        return sum(
            bool(other.owned) or other.takes_room for other in self._states if other is not state
        )

    async def evict_foreign(self, state: ModelState) -> None:
        """Unload the idle instances of other models that no living gateway loaded or uses."""
        of_gateways = await self._ownership.others()
        for other in list(self._states):
            for identifier in list(other.instances):
                if other.key == state.key or identifier in other.owned:
                    continue
                if identifier in of_gateways:
                    continue
                if not self._states.is_free(other):
                    break
                await self._evict(other, identifier)

    async def _evict(self, other: ModelState, identifier: str) -> None:
        def is_free() -> bool:
            return self._states.is_free(other)

        if await self._sharing.claim_unload(identifier, is_free) is None:
            return
        try:
            if is_free():
                await self._loader.unload(identifier)
                other.instances.pop(identifier, None)
        except UpstreamFailure as failure:
            self._log.warning("could not evict", instance=identifier, reason=failure.message)
        finally:
            await self._sharing.end_unload(identifier)

    def _loaded(self) -> set[tuple[str, str]]:
        return {(other.name, identifier) for other in self._states for identifier in other.owned}

    def _least_recently_used(self, state: ModelState, tried: set[str]) -> ModelState | None:
        """Return the free model with own instances that was unused for longest, None if none is."""
        idle = [
            other
            for other in self._states
            if other is not state
            and other.owned
            and other.name not in tried
            and not other.is_used_elsewhere
            and self._states.is_free(other)
        ]
        return min(idle, key=lambda other: other.last_used, default=None)

    def _hopes(self, state: ModelState, tried: set[str]) -> list[ModelState]:
        """Return the other models that may make room: busy ones, and those with a change."""
        return [
            other
            for other in self._states
            if other is not state
            and not other.waits_for_room
            and (other.task is not None or (other.owned and other.name not in tried))
        ]

    def _has_rivals(self, state: ModelState) -> bool:
        return any(other.waits_for_room for other in self._states if other is not state)


async def _wait_for_any(states: list[ModelState], limit_s: float) -> None:
    """Wait until one of these models changes, at most `limit_s` seconds."""
    if not states:
        await asyncio.sleep(limit_s)
        return
    waits = [asyncio.ensure_future(state.wait()) for state in states]
    try:
        await asyncio.wait(waits, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
