"""
The bodies of requests in memory: they are received whole, within a limit on each and on all.

A body beyond the limit on all waits until others are gone, and is refused after a time. Two things
keep bodies from waiting for one another for ever: one body alone is always taken, and where all
bodies that are held are still arriving and wait, the first of them may exceed the limit. So memory
holds no more than the limit on all and one body.
"""

from __future__ import annotations

import asyncio
from collections import deque
from io import BytesIO
from math import ceil
from typing import Final, NamedTuple, Protocol

from ..faults import ClientGone, Refusal
from ..settings.schema import LimitSettings
from .asgi import Receive

RETRY_S: Final = 5
"""What a refused client is told to wait, in seconds, unless bodies wait for less."""


class Holder(Protocol):
    """The client of a request, of whose body so many bytes count."""

    held_bytes: int


class Sender(Holder, Protocol):
    """A client whose body may be there."""

    def whole_body(self, most: int) -> bytes | None:
        """Return the whole body if it is there and has at most `most` bytes, else None."""


class _Waiter(NamedTuple):
    client: Holder
    size: int
    room: asyncio.Future[None]


class Bodies:
    """The bodies that one application holds."""

    def __init__(self, limits: LimitSettings) -> None:
        """Use `body_bytes`, `bodies_total` and `bodies_wait_s`."""
        self._limit = limits.body_bytes
        self._total = limits.bodies_total
        self._wait_s = limits.bodies_wait_s or None
        self.used = 0
        """Bytes of all bodies that are held."""
        self._holders = 0
        self._waiters: deque[_Waiter] = deque()
        self._beyond: Holder | None = None

    @property
    def waiting(self) -> int:
        """Return how many bodies wait for room."""
        return len(self._waiters)

    def whole(self, client: Sender) -> bytes | None:
        """
        Return the client's body if it is there and has room, as most have; count it as `receive`.

        None if it has to be received.
        """
        if self._waiters:
            return None
        room = self._total - self.used
        body = client.whole_body(room if room < self._limit else self._limit)
        if body:
            self._holders += 1
            size = len(body)
            self.used += size
            client.held_bytes = size
        return body

    async def receive(self, receive: Receive, client: Holder) -> bytes:
        """
        Return the client's whole body; its bytes count until `release`.

        Raises Refusal (413 for a body beyond its limit, 503 when there is no room), and ClientGone.
        """
        whole: BytesIO | None = None
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece: bytes = message.get("body", b"")
            size = len(piece)
            if client.held_bytes + size > self._limit:
                raise body_too_large(self._limit)
            if self.used + size > self._total or self._waiters:
                await self._make_room(client, size)
            if size and not client.held_bytes:
                self._holders += 1
            self.used += size
            client.held_bytes += size
            is_last = not message.get("more_body", False)
            if whole is None:
                if is_last:
                    return piece
                whole = BytesIO()
            # This grows in place, and its value is no copy: a body is in memory once.
            whole.write(piece)
            if is_last:
                return whole.getvalue()

    async def take(self, client: Holder, size: int) -> None:
        """Count further bytes of a client's body, unpacked ones; raises Refusal as `receive`."""
        if self.used + size > self._total:
            await self._make_room(client, size)
        if size and not client.held_bytes:
            self._holders += 1
        self.used += size
        client.held_bytes += size

    def release(self, client: Holder) -> None:
        """Count a client's bytes no more."""
        if client.held_bytes:
            self._holders -= 1
            self.used -= client.held_bytes
            client.held_bytes = 0
        if self._beyond is client:
            self._beyond = None
        if self._waiters:
            self._admit()

    async def _make_room(self, client: Holder, size: int) -> None:
        if self._beyond is client or self.used == client.held_bytes:
            return
        waiter = _Waiter(client, size, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._admit()
        try:
            async with asyncio.timeout(self._wait_s):
                await waiter.room
        except TimeoutError as problem:
            # Its frames hold the task.
            problem.with_traceback(None)
            raise _no_room(self._wait_s) from None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._admit()

    def _admit(self) -> None:
        """Let those bodies go on that have room now, in the order in which they came."""
        promised = 0
        while self._waiters:
            first = self._waiters[0]
            fits = self.used + promised + first.size <= self._total
            is_alone = self.used + promised == first.client.held_bytes
            if not (fits or is_alone or self._is_stuck(first)):
                return
            promised += first.size
            self._waiters.popleft()
            if not first.room.done():
                first.room.set_result(None)

    def _is_stuck(self, first: _Waiter) -> bool:
        """Whether all bodies that are held wait for room; the first of them then gets it."""
        if self._beyond is not None or not first.client.held_bytes:
            return False
        if sum(1 for each in self._waiters if each.client.held_bytes) < self._holders:
            return False
        self._beyond = first.client
        return True


def body_too_large(limit: int) -> Refusal:
    """Return the refusal (413) of a body of more than `limit` bytes."""
    return Refusal(413, f"the request body is larger than {limit} bytes")


def _no_room(waited_s: float | None) -> Refusal:
    seconds = min(RETRY_S, ceil(waited_s or RETRY_S)) or 1
    return Refusal(
        503,
        "the requests that are being served hold as much memory as they may (limits.bodies_total): "
        "try again later",
        (("retry-after", str(seconds)),),
    )
