"""
Calls to LM Studio: whole answers, event streams, and passing bytes through.

This module builds requests and repeats harmless ones. `exchange` has the time limits, and `answers`
tells an answer from an error by its body. Nothing here knows what an event or an answer means.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..faults import UpstreamFailure
from ..observability.record import current
from ..runtime.outcome import FetchCall
from ..settings.host_keys import UPSTREAM_KEYS, HostKeys
from ..wire import hops
from ..wire.writing import encode
from .address import read_address
from .answers import (
    EventStream,
    Opened,
    RawAnswer,
    check_json,
    drop_hop_by_hop,
    open_events,
    out_of_events,
    read_answer,
)
from .body import Headers, TransportFault
from .exchange import Exchange, may_repeat, translate
from .joining import Joiner
from .pool import ConnectionPool, write_head
from .trust import TrustProblem, trusting
from .watch import Watch

if TYPE_CHECKING:
    from ..settings.schema import UpstreamSettings

TargetT = TypeVar("TargetT")

_PROBE_BYTES = 256 * 1024
"""Most bytes that are read of an answer to a probe."""
_BREAK = b"\r\n"
_MOST_HEADS = 64
"""How many heads of a host are kept: its calls have few paths but for those of downloads."""
_UNREACHABLE = ("connect", "dns", "tls")
_CONTENT_LENGTH = b"content-length"
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))
"""Methods whose requests state a length of 0 when they have no body."""
_NOT_FORWARDED = frozenset(
    (
        b"host",
        b"content-length",
        b"expect",
        b"authorization",
        b"x-api-key",
        b"cookie",
        b"accept-encoding",
    )
)
_UNPACKED = (b"accept-encoding", b"identity")
"""Asked for in every request: errors, names and ends of streams have to be read in an answer."""


class Probe(NamedTuple):
    """An answer of whatever server is there: any status, lower-case header names, raw body."""

    status: int
    headers: Headers
    body: bytes


class Upstream:
    """
    LM Studio as seen by the gateway; one per process, used within one event loop.

    Settings: `url` may have a path, to which all paths are appended; `connect_timeout_s` covers
    name, TCP and TLS; `first_byte_timeout_s` runs from there to the body's first byte, also
    while the answer's headers are outstanding (a model being loaded sends nothing at all,
    docs/facts/lmstudio.md#jit-silence), and is what a request waits for a free connection, too;
    `silence_timeout_s` is for the gaps after it, counted only while somebody waits. None is no
    limit.
    """

    url: str
    name: hops.Name
    """The gateway's name in the requests that it sends (`wire.hops`)."""
    path: str
    """The path of `url`, without a slash at its end."""
    root: str
    """`url` without its path."""
    shown: str
    """The host and the port of `url`, as log lines and metrics show them."""

    def __init__(
        self,
        settings: UpstreamSettings,
        name: hops.Name | None = None,
        keys: HostKeys = UPSTREAM_KEYS,
    ) -> None:
        """
        Call the host of `settings` as the gateway `name`; nothing is opened yet.

        `keys` are the names of these settings, for what is said of them.
        """
        self.keys = keys
        self.url = settings.url.rstrip("/")
        self.name = name or hops.new_name()
        self._hop = (hops.HEADER, self.name.encode("ascii"))
        self.when_unreachable: Callable[[], None] | None = None
        """Called after a request for which no connection could be opened."""
        self._origin, host, self._base_path = read_address(self.url)
        self.path = self._base_path.decode("ascii")
        self.root = str(self._origin)
        self._host = (b"Host", host)
        self.shown = host.decode("ascii")
        self._first_byte_s = settings.first_byte_timeout_s
        self._silence_s = settings.silence_timeout_s
        self._connect_s = settings.connect_timeout_s
        self._watch = Watch()
        self._own_heads: dict[tuple[str, bytes, bytes, bool], bytes] = {}
        """
        The heads of the gateway's own calls but for the length, by method, target, what is
        accepted, and whether there is no body. Nothing else in them changes.
        """
        self._token: Headers = []
        if settings.token:
            self._token.append((b"authorization", b"Bearer " + settings.token.encode()))
        if settings.ca_file is not None:
            # A file that cannot be used is told at the start.
            try:
                trusting(settings.ca_file, settings.verify)
            except TrustProblem as problem:
                raise TrustProblem(f"{keys.key('ca_file')}: {problem}") from None
        self._connections = ConnectionPool(
            tls=partial(trusting, settings.ca_file, settings.verify),
            keys=keys,
            max_connections=settings.max_connections,
            idle_connection_s=settings.idle_connection_s,
        )

    @property
    def has_token(self) -> bool:
        """Whether requests have a token of LM Studio's."""
        return bool(self._token)

    async def fetch(
        self, method: str, path: str, body: bytes | None = None, *, timeout_s: float | None = None
    ) -> bytes:
        """
        Return the whole JSON body of a success, a byte order mark removed.

        Raises UpstreamFailure as `fetch_unchecked`, and for a 200 that holds an error
        (unknown_endpoint, upstream_error_200), a body that is missing (empty) or not JSON
        (not_json).
        """
        pieces = await self.fetch_unchecked(method, path, body, timeout_s=timeout_s)
        return check_json(b"".join(pieces))

    async def fetch_unchecked(
        self, method: str, path: str, body: bytes | None = None, *, timeout_s: float | None = None
    ) -> list[bytes]:
        """
        Return the whole body of an answer that has the status of a success, in pieces.

        It may still be an error, or no JSON: `answers.read_answer` tells that while it decodes.

        `timeout_s` limits the whole call, in place of the limits between bytes. A GET is
        repeated once when its failure allows it, unless that was a time limit.

        Raises UpstreamFailure: faults of the wire, statuses other than a success, events that are
        errors, and several events in place of one answer (not_json).
        """
        repeats = 1 if method == "GET" else 0
        try:
            async with asyncio.timeout(timeout_s) as limit:
                while True:
                    try:
                        return await self._fetch_once(method, path, body, timeout_s)
                    except UpstreamFailure as failure:
                        if not repeats or not may_repeat(failure):
                            raise
                        repeats -= 1
                        current().retries += 1
        except TimeoutError as problem:
            if not limit.expired():
                raise
            problem.with_traceback(None)
            raise UpstreamFailure(
                f"no complete answer within {timeout_s:g} s", fault="first_byte_timeout"
            ) from None
        finally:
            # The limit holds the task, and the task may come to hold what is raised here.
            del limit

    async def ask(
        self, call: FetchCall[Any, TargetT], *, timeout_s: float | None = None
    ) -> TargetT:
        """
        Make one of the gateway's own calls: fetch, decode, check a sample for keys, translate.

        Raises UpstreamFailure, as `fetch_unchecked` and `read_answer` do.
        """
        body = encode(call.body) if call.body is not None else None
        pieces = await self.fetch_unchecked(call.method, call.path, body, timeout_s=timeout_s)
        return call.translate(read_answer(call, pieces))

    def stream(
        self, method: str, path: str, body: bytes, joiner: Joiner | None = None
    ) -> AbstractAsyncContextManager[EventStream]:
        """
        Ask for server-sent events; entered when the first event is there.

        With a `joiner`, events after the first one may come later and joined.

        The body tells a stream from an error: LM Studio sends errors as JSON under any status
        and content type, and as first event (docs/facts/lmstudio.md#stream-errors,
        docs/facts/lmstudio.md#error-with-200). A JSON success becomes `EventStream.one_shot`.

        Raises UpstreamFailure on entering: as `fetch`, and not_sse, empty (the body ended
        without any event), upstream_error_200 (the first event is an error).
        """
        exchange = Exchange(self._first_byte_s, self._silence_s, self.keys, self._watch)
        return Opened(exchange, self._open_stream(exchange, method, path, body, joiner))

    @asynccontextmanager
    async def forward(
        self,
        method: str,
        raw_target: str,
        headers: Headers,
        body: bytes | AsyncIterator[bytes] | None,
    ) -> AsyncIterator[RawAnswer]:
        """
        Pass a request through unchanged; entered when the answer's headers are there.

        The target is not normalised and the body not changed. Headers about the client's own
        connection, its host, its credentials and encodings are removed, and the gateway's token is
        added. Every piece of a streamed body restarts the first-byte limit. A GET without a body
        that is lost with its reused connection is sent once more.

        Raises UpstreamFailure for faults of the wire only, on entering and while reading.
        """
        exchange = Exchange(self._first_byte_s, self._silence_s, self.keys, self._watch)
        kept = drop_hop_by_hop(headers, _NOT_FORWARDED)
        content: bytes | AsyncIterator[bytes] | None = body
        length = [item for item in headers if item[0].lower() == _CONTENT_LENGTH][:1]
        if body == b"" and length:
            kept.append((_CONTENT_LENGTH, b"0"))
        elif body is not None and not isinstance(body, bytes):
            content = exchange.watch_upload(body)
            kept += length
        target = self._base_path + raw_target.encode("latin-1", "replace")
        kept += [_UNPACKED, self._hop, *self._token]
        try:
            try:
                await self._send(exchange, method, target, kept, content)
            except UpstreamFailure as failure:
                if method != "GET" or content or not may_repeat(failure):
                    raise
                exchange.close()
                exchange = Exchange(self._first_byte_s, self._silence_s, self.keys, self._watch)
                current().retries += 1
                await self._send(exchange, method, target, kept, content)
            yield RawAnswer(exchange)
        finally:
            exchange.close()

    async def probe(self, path: str, *, from_root: bool = False) -> Probe:
        """
        Get a path from whatever server is there, and judge nothing; a long body is cut.

        With `from_root` a path in `url` is left out. The caller limits the time. Raises
        UpstreamFailure for faults of the wire.
        """
        exchange = Exchange(None, None, self.keys)
        target = path.encode("latin-1") if from_root else self._target(path)
        try:
            await self._send(exchange, "GET", target, self._headers(b"", None), None)
            body = await exchange.read_rest(_PROBE_BYTES)
            headers = [(name.lower(), value) for name, value in exchange.headers]
            return Probe(exchange.status, headers, body)
        finally:
            exchange.close()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connections.aclose()
        self._watch.close()

    async def _open_stream(
        self, exchange: Exchange, method: str, path: str, body: bytes, joiner: Joiner | None
    ) -> EventStream:
        try:
            await self._send(exchange, method, self._target(path), None, body, b"text/event-stream")
            if not exchange.is_success:
                await exchange.raise_stated_error()
            return await open_events(exchange, joiner)
        except BaseException:
            exchange.close()
            raise

    async def _fetch_once(
        self, method: str, path: str, body: bytes | None, timeout_s: float | None
    ) -> list[bytes]:
        if timeout_s is None:
            exchange = Exchange(self._first_byte_s, self._silence_s, self.keys, self._watch)
        else:
            exchange = Exchange(None, None, self.keys)
        try:
            await self._send(exchange, method, self._target(path), None, body, b"application/json")
            if not exchange.is_success:
                await exchange.raise_stated_error()
            return out_of_events(await exchange.read_pieces())
        finally:
            exchange.close()

    async def _send(
        self,
        exchange: Exchange,
        method: str,
        target: bytes,
        headers: Headers | None,
        body: bytes | AsyncIterator[bytes] | None,
        accept: bytes = b"",
    ) -> None:
        """Send a request of others with their headers, or one of the gateway's own with none."""
        record = current()
        record.upstream, record.upstream_status = self.shown, None
        is_chunked = False
        if record.trace is not None:
            exchange.call = record.trace.call(method, target, self.shown)
        if record.kept is not None:
            exchange.kept = record.kept.call(method, target, self.shown, body)
        try:
            if headers is None and exchange.call is None:
                assert body is None or isinstance(body, bytes), "the gateway's own bodies are whole"
                head = self._own_head(method, target, accept, body)
            else:
                headers = self._headers(accept, body) if headers is None else headers
                framing = _framing(method, headers, body)
                is_chunked = _CHUNKED in framing
                if exchange.call is not None:
                    headers = exchange.call.carried_by(headers)
                head = write_head(method, target, [self._host, *headers, *framing])
            # As `ConnectionPool.send` does, without a coroutine of its own.
            connection = self._connections.take_idle(self._origin)
            if connection is None:
                connection = await self._connections.open(
                    self._origin, connect_s=self._connect_s, pool_s=self._first_byte_s
                )
            exchange.note_connection(connection)
            status, answered, answer = await connection.carry(
                method, head, body or b"", is_chunked=is_chunked
            )
        except TransportFault as fault:
            if self.when_unreachable is not None and fault.fault in _UNREACHABLE:
                self.when_unreachable()
            if exchange.call is not None:
                exchange.call.fault = fault.fault
            if exchange.kept is not None:
                exchange.kept.fault = fault.fault
            raise translate(fault) from fault
        exchange.take(status, answered, answer)
        record.upstream_status = status
        if exchange.call is not None:
            exchange.call.status = status
        if exchange.kept is not None:
            exchange.kept.start(status, answered)

    def _own_head(self, method: str, target: bytes, accept: bytes, body: bytes | None) -> bytes:
        """Return the head of one of the gateway's own calls: only its length is written anew."""
        key = (method, target, accept, body is None)
        start = self._own_heads.get(key)
        if start is None:
            headers = [self._host, *self._headers(accept, body)]
            start = write_head(method, target, headers)[: -len(_BREAK)]
            if len(self._own_heads) >= _MOST_HEADS:
                self._own_heads.clear()
            self._own_heads[key] = start
        if body or method in _WITH_BODY:
            return b"%bContent-Length: %d\r\n\r\n" % (start, len(body or b""))
        return start + _BREAK

    def _headers(self, accept: bytes, body: object) -> Headers:
        headers = [_UNPACKED, _AGENT, self._hop, *self._token]
        if accept:
            headers.insert(0, (b"accept", accept))
        if body is not None:
            headers.append((b"content-type", b"application/json"))
        return headers

    def _target(self, path: str) -> bytes:
        return self._base_path + path.encode("latin-1")


def _framing(method: str, headers: Headers, body: bytes | AsyncIterator[bytes] | None) -> Headers:
    """Return the headers that state where a body ends, unless the request has them already."""
    for name, _ in headers:
        if name.lower() == _CONTENT_LENGTH:
            return []
    if not isinstance(body, bytes | None):
        return [_CHUNKED]
    return [(b"Content-Length", b"%d" % len(body or b""))] if body or method in _WITH_BODY else []


_AGENT = (b"user-agent", b"olgate")
_CHUNKED = (b"Transfer-Encoding", b"chunked")
