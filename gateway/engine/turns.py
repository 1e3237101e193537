"""
Work on large bodies in turns: nobody else waits longer than one slice of it.

The work is a generator that yields after every step of about a millisecond. One slice of the work
of one request runs in a step of the event loop, and the requests with such work take turns. So the
event loop comes round in between, however many large bodies there are.

What is a long loop of short calls, and no generator, runs in a thread, from which the event loop
takes the interpreter's lock back. Compiled code does not give that lock away, so a thread would not
help with the decoding of a large body.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from time import perf_counter
from typing import Final, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
ValuesT = TypeVarTuple("ValuesT")

SLICE_S: Final = 0.002
"""Seconds of work after which the loop is given back; a request takes some four steps of it."""

TWICE_BYTES: Final = 64 * 1024 * 1024
"""
Bytes of bodies that may be in memory twice at a time, as what is read and as what is made of it.
One body alone may have more.
"""

THREADS: Final = 1
"""
Translations of large requests at a time. Two would not be faster, as there is one interpreter, and
they would give it to each other when the event loop waits for it.
"""
SWITCH_S: Final = 0.0005
"""
Seconds after which a thread gives the interpreter's lock to the event loop. The loop takes it anew
after each system call, some ten times for a request. Python's own 5 ms would add up.
"""


class Turns:
    """The turns of one event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self.waiting = 0
        """Requests whose work is not done."""
        self._threads: ThreadPoolExecutor | None = None
        self._twice = 0
        """Bytes of the work that is under way."""
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def run(self, work: Generator[None, None, T], size: int = 0) -> T:
        """
        Run work to its end, and return its value; raises what it raises.

        `size` is the bytes of the body that the work holds twice: it begins once there is room.
        """
        self.waiting += 1
        try:
            if size:
                await self._enter(size)
            try:
                while True:
                    # Waiters get a lock in the order in which they came.
                    async with self._turn:
                        until = perf_counter() + SLICE_S
                        while perf_counter() < until:
                            try:
                                next(work)
                            except StopIteration as end:
                                value: T = end.value
                                return value
                        await asyncio.sleep(0)
            finally:
                self._twice -= size
                self._admit()
        finally:
            self.waiting -= 1
            work.close()

    async def _enter(self, size: int) -> None:
        """Wait in the order of arrival until there is room, and take it."""
        entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((size, entered))
        self._admit()
        try:
            await entered
        except asyncio.CancelledError:
            if not entered.cancelled():
                self._twice -= size
            self._admit()
            raise

    def _admit(self) -> None:
        while self._queue:
            size, entered = self._queue[0]
            if not entered.done():
                if self._twice and self._twice + size > TWICE_BYTES:
                    return
                self._twice += size
                entered.set_result(None)
            self._queue.popleft()

    async def pause(self) -> None:
        """Give the loop back once, in turn with the others: for work that is no generator."""
        async with self._turn:
            await asyncio.sleep(0)

    async def apart(self, work: Callable[[Unpack[ValuesT]], T], *values: *ValuesT) -> T:
        """Call a function in a thread; raises what it raises."""
        if self._threads is None:
            sys.setswitchinterval(SWITCH_S)
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="large")
        loop = asyncio.get_running_loop()
        self.waiting += 1
        try:
            return await loop.run_in_executor(self._threads, copy_context().run, work, *values)
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """Let the threads end; what has not begun in them never does."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
