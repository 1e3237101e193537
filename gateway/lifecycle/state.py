"""
What is known of one model's copies here: which there are, who uses them, and what becomes of them.

May live here: the record, the state that it comes to, waking those who wait for a change, and the
bounded queue. May not live here: anything that acts on LM Studio or on the clock (`lifecycle`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from gateway.faults import Refusal
from gateway.lifecycle.ownership import Owned
from gateway.types import internal

if TYPE_CHECKING:
    from gateway.lifecycle.lifecycle import Lease

Change: TypeAlias = Literal["loading", "reloading", "unloading"]
State: TypeAlias = Literal["absent", "idle", "busy", "stopping", "growing"] | Change
"""docs/lifecycle.md has a section on each."""

BUSY = "server busy, please try again.  maximum pending requests exceeded"
"""Ollama's words, two spaces included (docs/facts/ollama.md#queue)."""


@dataclass(eq=False)
class Hold:
    """
    One variant of one model: its copies, its requests, and its keep-alive.

    Times: `last_used` is monotonic, `stop_asked_at` and `expires_at` are since the epoch.
    """

    name: str
    key: str
    keep_alive_s: float | None
    instances: dict[str, internal.HostInstance] = field(default_factory=dict)
    owned: dict[str, Owned] = field(default_factory=dict)
    pending: Owned | None = None
    """A load of ours of which nobody knows yet how it ended."""
    leases: list[Lease] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    change: Change | None = None
    grower: Lease | None = None
    """The request for which the model is to grow once it is idle; those that come later wait."""
    refused: set[int] = field(default_factory=set)
    """Contexts that were tried and that LM Studio did not give."""
    asked: int | None = None
    """The context of the last load of ours."""
    asked_as: str = ""
    """The name that the last load of ours was for."""
    stop_asked_at: float | None = None
    is_due: bool = False
    must_retry: bool = False
    timer: asyncio.TimerHandle | None = None
    expires_at: float | None = None
    last_used: float = 0.0
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        """Whether a request runs on it, and not just waits."""
        return any(lease.is_running for lease in self.leases)

    @property
    def is_ours(self) -> bool:
        """Whether there are copies and this gateway loaded every one."""
        return bool(self.instances) and self.instances.keys() <= self.owned.keys()

    @property
    def context_length(self) -> int | None:
        """The least context of its copies, since LM Studio chooses one; None when unknown."""
        known = [
            int(one.context_length)
            for one in self.instances.values()
            if isinstance(one.context_length, int | float)
        ]
        return min(known) if known else None

    @property
    def state(self) -> State:
        """What it comes to, in one word."""
        if self.change is not None:
            return self.change
        if self.grower is not None:
            return "growing"
        if self.is_running:
            return "busy" if self.stop_asked_at is None else "stopping"
        return "idle" if self.instances else "absent"

    async def wait(self) -> None:
        """Wait for the next change of any kind."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:
                self._waiting.remove(future)

    def wake(self) -> None:
        """Have all who wait look again."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def halt_timer(self) -> None:
        """Stop the timer; that it was to go by then is still so."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def stop_timer(self) -> None:
        """Forget when it was to go."""
        self.halt_timer()
        self.expires_at = None


class Queue:
    """How many requests may wait for models at once; who makes the change is not counted."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Wait in here. Raises Refusal (503) when as many as may wait do."""
        if self._waiting >= self._most:
            raise Refusal(503, BUSY)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
