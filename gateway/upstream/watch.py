"""
One timer of the loop for the time limits of all exchanges with a host.

A timer for each would be set and stopped with every request, and hardly ever fires.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Protocol


class Watched(Protocol):
    """What may wait for too long."""

    def look(self, now: float) -> float:
        """Fail a wait that is over its limit; return when to look next, `inf` for never."""


class Watch:
    """Looks at what is watched when the time of one of them may be over; in seconds of the loop."""

    __slots__ = ("_due_at", "_timer", "_watched")

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._watched: dict[Watched, float] = {}
        """When to look at each."""
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = inf
        """When the timer fires. It is not moved for what has ended before."""

    def add(self, watched: Watched, at: float) -> None:
        """Look at something at a time, and then when it says, until it is dropped."""
        self._watched[watched] = at
        if at < self._due_at:
            self._set_timer(at)

    def drop(self, watched: Watched) -> None:
        """Look at something no more; it need not be watched."""
        self._watched.pop(watched, None)

    def close(self) -> None:
        """Look at nothing any more."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due_at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._look)

    def _look(self) -> None:
        self._timer, self._due_at = None, inf
        now = asyncio.get_running_loop().time()
        due_at = inf
        for watched, at in list(self._watched.items()):
            next_at = watched.look(now) if at <= now else at
            self._watched[watched] = next_at
            due_at = min(due_at, next_at)
        if due_at < inf:
            self._set_timer(due_at)
