"""
A transport for httpx's clients over the gateway's connections.

Serving does not import this module: httpx is up to a quarter of the time to start, and making its
objects for each call was a third of what a call took. It is for programs that call with httpx over
the gateway's own connections (docs/decisions/0016-httpx-is-not-for-serving.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager

import httpx

from .address import read_address
from .body import AnswerBody, TransportFault
from .pool import ConnectionPool, write_head

_ERRORS: dict[str, type[httpx.TransportError]] = {
    "connect": httpx.ConnectError,
    "dns": httpx.ConnectError,
    "tls": httpx.ConnectError,
    "write": httpx.WriteError,
    "closed_before_headers": httpx.RemoteProtocolError,
    "closed_mid_stream": httpx.RemoteProtocolError,
    "bad_http": httpx.RemoteProtocolError,
}


class HttpxTransport(httpx.AsyncBaseTransport):
    """Sends the requests of an httpx client over a ConnectionPool, and changes no bytes."""

    def __init__(self, pool: ConnectionPool) -> None:
        """Use `pool` and own it: `aclose`, which a client calls, closes its connections."""
        self._pool = pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """
        Send one request; the response is there with the answer's headers.

        Of the request's extensions, `timeout` (`connect`, `pool`; no others) and `target` (bytes:
        the request target to send as it is) are honoured. Raises httpx.TransportError.
        """
        headers = request.headers.raw
        limits = request.extensions.get("timeout", {})
        target = request.extensions.get("target", request.url.raw_path)
        with _as_httpx(request):
            status, answered, body = await self._pool.send(
                read_address(str(request.url)).origin,
                request.method,
                write_head(request.method, target, headers),
                _content(request),
                is_chunked=any(name.lower() == b"transfer-encoding" for name, _ in headers),
                connect_s=limits.get("connect"),
                pool_s=limits.get("pool"),
            )
        return httpx.Response(status, headers=answered, stream=_Body(body, request))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, body: AnswerBody, request: httpx.Request) -> None:
        self._body = body
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx(self._request):
            while data := await self._body.read():
                yield data

    async def aclose(self) -> None:
        self._body.leave()


def _content(request: httpx.Request) -> bytes | AsyncIterable[bytes]:
    if isinstance(request.stream, httpx.ByteStream):
        return request.content
    assert isinstance(request.stream, httpx.AsyncByteStream)
    return request.stream


@contextmanager
def _as_httpx(request: httpx.Request) -> Iterator[None]:
    """Have a fault raised as httpx's callers expect it."""
    try:
        yield
    except TransportFault as fault:
        error = _ERRORS.get(fault.fault, httpx.ReadError)
        if fault.timed_out:
            error = {"pool": httpx.PoolTimeout, "connect": httpx.ConnectTimeout}.get(
                fault.fault, httpx.ReadTimeout
            )
        raise error(fault.message, request=request) from fault
