"""
The one httpx transport: connections kept, replaced and counted, one request on each at a time.

Only the choice of a connection and the request's head live here; what happens on one is
`connection`'s, time limits between bytes, repeats of whole requests and meaning are `upstream`'s.

Nothing is repeated here. An idle connection is looked at just before it is used, and one that its
peer has hung up on is replaced, for every method, since nothing has been sent yet.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

import httpx

from gateway.connection import Connection, TransportFault
from gateway.dialing import Origin, dial

_PORTS = {"http": 80, "https": 443}


class HttpTransport(httpx.AsyncBaseTransport):
    """
    Carries httpx requests, bytes untouched both ways.

    `max_connections` limits what is in use at a time (0 is unlimited), `idle_connection_s` is
    how long an unused connection is kept: less than the 5 s of LM Studio (wire sheet §1).

    Request extensions honoured: `timeout` (`connect`, `pool`; no others), `target` (bytes: the
    request target to send as it is), `connected` (called when a connection is there).
    Raises TransportFault, and what a streamed request body raises.
    """

    def __init__(self, *, max_connections: int = 0, idle_connection_s: float = 4.0) -> None:
        self._idle_connection_s = idle_connection_s
        self._slots = asyncio.Semaphore(max_connections) if max_connections else None
        self._open: set[Connection] = set()
        self._idle: defaultdict[Origin, dict[Connection, asyncio.TimerHandle]] = defaultdict(dict)
        self._all_closed: asyncio.Event | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return once the answer's headers are there."""
        head, is_chunked = _write_head(request)
        content = _content(request)
        limits = request.extensions.get("timeout", {})
        await self._take_slot(limits.get("pool"))
        origin = _origin(request.url)
        try:
            connection = self._take_idle(origin)
            if connection is None:
                connection = await dial(origin, self._forget, limits.get("connect"))
                if not connection.is_lost:
                    self._open.add(connection)
        except BaseException:
            self._free_slot()
            raise
        if (on_connected := request.extensions.get("connected")) is not None:
            on_connected()
        status, headers, body = await connection.carry(
            request.method,
            head,
            content,
            is_chunked=is_chunked,
            when_over=self._releaser(origin, connection),
        )
        return httpx.Response(status, headers=headers, stream=body, extensions={"body": body})

    async def aclose(self) -> None:
        """Close every connection, and wait until the loop has let them go; who waits is told."""
        self._all_closed = asyncio.Event()
        for connection in self._open:
            connection.wire.abort()
        if self._open:
            await self._all_closed.wait()
        for idle in self._idle.values():
            for timer in idle.values():
                timer.cancel()
        self._idle.clear()

    async def _take_slot(self, limit_s: float | None) -> None:
        if self._slots is None:
            return
        try:
            async with asyncio.timeout(limit_s):
                await self._slots.acquire()
        except TimeoutError:
            detail = f"no connection was free for {limit_s:g} s; raise upstream.max_connections"
            raise TransportFault("pool", detail, repeatable=True, timed_out=True) from None

    def _free_slot(self) -> None:
        if self._slots is not None:
            self._slots.release()

    def _take_idle(self, origin: Origin) -> Connection | None:
        """Take the connection used last, which is the likeliest to be alive."""
        idle = self._idle[origin]
        while idle:
            connection, timer = idle.popitem()
            timer.cancel()
            if connection.is_usable:
                return connection
            connection.abort()
        return None

    def _releaser(self, origin: Origin, connection: Connection) -> Callable[[], None]:
        """Return what is to be done when an answer needs its connection no more."""

        def release() -> None:
            self._free_slot()
            if connection.may_carry_more:
                timer = asyncio.get_running_loop().call_later(
                    self._idle_connection_s, connection.close
                )
                self._idle[origin][connection] = timer

        return release

    def _forget(self, connection: Connection) -> None:
        """Know a connection no more that is gone."""
        self._open.discard(connection)
        for idle in self._idle.values():
            if (timer := idle.pop(connection, None)) is not None:
                timer.cancel()
        if self._all_closed is not None and not self._open:
            self._all_closed.set()


def _origin(url: httpx.URL) -> Origin:
    return Origin(url.scheme, url.host, url.port or _PORTS[url.scheme])


def _content(request: httpx.Request) -> bytes | httpx.AsyncByteStream:
    if isinstance(request.stream, httpx.ByteStream):
        return request.content
    assert isinstance(request.stream, httpx.AsyncByteStream)
    return request.stream


def _write_head(request: httpx.Request) -> tuple[bytes, bool]:
    """
    Return a request's head, and whether its body goes out in chunks.

    Raises TransportFault (write) for what can't stand in a head: it would be another request.
    """
    target: bytes = request.extensions.get("target", request.url.raw_path)
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), target)]
    is_chunked = False
    for name, value in request.headers.raw:
        lines.append(b"%b: %b" % (name, value))
        is_chunked |= name.lower() == b"transfer-encoding"
    for line in lines:
        if b"\n" in line or b"\r" in line or b"\0" in line:
            where = line.partition(b":")[0].decode("latin-1")
            detail = f"the request can't be written: a line break in {where!r}"
            raise TransportFault("write", detail)
    return b"\r\n".join([*lines, b"", b""]), is_chunked
