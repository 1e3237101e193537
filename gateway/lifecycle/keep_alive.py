"""
Keep-alive: how long an own instance stays loaded after its last request, and when that is over.

The timers run here; what happens when one ends is decided in `changes`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from msgspec import UnsetType, structs

from ..types import internal
from .instances import Instances
from .ownership import OwnInstance
from .state import ModelState, ModelStates

FOREVER_S = (2**63 - 1) / 1e9
"""
How far away "forever" is shown in seconds: the longest duration that Go has
(docs/facts/ollama.md#forever).
"""
RETRY_S = 30.0
"""Seconds before a failed unload is tried again."""
_LEAST_CHANGE_S = 1.0
"""A smaller change of an expiry, in seconds, is not worth a write to the store."""


class KeepAlive:
    """The timers of one host's models."""

    def __init__(
        self, states: ModelStates, instances: Instances, on_due: Callable[[ModelState], None]
    ) -> None:
        """Call `on_due` with each model whose timer has ended; its `is_due` is set by then."""
        self._states = states
        self._instances = instances
        self._on_due = on_due

    def start(self, state: ModelState) -> None:
        """Start a model's keep-alive, and note in the store when it ends."""
        state.stop_timer()
        seconds = state.keep_alive_s
        if state.must_retry:
            seconds = RETRY_S if seconds is None else max(seconds, RETRY_S)
        if seconds is not None:
            self._set_timer(state, time.time() + seconds)
        for owned in state.owned.values():
            self._note_expiry(state, owned)

    def resume(self, state: ModelState, adopted: OwnInstance) -> None:
        """
        Continue the keep-alive of an instance that an earlier process loaded.

        Of several instances of one model, the last expiry counts.
        """
        if adopted.expires_at is not None:
            self._set_timer(state, max(adopted.expires_at, state.expires_at or 0.0))

    def wait_until(self, state: ModelState, at: float) -> None:
        """Have a model be due at a time in seconds since the epoch."""
        self._set_timer(state, at)
        for owned in state.owned.values():
            self._note_expiry(state, owned)

    def expires_at(
        self, row: internal.CatalogueRow, instance: internal.HostInstance, now: float
    ) -> float:
        """
        Return when an instance is to be unloaded, in seconds since the epoch.

        The time is at most `now` while a model is stopping, and `FOREVER_S` from now if there is
        no end.
        """
        state = next(
            (
                each
                for each in self._states
                if instance.id in each.instances and each.key == row.key
            ),
            None,
        )
        if state is not None and state.stop_asked_at is not None:
            return min(state.stop_asked_at, now)
        if state is not None and instance.id in state.owned:
            if state.keep_alive_s is None:
                return now + FOREVER_S
            return state.expires_at or now + state.keep_alive_s
        remaining = instance.remaining_ttl_seconds
        # A host may state more than a date can hold.
        if isinstance(remaining, UnsetType):
            return now + FOREVER_S
        # A date cannot hold every number.
        return now + max(0.0, min(remaining, FOREVER_S))

    def _set_timer(self, state: ModelState, expires_at: float) -> None:
        state.stop_timer()
        state.expires_at = expires_at
        state.timer = asyncio.get_running_loop().call_later(
            max(0.0, expires_at - time.time()), self._end, state
        )

    def _note_expiry(self, state: ModelState, owned: OwnInstance) -> None:
        before, now = owned.expires_at, state.expires_at
        is_same = before is None if now is None else before and abs(before - now) < _LEAST_CHANGE_S
        if is_same and owned.keep_alive_s == state.keep_alive_s:
            return
        self._instances.own(
            state, structs.replace(owned, expires_at=now, keep_alive_s=state.keep_alive_s)
        )

    def _end(self, state: ModelState) -> None:
        state.timer = None
        state.is_due = True
        self._on_due(state)
