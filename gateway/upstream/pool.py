"""
The connections to LM Studio: kept, replaced and counted, one request on each at a time.

This module chooses a connection and writes a request's head. `connection` does what happens on one;
`exchange` has the time limits between bytes, and `client` repeats whole requests.

Nothing is repeated here. An idle connection is checked just before it is used, and one that the
other side has closed is replaced, for every method, since nothing has been sent yet.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterable, Callable
from functools import partial
from math import inf

from ..settings.host_keys import UPSTREAM_KEYS, HostKeys
from .address import Origin
from .body import AnswerBody, Headers, TransportFault
from .connection import Connection
from .dialing import dial
from .trust import trusting


class ConnectionPool:
    """
    Carries requests, bytes untouched both ways.

    `max_connections` limits what is in use at a time (0 is unlimited), `idle_connection_s` is
    how long an unused connection is kept: less than the 5 s of LM Studio
    (docs/facts/lmstudio.md#idle-connections). `tls` says whose certificates are trusted, and `keys`
    are the names of the host's settings.
    """

    def __init__(
        self,
        *,
        max_connections: int = 0,
        idle_connection_s: float = 4.0,
        tls: Callable[[], ssl.SSLContext] = trusting,
        keys: HostKeys = UPSTREAM_KEYS,
    ) -> None:
        self._keys = keys
        self._tls = tls
        self._idle_connection_s = idle_connection_s
        self._slots = asyncio.Semaphore(max_connections) if max_connections else None
        self._open: set[Connection] = set()
        self._idle: defaultdict[Origin, dict[Connection, float]] = defaultdict(dict)
        """The idle connections, with the loop's time until which each is kept: the oldest first."""
        self._sweeping: asyncio.TimerHandle | None = None
        """Closes what has been idle for too long; one timer for all, while there is any."""
        self._all_closed: asyncio.Event | None = None

    async def send(
        self,
        origin: Origin,
        method: str,
        head: bytes,
        content: bytes | AsyncIterable[bytes],
        *,
        is_chunked: bool = False,
        connect_s: float | None = None,
        pool_s: float | None = None,
        when_connected: Callable[[Connection], None] | None = None,
    ) -> tuple[int, Headers, AnswerBody]:
        """
        Send one request; return the answer's status, headers and body once its head is there.

        `head` comes from `write_head`; with `is_chunked`, `content` is sent in chunks. `connect_s`
        limits opening a connection, `pool_s` the wait for a free one.
        Raises TransportFault, and whatever a streamed body raises.
        """
        connection = self.take_idle(origin)
        if connection is None:
            connection = await self.open(origin, connect_s=connect_s, pool_s=pool_s)
        if when_connected is not None:
            when_connected(connection)
        return await connection.carry(method, head, content, is_chunked=is_chunked)

    def take_idle(self, origin: Origin) -> Connection | None:
        """
        Return the idle connection that was used last, since it is the most likely to be open.

        None without any, and if the number in use is limited: `open` waits for its turn.
        """
        return self._pop_idle(origin) if self._slots is None else None

    async def open(
        self, origin: Origin, *, connect_s: float | None = None, pool_s: float | None = None
    ) -> Connection:
        """Return a connection, a new one if none is idle, with the limits of `send`."""
        if self._slots is not None:
            await self._take_slot(self._slots, pool_s)
        try:
            connection = self._pop_idle(origin)
            if connection is None:
                connection = await dial(origin, self._forget, connect_s, self._tls, self._keys)
                connection.when_free = partial(self._release, origin)
                if not connection.is_lost:
                    self._open.add(connection)
        except BaseException:
            self._free_slot()
            raise
        return connection

    async def aclose(self) -> None:
        """Close every connection and wait until the loop has closed them; readers get a fault."""
        self._all_closed = asyncio.Event()
        for connection in self._open:
            connection.wire.abort()
        if self._open:
            await self._all_closed.wait()
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._idle.clear()

    async def _take_slot(self, slots: asyncio.Semaphore, limit_s: float | None) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await slots.acquire()
        except TimeoutError as problem:
            # Its frames hold the task, and the task may come to hold what is raised here.
            problem.with_traceback(None)
            key = self._keys.key("max_connections")
            detail = f"no connection was free for {limit_s:g} s; raise {key}"
            raise TransportFault("pool", detail, repeatable=True, timed_out=True) from None

    def _free_slot(self) -> None:
        if self._slots is not None:
            self._slots.release()

    def _pop_idle(self, origin: Origin) -> Connection | None:
        idle = self._idle[origin]
        while idle:
            connection, _ = idle.popitem()
            if connection.is_usable:
                return connection
            connection.abort()
        return None

    def _release(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection that an answer no longer needs, if it may carry more."""
        if self._slots is not None:
            self._slots.release()
        if connection.may_carry_more:
            # A local name, since an attribute would be looked up among the methods first.
            now = connection.now
            self._idle[origin][connection] = now() + self._idle_connection_s
            if self._sweeping is None:
                self._sweep_after(self._idle_connection_s)

    def _sweep_after(self, seconds: float) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long, and look again when the next one may be."""
        self._sweeping = None
        now, next_at = asyncio.get_running_loop().time(), inf
        for idle in self._idle.values():
            for connection, until in list(idle.items()):
                if until > now:
                    next_at = min(next_at, until)
                    break
                del idle[connection]
                connection.close()
        if next_at < inf:
            self._sweep_after(next_at - now)

    def _forget(self, connection: Connection) -> None:
        """Forget a closed connection."""
        self._open.discard(connection)
        for idle in self._idle.values():
            idle.pop(connection, None)
        if self._all_closed is not None and not self._open:
            self._all_closed.set()


def write_head(method: str, target: bytes, headers: Headers) -> bytes:
    """
    Return a request's head.

    Raises TransportFault (write) for a line break or a NUL: it would start another request.
    """
    lines = [b"%b %b HTTP/1.1" % (method.encode("ascii"), target)]
    lines += [b"%b: %b" % item for item in headers]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    ends = len(lines) + 1
    if head.count(b"\n") != ends or head.count(b"\r") != ends or 0 in head:
        broken = next(line for line in lines if not _BREAKS.isdisjoint(line))
        where = broken.partition(b":")[0].decode("latin-1")
        raise TransportFault("write", f"the request can't be written: a line break in {where!r}")
    return head


_BREAKS = frozenset(b"\r\n\0")
