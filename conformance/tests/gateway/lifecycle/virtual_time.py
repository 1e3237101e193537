"""
A loop whose time passes only when nothing is left to do, so that hours take milliseconds.

The clocks of the lifecycle and the catalogue follow it while `run` works.
"""

import asyncio
import heapq
import selectors
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_800_000_000.0
"""What the wall clock shows at the start of each history, in seconds since the epoch."""
ROOMS = ("gateway.lifecycle.", "gateway.catalogue.")


MOST_STEPS = 100_000
"""How many steps of the loop may follow each other without time passing."""


class Stuck(Exception):
    """All wait and no timer runs, or the same happens again and again and no time passes."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a time of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        """The steps since time passed last."""
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Return the seconds since the start."""
        return self.now


class _Jumping(selectors.SelectSelector):
    """A selector that waits for nothing: it moves the loop's time on instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return no events, later."""
        self._loop.steps += 1
        if timeout is None or self._loop.steps > MOST_STEPS:
            raise Stuck
        if timeout > 0:
            self._loop.steps = 0
            # asyncio tells no other way when the next timer is due.
            scheduled = self._loop._scheduled  # type: ignore[attr-defined]
            # The exact time of the next timer: sums of differences would drift.
            self._loop.now = max(self._loop.now, heapq.nsmallest(1, scheduled)[0]._when)
        return []


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run work to its end in virtual time. Raises Stuck when it can't come to an end."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        with _clocks(loop):
            try:
                return loop.run_until_complete(work)
            finally:
                loop.steps = 0
                # What is cancelled may begin something else.
                while left := asyncio.all_tasks(loop):
                    for task in left:
                        task.cancel()
                    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@contextmanager
def _clocks(loop: VirtualLoop) -> Iterator[None]:
    clock = SimpleNamespace(
        time=lambda: EPOCH + loop.now,
        time_ns=lambda: int((EPOCH + loop.now) * 1e9),
        monotonic=loop.time,
        monotonic_ns=lambda: int(loop.now * 1e9),
    )
    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith(ROOMS) and getattr(module, "time", None) is time
    ]
    for module in modules:
        module.time = clock  # type: ignore[attr-defined]  # it imports `time`
    try:
        yield
    finally:
        for module in modules:
            module.time = time  # type: ignore[attr-defined]  # as above
