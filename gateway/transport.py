"""
One httpx transport over one aiohttp session, which tells faults apart truthfully.

Only the carrying of one request and its answer lives here, and the naming of what aiohttp
raises; time limits between bytes, retries of whole requests and meaning belong to `upstream`.

Repeats. aiohttp's own repeat of idempotent methods is switched off: it is silent, and it also
repeats what a fresh connection has lost. What happens instead: an idle connection is looked at
just before it is used, and one that its peer has hung up on is replaced, for every method, since
nothing has been sent yet. A hang-up that crosses with the request on the wire can't be told from
a server that took the request and died, so only GET, HEAD and OPTIONS are called repeatable then.
"""

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from functools import partial

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.tracing import Trace
from yarl import URL

from gateway.faults import FaultId, shorten

_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_ADDED_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_PIECE_BYTES = 64 * 1024
_MAX_HEADER_BYTES = 64 * 1024


class TransportFault(httpx.TransportError):
    """A fault of the wire: its id, whether a repeat is harmless, whether a time limit ran out."""

    def __init__(
        self, fault: FaultId, message: str, *, repeatable: bool = False, timed_out: bool = False
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.repeatable = repeatable
        self.timed_out = timed_out


class _Exchange:
    """What is known of the request under way."""

    def __init__(self, on_connected: Callable[[], None] | None) -> None:
        self.on_connected = on_connected
        self.wire: asyncio.Transport | None = None
        self.is_reused = False
        self.body_is_sent = True
        self.body_error: BaseException | None = None
        self.loss: TransportFault | None = None
        self._answer: aiohttp.ClientResponse | None = None

    def begin(self, wire: asyncio.Transport | None, is_reused: bool) -> None:
        self.wire = wire
        self.is_reused = is_reused
        if self.on_connected is not None:
            self.on_connected()

    def receive(self, answer: aiohttp.ClientResponse) -> None:
        """Take note of the answer, so that a reader waiting for its body learns of a loss."""
        self._answer = answer
        if self.loss is not None:
            self.lose(self.loss)

    def lose(self, loss: TransportFault) -> None:
        """
        Take note that the connection is gone.

        aiohttp tells the reader by itself, but for one case: broken chunk framing after the
        first read closes the connection and leaves the reader waiting for ever.
        """
        self.loss = loss
        if self._answer is not None:
            content = self._answer.content
            if not content.is_eof() and content.exception() is None:
                content.set_exception(loss)

    async def send_pieces(self, body: bytes) -> AsyncIterator[bytes | memoryview]:
        """Hand a large body over in pieces, so that it is known when the last one went out."""
        self.body_is_sent = False
        view = memoryview(body)
        for start in range(0, len(view), _PIECE_BYTES):
            yield view[start : start + _PIECE_BYTES]
        self.body_is_sent = True

    async def send_stream(self, stream: httpx.AsyncByteStream) -> AsyncIterator[bytes]:
        """Hand a streamed body over; what its source raises is kept, to be raised as it is."""
        self.body_is_sent = False
        try:
            async for piece in stream:
                yield piece
        except Exception as problem:
            self.body_error = problem
            raise
        self.body_is_sent = True

    def name(self, problem: Exception, request: httpx.Request) -> TransportFault:
        """Give what aiohttp raised before the answer's headers its true name."""
        where = f"{request.url.scheme}://{request.url.netloc.decode('ascii', 'replace')}"
        if isinstance(problem, TimeoutError):
            detail = f"no connection to {where} within the time limit"
            return TransportFault("connect", detail, repeatable=True, timed_out=True)
        if isinstance(problem, aiohttp.ClientConnectorDNSError):
            detail = f"the name of {where} can't be resolved: {_words(problem.os_error)}"
            return TransportFault("dns", detail, repeatable=True)
        if isinstance(problem, aiohttp.ClientConnectorCertificateError):
            detail = f"the certificate of {where} is refused: {problem.certificate_error}"
            return TransportFault("tls", detail, repeatable=True)
        if isinstance(problem, aiohttp.ClientConnectorError):
            is_tls = isinstance(problem, aiohttp.ClientSSLError) or (
                # A peer that hangs up during the handshake: the socket itself was connected.
                request.url.scheme == "https"
                and isinstance(problem.os_error, ConnectionResetError | ConnectionAbortedError)
            )
            verb = "agree on TLS with" if is_tls else "connect to"
            detail = f"can't {verb} {where}: {_words(problem.os_error)}"
            return TransportFault("tls" if is_tls else "connect", detail, repeatable=True)
        if isinstance(problem, aiohttp.ClientResponseError):
            return TransportFault("bad_http", _describe_malformed(problem.message))
        if not isinstance(problem, aiohttp.ClientError | OSError):
            return TransportFault("write", f"the request can't be written: {problem}")
        if not self.body_is_sent:
            detail = f"{where} closed the connection while the request was being sent"
            return TransportFault("write", detail)
        return TransportFault(
            "closed_before_headers",
            f"{where} closed the connection before answering",
            repeatable=self.is_reused and request.method in _SAFE_METHODS,
        )


_exchange: ContextVar[_Exchange] = ContextVar("_exchange")


class _Connector(aiohttp.TCPConnector):
    """A pool that never hands out a connection which its peer has already hung up on."""

    _exchanges: dict[ResponseHandler, _Exchange]  # the last one of every open connection

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol, wire = connection.protocol, connection.transport
            assert protocol is not None
            is_reused = protocol in self._exchanges
            if is_reused and _is_readable(wire):
                connection.close()
                continue
            exchange = _exchange.get()
            if (closed := protocol.closed) is not None:
                self._exchanges[protocol] = exchange
                if not is_reused:
                    closed.add_done_callback(partial(self._note_loss, protocol))
            exchange.begin(wire, is_reused)
            return connection

    def _note_loss(self, protocol: ResponseHandler, closed: asyncio.Future[None]) -> None:
        if not closed.cancelled():
            closed.exception()  # seen, so that it is not logged as forgotten
        problem = protocol.exception()
        if isinstance(problem, HttpProcessingError):
            loss = TransportFault("bad_http", _describe_malformed(problem.message))
        else:
            loss = _cut_mid_stream()
        self._exchanges.pop(protocol).lose(loss)


class BodyStream(httpx.AsyncByteStream):
    """
    The answer's body as it comes off the wire; also `response.extensions["body"]`.

    `read` has fewer layers than iterating the response, which matters per token.
    """

    def __init__(self, answer: aiohttp.ClientResponse, release: Callable[[], None] | None) -> None:
        self._answer = answer
        self._release = release

    async def read(self) -> bytes:
        """
        Return what has arrived, waiting for something if need be; empty at the regular end.

        Raises TransportFault.
        """
        content = self._answer.content
        try:
            data = await content.readany()
        except (TransportFault, aiohttp.ClientError, OSError, RuntimeError) as problem:
            # A reader slower than the loss still gets what had arrived before it.
            data = content._read_nowait(-1)
            if not data:
                if isinstance(problem, TransportFault):
                    raise
                raise _cut_mid_stream() from problem
        if not data:
            self._free()
        return data

    @property
    def has_arrived(self) -> bool:
        """Whether a read would return at once."""
        return bool(self._answer.content._buffer) or self._answer.content.is_eof()

    def interrupt(self, fault: TransportFault) -> None:
        """Make the read that is waiting, and every later one, raise `fault`."""
        self._answer.content.set_exception(fault)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.read():
            yield data

    async def aclose(self) -> None:
        """Close at once when the body has not been read to its end, else keep for reuse."""
        connection = self._answer.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        self._answer.close()
        self._free()

    def _free(self) -> None:
        if self._release is not None:
            self._release()
            self._release = None


class AiohttpTransport(httpx.AsyncBaseTransport):
    """
    Carries httpx requests by aiohttp, bytes untouched both ways.

    `max_connections` limits what is in use at a time (0 is unlimited), `idle_connection_s` is
    how long an unused connection is kept: less than the 5 s of LM Studio (wire sheet §1).

    Request extensions honoured: `timeout` (`connect`, `pool`; no others), `target` (bytes: the
    request target to send as it is), `connected` (called when a connection is there).
    Raises TransportFault, and what a streamed request body raises.
    """

    def __init__(self, *, max_connections: int = 0, idle_connection_s: float = 4.0) -> None:
        self._idle_connection_s = idle_connection_s
        self._slots = asyncio.Semaphore(max_connections) if max_connections else None
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return once the answer's headers are there."""
        limits = request.extensions.get("timeout", {})
        await self._take_slot(limits.get("pool"))
        exchange = _Exchange(request.extensions.get("connected"))
        try:
            answer = await self._send(request, exchange, limits.get("connect"))
        except BaseException as problem:
            if self._slots is not None:
                self._slots.release()
            if exchange.wire is not None:
                exchange.wire.abort()
            if exchange.body_error is not None and isinstance(problem, Exception):
                raise exchange.body_error from None
            if isinstance(problem, aiohttp.ClientError | OSError | ValueError):
                raise exchange.name(problem, request) from problem
            raise
        exchange.receive(answer)
        body = BodyStream(answer, self._slots.release if self._slots is not None else None)
        return httpx.Response(
            answer.status,
            headers=list(answer.raw_headers),
            stream=body,
            extensions={"body": body},
        )

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _take_slot(self, limit_s: float | None) -> None:
        if self._slots is None:
            return
        try:
            async with asyncio.timeout(limit_s):
                await self._slots.acquire()
        except TimeoutError:
            detail = f"no connection was free for {limit_s:g} s; raise upstream.max_connections"
            raise TransportFault("pool", detail, repeatable=True, timed_out=True) from None

    async def _send(
        self, request: httpx.Request, exchange: _Exchange, connect_s: float | None
    ) -> aiohttp.ClientResponse:
        session = self._session
        if session is None:
            session = self._session = self._open_session()
        url = request.url
        target = request.extensions.get("target", url.raw_path)
        data: bytes | AsyncIterator[bytes | memoryview] | None
        if isinstance(request.stream, httpx.ByteStream):
            data = request.content or None
            if data is not None and len(data) > _PIECE_BYTES:
                data = exchange.send_pieces(data)
        else:
            assert isinstance(request.stream, httpx.AsyncByteStream)
            data = exchange.send_stream(request.stream)
        mark = _exchange.set(exchange)
        try:
            return await session.request(
                request.method,
                URL(
                    f"{url.scheme}://{url.netloc.decode()}{target.decode('latin-1')}", encoded=True
                ),
                headers=[
                    (name.decode("latin-1"), value.decode("utf-8", "replace"))
                    for name, value in request.headers.raw
                    if name.lower() != b"transfer-encoding"  # aiohttp frames the body by itself
                ],
                data=data,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(connect=connect_s),
            )
        finally:
            _exchange.reset(mark)

    def _open_session(self) -> aiohttp.ClientSession:
        connector = _Connector(
            limit=0,  # counted by our own slots, which can tell waiting from connecting
            keepalive_timeout=self._idle_connection_s,
            socket_factory=_open_socket,
        )
        connector._exchanges = {}
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=_ADDED_HEADERS,
            read_bufsize=64 * 1024,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )
        session._retry_connection = False
        return session


def _open_socket(address: AddrInfoType) -> socket.socket:
    """Make a socket that notices a silently vanished peer after some two minutes."""
    made = socket.socket(address[0], address[1], address[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if (number := getattr(socket, option, None)) is not None:
            made.setsockopt(socket.IPPROTO_TCP, number, seconds)
    return made


def _is_readable(wire: asyncio.Transport | None) -> bool:
    """Whether an idle connection has something to read: its end, or bytes nobody asked for."""
    if wire is None or wire.is_closing():
        return True
    handle = wire.get_extra_info("socket").fileno()
    if handle < 0:
        return True
    if hasattr(select, "poll"):
        watch = select.poll()
        watch.register(handle, select.POLLIN)
        return bool(watch.poll(0))
    return bool(select.select([handle], [], [], 0)[0])


def _cut_mid_stream() -> TransportFault:
    return TransportFault("closed_mid_stream", "the connection closed in the middle of the answer")


def _describe_malformed(message: str) -> str:
    """Keep the parser's reason and leave out the bytes it quotes: they may be anyone's words."""
    return "malformed HTTP: " + " ".join(message.partition("b'")[0].split()).rstrip(":")


def _words(problem: OSError) -> str:
    return shorten(problem.strerror or str(problem) or type(problem).__name__, 200)
