"""
The body of an answer while it arrives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from ..faults import FaultId, afresh
from .alike import Alike

AHEAD_BYTES = 128 * 1024
"""Bytes of a body that are buffered while nothing reads it; then the upstream has to wait."""
LAST_BYTES_S = 1.0
"""Seconds to wait for the end of a body after everything that is needed of it has arrived."""

BODILESS = (204, 304)
"""Statuses whose answers have no body, whatever length they state."""

Headers: TypeAlias = list[tuple[bytes, bytes]]

Sink: TypeAlias = Callable[[bytes], Awaitable[None] | None]
"""Takes bytes at once. The caller must await a returned awaitable before it passes more."""


class TransportFault(Exception):
    """A fault of the wire: its id, whether a repeat is harmless, whether a time limit ran out."""

    def __init__(
        self, fault: FaultId, message: str, *, repeatable: bool = False, timed_out: bool = False
    ) -> None:
        super().__init__(fault, message)
        self.fault = fault
        self.message = message
        self.repeatable = repeatable
        self.timed_out = timed_out

    def __str__(self) -> str:
        return self.message


class Source(Protocol):
    """The part of a connection that a body uses."""

    @property
    def now(self) -> Callable[[], float]:
        """The loop's clock, in seconds."""

    def pause(self) -> None:
        """Read no further until `resume`."""

    def resume(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Close at once."""

    def free(self) -> None:
        """Be of use to other requests again, if it still can."""


class AnswerBody:
    """An answer's body while it is received."""

    __slots__ = (
        "_connection",
        "_fault",
        "_grace",
        "_held",
        "_held_bytes",
        "_is_stopped",
        "_now",
        "_sink",
        "_waiter",
        "alike",
        "has_ended",
        "waiting_since",
    )

    def __init__(self, connection: Source) -> None:
        """Take what `connection` receives, and free it once, when it is not needed any more."""
        self._connection: Source | None = connection
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._sink: Sink | None = None
        self.alike: Alike | None = None
        """Takes received chunks that the sink need not see yet, while there is one."""
        self._waiter: asyncio.Future[Awaitable[None] | None] | None = None
        self._fault: TransportFault | None = None
        self.has_ended = False
        """Whether nothing is to come any more."""
        self._is_stopped = False
        self._now = connection.now
        self.waiting_since: float | None = None
        """When the wait for the next bytes began, in seconds of loop time; None without a wait."""
        self._grace: asyncio.TimerHandle | None = None

    async def read(self) -> bytes:
        """
        Return what has arrived, waiting for something if need be; empty at the regular end.

        Raises TransportFault, after everything that had arrived before the fault.
        """
        while not self._held:
            if self._fault is not None:
                raise afresh(self._fault)
            if self.has_ended:
                return b""
            await self._wait()
        return self._take_held()

    async def push(self, sink: Sink, alike: Alike | None = None) -> Awaitable[None] | None:
        """
        Pass every piece to `sink` as it arrives, buffered bytes first; not what `alike` takes.

        Return the awaitable that `sink` returned; nothing more is read until `push` is called
        again. Return None at the body's end, or after `stop`. Raises TransportFault, and what
        `sink` raises.
        """
        while True:
            while self._held:
                if (pending := sink(self._take_held())) is not None:
                    return pending
            if self._fault is not None:
                raise afresh(self._fault)
            if self.has_ended:
                return None
            self._sink, self.alike = sink, alike
            try:
                pending = await self._wait()
            finally:
                self._sink = self.alike = None
            if pending is not None:
                return pending

    def stop(self) -> None:
        """
        Make `push` return after the current `sink`: only the body's end follows.

        The connection is kept for reuse if that comes soon enough.
        """
        self.has_ended = self._is_stopped = True
        self._held.clear()

    def interrupt(self, fault: TransportFault) -> None:
        """Raise `fault` in the waiting read or push, and in every later one."""
        self._fault = fault
        self._held.clear()
        self._wake()

    def leave(self) -> None:
        """Close the connection, unless the body has ended or is about to."""
        self.has_ended = True
        if self._is_stopped and self._connection is not None:
            self._connection.resume()
            self._grace = asyncio.get_running_loop().call_later(LAST_BYTES_S, self.cut)
        else:
            self.cut()

    def cut(self) -> None:
        """Close the connection if this body still uses it; another request may have it by now."""
        if self._connection is not None:
            self._connection.abort()
        self.detach()

    # -- for the connection ---------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        sink = self._sink
        if sink is None:
            if not self._is_stopped:
                self._hold(data)
            return
        try:
            pending = sink(data)
        except Exception as problem:
            self._sink = self.alike = None
            assert self._waiter is not None
            if not self._waiter.done():
                self._waiter.set_exception(problem)
            return
        if pending is not None:
            self._sink = self.alike = None
            self._pause()
            self._wake(pending)
        elif self._is_stopped:
            self._sink = self.alike = None
            self._wake()
        else:
            # A local name, since an attribute would be looked up among the methods first.
            now = self._now
            self.waiting_since = now()

    def end(self) -> None:
        """Note the regular end."""
        self.has_ended = True
        self._wake()
        self.detach()

    def lose(self, fault: TransportFault) -> None:
        """Note that the body was cut off."""
        self._fault = self._fault or fault
        self._wake()
        self.detach()

    def detach(self) -> None:
        """Give the connection back."""
        if self._grace is not None:
            self._grace.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.free()

    # -- waiting --------------------------------------------------------------------------------

    async def _wait(self) -> Awaitable[None] | None:
        if self._connection is not None:
            self._connection.resume()
        self._waiter = asyncio.get_running_loop().create_future()
        self.waiting_since = self._now()
        try:
            return await self._waiter
        finally:
            self._waiter = self.waiting_since = None

    def _wake(self, pending: Awaitable[None] | None = None) -> None:
        self.waiting_since = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(pending)

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= AHEAD_BYTES:
            self._pause()
        self._wake()

    def _take_held(self) -> bytes:
        held = self._held
        data = held[0] if len(held) == 1 else b"".join(held)
        held.clear()
        self._held_bytes = 0
        return data

    def _pause(self) -> None:
        if self._connection is not None:
            self._connection.pause()
