"""
Calls to LM Studio: whole answers, event streams, and passing bytes through.

Lives here: building the request, the time limits between bytes, telling an answer from an error
by its body, and the repeat of harmless requests. What an event or an answer means does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import httpx

from gateway.connection import AnswerBody, Connection, Headers, Sink, TransportFault
from gateway.faults import (
    FaultId,
    UpstreamFailure,
    describe,
    is_unknown_endpoint,
    read_error,
    read_hidden_error,
    shorten,
)
from gateway.framing import Event, EventTooLong, SseDecoder
from gateway.observability.record import current
from gateway.transport import HttpTransport, origin_of, write_head

if TYPE_CHECKING:
    from gateway.settings.schema import UpstreamSettings

TakeEvents: TypeAlias = Callable[[list[Event]], Awaitable[None] | None]
"""Takes events at once; what it returns has to be waited for before it takes more."""

MAX_ERROR_BYTES = 1024 * 1024
"""How much is read of a body that is an error or makes no sense."""

_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
_EVENT_FIELDS = (b"data", b"event", b"id", b"retry", b":")
_SAMPLE_BYTES = 1024
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_CONTENT_LENGTH = b"content-length"
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))
"""Methods whose requests say that they have no body, when they have none."""
_NOT_FORWARDED = frozenset(
    (b"host", b"content-length", b"expect", b"authorization", b"x-api-key", b"cookie")
)


class Upstream:
    """
    LM Studio as seen by the gateway; one per process, used within one event loop.

    Settings: `url` may have a path, which all paths are put behind; `connect_timeout_s` covers
    name, TCP and TLS; `first_byte_timeout_s` runs from there to the body's first byte, also
    while the answer's headers are outstanding (a model being loaded sends nothing at all, wire
    sheet §3), and is what a request waits for a free connection, too; `silence_timeout_s` is
    for the gaps after it, counted only while somebody waits. None is no limit.
    """

    url: str

    def __init__(self, settings: UpstreamSettings) -> None:
        self.url = settings.url.rstrip("/")
        base = httpx.URL(self.url)
        self._origin = origin_of(base)
        self._host = (b"Host", base.netloc)
        self._shown = base.netloc.decode("ascii", "replace")
        self._base_path = base.raw_path.rstrip(b"/")
        self._first_byte_s = settings.first_byte_timeout_s
        self._silence_s = settings.silence_timeout_s
        self._connect_s = settings.connect_timeout_s
        self._token: Headers = []
        if settings.token:
            self._token.append((b"authorization", b"Bearer " + settings.token.encode()))
        # No httpx client around it: its cookies, redirects and environment are not for us.
        self._transport = HttpTransport(
            max_connections=settings.max_connections,
            idle_connection_s=settings.idle_connection_s,
        )

    async def fetch(
        self, method: str, path: str, body: bytes | None = None, *, timeout_s: float | None = None
    ) -> bytes:
        """
        Return the whole JSON body of a success, a byte order mark removed.

        `timeout_s` limits the whole call, in place of the limits between bytes. A GET is
        repeated once when its failure allows it, unless that was a time limit.

        Raises UpstreamFailure: faults of the wire, statuses that are no success, a 200 that
        holds an error (unknown_endpoint, upstream_error_200), a body that is missing (empty)
        or no JSON (not_json).
        """
        repeats = 1 if method == "GET" else 0
        try:
            async with asyncio.timeout(timeout_s) as limit:
                while True:
                    try:
                        return await self._fetch_once(method, path, body, timeout_s)
                    except UpstreamFailure as failure:
                        cause = failure.__cause__
                        timed_out = isinstance(cause, TransportFault) and cause.timed_out
                        if not repeats or not failure.repeatable or timed_out:
                            raise
                        repeats -= 1
                        current().retries += 1
        except TimeoutError:
            if not limit.expired():
                raise
            raise UpstreamFailure(
                f"no complete answer within {timeout_s:g} s", fault="first_byte_timeout"
            ) from None

    def stream(
        self, method: str, path: str, body: bytes
    ) -> AbstractAsyncContextManager[EventStream]:
        """
        Ask for server-sent events; entered when the first event is there.

        What the answer is, is told by its body: LM Studio says errors as JSON under any status
        and content type, and as first event (wire sheet §5, §14). A JSON success becomes
        `EventStream.one_shot`.

        Raises UpstreamFailure on entering: as `fetch`, and not_sse, empty (the body ended
        without any event), upstream_error_200 (the first event is an error).
        """
        exchange = _Exchange(self._first_byte_s, self._silence_s)
        return _Opened(exchange, self._open_stream(exchange, method, path, body))

    @asynccontextmanager
    async def forward(
        self,
        method: str,
        raw_target: str,
        headers: Headers,
        body: bytes | AsyncIterator[bytes] | None,
    ) -> AsyncIterator[RawAnswer]:
        """
        Pass a request through as it is; entered when the answer's headers are there.

        The target is not normalised and the body not touched; headers that are about the
        client's own connection, its host and its credentials stay behind, the gateway's token
        goes along. A streamed body's source starts the first-byte limit anew with every piece.

        Raises UpstreamFailure for faults of the wire only, on entering and while reading.
        """
        exchange = _Exchange(self._first_byte_s, self._silence_s)
        kept = _drop_hop_by_hop(headers, _NOT_FORWARDED)
        content: bytes | AsyncIterator[bytes] | None = body
        length = [item for item in headers if item[0].lower() == _CONTENT_LENGTH][:1]
        if body == b"" and length:
            kept.append((_CONTENT_LENGTH, b"0"))
        elif body is not None and not isinstance(body, bytes):
            content = exchange.watch_upload(body)
            kept += length
        try:
            await self._send(
                exchange,
                method,
                self._base_path + raw_target.encode("latin-1", "replace"),
                kept + self._token,
                content,
            )
            yield RawAnswer(exchange)
        finally:
            exchange.close()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def _open_stream(
        self, exchange: _Exchange, method: str, path: str, body: bytes
    ) -> EventStream:
        headers = [(b"accept", b"text/event-stream"), *self._headers(body)]
        await self._send(exchange, method, self._target(path), headers, body)
        if not exchange.is_success:
            await exchange.raise_stated_error()
        return await _open_events(exchange)

    async def _fetch_once(
        self, method: str, path: str, body: bytes | None, timeout_s: float | None
    ) -> bytes:
        limits = (self._first_byte_s, self._silence_s) if timeout_s is None else (None, None)
        exchange = _Exchange(*limits)
        headers = [(b"accept", b"application/json"), *self._headers(body)]
        try:
            await self._send(exchange, method, self._target(path), headers, body)
            if not exchange.is_success:
                await exchange.raise_stated_error()
            return check_json(out_of_events(await exchange.read_rest()))
        finally:
            exchange.close()

    async def _send(
        self,
        exchange: _Exchange,
        method: str,
        target: bytes,
        headers: Headers,
        body: bytes | AsyncIterator[bytes] | None,
    ) -> None:
        framing = _framing(method, headers, body)
        record = current()
        record.upstream, record.upstream_status = self._shown, None
        try:
            status, answered, answer = await self._transport.send(
                self._origin,
                method,
                write_head(method, target, [self._host, *headers, *framing]),
                body or b"",
                is_chunked=_CHUNKED in framing,
                connect_s=self._connect_s,
                pool_s=self._first_byte_s,
                when_connected=exchange.note_connection,
            )
        except TransportFault as fault:
            raise _translate(fault) from fault
        exchange.take(status, answered, answer)
        record.upstream_status = status

    def _headers(self, body: bytes | None) -> Headers:
        headers = [(b"accept-encoding", b"identity"), (b"user-agent", b"olgate"), *self._token]
        if body is not None:
            headers.append((b"content-type", b"application/json"))
        return headers

    def _target(self, path: str) -> bytes:
        return self._base_path + path.encode("latin-1")


class EventStream:
    """
    The events of one answer, handed over read by read; `[DONE]` is an event as any.

    `one_shot` holds the body when a JSON success came where events were asked for; there are no
    events then.
    """

    one_shot: bytes | None

    def __init__(self, exchange: _Exchange, one_shot: bytes | None = None) -> None:
        self.one_shot = one_shot
        self._exchange = exchange
        self._decoder = SseDecoder()
        self._ahead: list[Event] = []
        self._has_ended = one_shot is not None

    async def each(self, take: TakeEvents) -> None:
        """
        Hand the events of every read to `take`, to the body's regular end or until `stop`.

        That happens in the callback that received them. What `take` returns is waited for before
        the next ones are handed over, and the upstream with it; what it raises comes out here.

        Raises UpstreamFailure: silence_timeout, closed_mid_stream, bad_http, not_sse (an event of
        more bytes than the decoder takes).
        """
        if self._ahead:
            events, self._ahead = self._ahead, []
            if (pending := take(events)) is not None:
                await pending
        if self._has_ended:
            return
        feed = self._decoder.feed

        def take_bytes(data: bytes) -> Awaitable[None] | None:
            try:
                events = feed(data)
            except EventTooLong as problem:
                raise UpstreamFailure(str(problem), fault="not_sse") from problem
            return take(events) if events else None

        await self._exchange.push(take_bytes)
        # What the end left without its blank line.
        events = [] if self._has_ended else self.decode(b"")
        if events and (pending := take(events)) is not None:
            await pending

    def stop(self) -> None:
        """Take no more events: what is left of the body is its end."""
        self._has_ended = True
        self._exchange.stop()

    def decode(self, data: bytes) -> list[Event]:
        """Return the events that the next bytes complete; no bytes are the body's end."""
        if not data:
            self._has_ended = True
            return self._decoder.close()
        try:
            return self._decoder.feed(data)
        except EventTooLong as problem:
            raise UpstreamFailure(str(problem), fault="not_sse") from problem

    def put_back(self, events: list[Event]) -> None:
        """Make these the first that are handed over."""
        self._ahead = events


class RawAnswer:
    """An answer passed through: status, end-to-end headers (names in lower case), body bytes."""

    status: int
    headers: Headers

    def __init__(self, exchange: _Exchange) -> None:
        self.status = exchange.status
        self.headers = [
            (name.lower(), value) for name, value in _drop_hop_by_hop(exchange.headers, frozenset())
        ]
        self._exchange = exchange

    async def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it arrives. Raises UpstreamFailure."""
        while data := await self._exchange.read():
            yield data

    async def each(self, take: Sink) -> None:
        """
        Hand what is left of the body to `take` as it arrives, in the callback that received it.

        What `take` returns is waited for, what it raises comes out here. Raises UpstreamFailure.
        """
        await self._exchange.push(take)


class _Exchange:
    """
    One request and its answer, with the time limits of both.

    From when the connection is there, one timer of the loop watches: the answer's headers, then the
    reads. The body only notes when a wait began, and the timer, when it fires, looks whether that
    is too long ago.
    """

    status: int
    headers: Headers
    _connection: Connection

    def __init__(self, first_byte_s: float | None, silence_s: float | None) -> None:
        self._first_byte_s = first_byte_s
        self._silence_s = silence_s
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._connected_at = self._now()
        self._timer: asyncio.TimerHandle | None = None
        self._body: AnswerBody | None = None
        self._had_byte = False

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def note_connection(self, connection: Connection) -> None:
        """Start the first-byte limit."""
        self._connection = connection
        self._connected_at = self._now()
        self._look()

    async def watch_upload(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Start the first-byte limit anew with every piece."""
        async for piece in body:
            if self._body is None:
                self._connected_at = self._now()
            yield piece

    def take(self, status: int, headers: Headers, body: AnswerBody) -> None:
        """Take the answer whose headers have come; from here on `read` keeps the limits."""
        self.status, self.headers, self._body = status, headers, body

    async def read(self) -> bytes:
        """Return the next bytes of the body, empty at its end. Raises UpstreamFailure."""
        assert self._body is not None
        try:
            data = await self._body.read()
        except TransportFault as fault:
            raise _translate(fault) from fault
        self._had_byte = True
        return data

    async def push(self, sink: Sink) -> None:
        """Hand the rest of the body to `sink` as it arrives. Raises UpstreamFailure."""
        assert self._body is not None
        pending = None
        if not self._had_byte:
            first = await self.read()
            pending = sink(first) if first else None
        try:
            while True:
                if pending is not None:
                    await pending
                pending = await self._body.push(sink)
                if pending is None:
                    return
        except TransportFault as fault:
            raise _translate(fault) from fault

    def stop(self) -> None:
        """Take nothing more: all that can follow is the body's end."""
        assert self._body is not None
        self._body.stop()

    async def read_rest(self, limit: int | None = None) -> bytes:
        """Return the rest of the body, or its first `limit` bytes and a little more."""
        parts: list[bytes] = []
        size = 0
        while data := await self.read():
            parts.append(data)
            size += len(data)
            if limit is not None and size >= limit:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def raise_stated_error(self) -> NoReturn:
        """Raise what an answer says whose status is no success, cut short or not."""
        status = self.status
        if status < 400:
            found = (value for name, value in self.headers if name.lower() == b"location")
            location = shorten(next(found, b"nowhere").decode("utf-8", "replace"), 200)
            raise UpstreamFailure(
                f"answered {status}, a redirect to {location}; set upstream.url to where it leads",
                fault="bad_http",
            )
        body = b""
        with suppress(UpstreamFailure):
            while len(body) < MAX_ERROR_BYTES and (data := await self.read()):
                body += data
        stated = read_error(body)
        if stated is None or not stated.message:
            code = None if stated is None else stated.code
            text = body.removeprefix(_BOM).strip()
            if text.startswith((b"{", b"[")):
                message = f"status {status} without a message"
            elif not text or text.startswith(b"<"):
                message = f"status {status} with {describe(body)}"
            else:
                message = shorten(text.decode("utf-8", "replace"))
            raise UpstreamFailure(message, status=status, code=code)
        fault: FaultId | None = "unknown_endpoint" if is_unknown_endpoint(stated.message) else None
        raise UpstreamFailure(stated.message, status=status, code=stated.code, fault=fault)

    def close(self) -> None:
        """Stop the timer and close the connection, unless the body was read to its end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._body is not None:
            self._body.leave()

    def _look(self) -> None:
        """End what has been waited for too long, or look again when it may have been."""
        now, body = self._now(), self._body
        if body is None:
            since = self._connected_at
        elif body.waiting_since is None:
            since = now
        else:
            since = body.waiting_since if self._had_byte else self._connected_at
        limit_s = self._silence_s if self._had_byte else self._first_byte_s
        over_at = inf if limit_s is None else since + limit_s
        if now < over_at:
            if not self._had_byte and self._silence_s is not None:
                # The first byte, with which the other limit begins to count, sets no timer.
                over_at = min(over_at, now + self._silence_s)
            self._timer = self._loop.call_at(over_at, self._look) if over_at < inf else None
        elif self._had_byte:
            assert body is not None
            detail = f"nothing came for {limit_s:g} s in the middle of the answer"
            body.interrupt(TransportFault("silence_timeout", detail, timed_out=True))
        elif body is not None:
            body.interrupt(self._first_byte_fault())
        elif not self._connection.give_up(self._first_byte_fault()):
            # The head is there, and only has to be taken.
            self._timer = self._loop.call_at(now, self._look)

    def _first_byte_fault(self) -> TransportFault:
        return TransportFault(
            "first_byte_timeout", f"nothing came for {self._first_byte_s:g} s", timed_out=True
        )


class _Opened(AbstractAsyncContextManager["EventStream"]):
    """
    An exchange that is closed when its block is left, or when it could not be opened.

    What `contextlib` makes of a generator does the same, in more calls.
    """

    def __init__(self, exchange: _Exchange, opening: Awaitable[EventStream]) -> None:
        self._exchange = exchange
        self._opening = opening

    async def __aenter__(self) -> EventStream:
        try:
            return await self._opening
        except BaseException:
            self._exchange.close()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._exchange.close()


async def _open_events(exchange: _Exchange) -> EventStream:
    """Read until it is known what the answer is. Raises UpstreamFailure unless a success."""
    start = b""
    while not start or _BOM.startswith(start):
        data = await exchange.read()
        if not data:
            raise UpstreamFailure("answered with an empty body", fault="empty")
        start = (start + data).removeprefix(_BOM).lstrip(_BLANKS)
    if start.startswith((b"{", b"[")):
        body = check_json(start + await exchange.read_rest())
        return EventStream(exchange, one_shot=body)
    if start.startswith(b"<"):
        page = start + await exchange.read_rest(MAX_ERROR_BYTES)
        raise UpstreamFailure(f"answered with {describe(page)}, not with events", fault="not_sse")
    stream = EventStream(exchange)
    sample = start
    events = stream.decode(start)
    while not events:
        data = await exchange.read()
        events = stream.decode(data)
        if len(sample) < _SAMPLE_BYTES:
            sample += data
        if not data and not events:
            raise _no_event(sample)
    first = events[0]
    if first.name == "error" or b'"error"' in first.data:
        raise_error_event(first)
    stream.put_back(events)
    return stream


def _no_event(sample: bytes) -> UpstreamFailure:
    if any(line.startswith(_EVENT_FIELDS) for line in sample.splitlines()):
        return UpstreamFailure("the event stream ended without an event", fault="empty")
    return UpstreamFailure(f"answered with {describe(sample)}, not with events", fault="not_sse")


def raise_error_event(event: Event) -> None:
    """Raise the error that an event holds; return when it holds none."""
    if event.name == "error":
        stated = read_error(event.data)
        message = stated.message if stated else shorten(event.data.decode("utf-8", "replace"))
    else:
        try:
            stated = read_hidden_error(event.data)
        except ValueError:
            return
        if stated is None:
            return
        message = stated.message
    raise UpstreamFailure(
        message or "an error without a message",
        status=200,
        fault="upstream_error_200",
        code=stated.code if stated else None,
    )


def out_of_events(body: bytes) -> bytes:
    """
    Return the one answer that came as events where JSON was asked for, any other body as it is.

    Raises UpstreamFailure for an error among the events, and for several answers (not_json).
    """
    start = body.removeprefix(_BOM).lstrip(_BLANKS)
    if not start.startswith(_EVENT_FIELDS):
        return body
    decoder = SseDecoder(max(len(body), 1))
    events = [event for event in decoder.feed(body) + decoder.close() if event.data != b"[DONE]"]
    for event in events:
        raise_error_event(event)
    if len(events) != 1:
        detail = f"answered with {len(events)} events, not with JSON"
        raise UpstreamFailure(detail, fault="not_json" if events else "empty")
    return events[0].data


def check_json(body: bytes) -> bytes:
    """Return the body of a success. Raises UpstreamFailure when it is none or no JSON."""
    body = body.removeprefix(_BOM)
    if not body.strip():
        raise UpstreamFailure("answered with an empty body", fault="empty")
    try:
        stated = read_hidden_error(body)
    except ValueError:
        detail = f"answered with {describe(body)}, not with JSON"
        raise UpstreamFailure(detail, fault="not_json") from None
    if stated is None:
        return body
    is_unknown = is_unknown_endpoint(stated.message)
    raise UpstreamFailure(
        stated.message or "an error without a message",
        status=200,
        fault="unknown_endpoint" if is_unknown else "upstream_error_200",
        code=stated.code,
    )


def _framing(method: str, headers: Headers, body: bytes | AsyncIterator[bytes] | None) -> Headers:
    """Return the headers that say how a body's end is told, unless they are there."""
    for name, _ in headers:
        if name.lower() == _CONTENT_LENGTH:
            return []
    if not isinstance(body, bytes | None):
        return [_CHUNKED]
    return [(b"Content-Length", b"%d" % len(body or b""))] if body or method in _WITH_BODY else []


_CHUNKED = (b"Transfer-Encoding", b"chunked")


def _drop_hop_by_hop(headers: Headers, also: frozenset[bytes]) -> Headers:
    """Leave out what is about one connection only, including what `Connection` names."""
    named = {
        token.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for token in value.split(b",")
    }
    dropped = _HOP_BY_HOP | also | named
    return [item for item in headers if item[0].lower() not in dropped]


def _translate(fault: TransportFault) -> UpstreamFailure:
    return UpstreamFailure(fault.message, fault=fault.fault, repeatable=fault.repeatable)
