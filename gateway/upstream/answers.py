"""
The kinds of upstream answers: an event stream, one JSON object, or raw bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar, cast

import msgspec
from msgspec import UNSET, UnsetType

from ..faults import UpstreamFailure
from ..observability.record import sampled
from ..runtime.outcome import FetchCall
from ..wire.apart import Place, place_in, put_back, take_out, take_out_in_steps
from ..wire.lenient import BOM, UNREADABLE
from ..wire.odd_values import note_odd
from ..wire.salvage import NotJson, salvage
from ..wire.splitting import Steps
from .body import BODILESS, Headers, Sink
from .exchange import BLANKS, MAX_ERROR_BYTES, Exchange
from .joining import Joiner
from .sse import DONE, FIELD_STARTS, Event, EventTooLong, SseDecoder
from .stated_errors import (
    describe_body,
    is_unknown_endpoint,
    read_event_error,
    read_hidden_error,
)

SourceT = TypeVar("SourceT")

TakeEvents: TypeAlias = Callable[[list[Event]], Awaitable[None] | None]
"""Takes events at once. The caller must await a returned awaitable before it passes more."""

_SAMPLE_BYTES = 1024
_LARGE = 2 * 1024
"""Bytes of an answer from which on it pays to take the lists of numbers out first."""
_MOST_REST = 1024 * 1024
"""Bytes that are decoded in one step: a millisecond."""
_JSON_STARTS = (b"{", b"[")
_ERROR = "error"
_CORS = b"access-control-"

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


class EventStream:
    """
    The events of one answer, passed on read by read; `[DONE]` is an event like any other.

    `one_shot` holds the body when a JSON success came where events were asked for; there are no
    events then. With a `joiner`, events after the first one may come later and joined.
    """

    one_shot: bytes | None

    def __init__(
        self, exchange: Exchange, one_shot: bytes | None = None, joiner: Joiner | None = None
    ) -> None:
        self.one_shot = one_shot
        self._joiner = joiner
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
        feed, joiner = self._decoder.feed, self._joiner

        def take_bytes(data: bytes) -> Awaitable[None] | None:
            try:
                events = feed(data)
            except EventTooLong as problem:
                raise UpstreamFailure(str(problem), fault="not_sse") from problem
            return take(events) if events else None

        if joiner is None:
            await self._exchange.push(take_bytes)
        else:
            feed_joiner = joiner.feed

            def take_joined(data: bytes) -> Awaitable[None] | None:
                return take_bytes(ready) if (ready := feed_joiner(data)) else None

            # What came in the read of the first event may already hold the end.
            if (ready := joiner.feed(b"")) and (pending := take_bytes(ready)) is not None:
                await pending
            if not self._has_ended:
                await self._exchange.push(take_joined, joiner.alike)
            rest = b"" if self._has_ended else joiner.rest()
            if rest and (pending := take_bytes(rest)) is not None:
                await pending
        # An event at the end may lack its blank line.
        events = [] if self._has_ended else self.decode(b"")
        if events and (pending := take(events)) is not None:
            await pending

    @property
    def joined(self) -> int:
        """How many pieces of the answer were joined to others."""
        return 0 if self._joiner is None else self._joiner.joined

    def stop(self) -> None:
        """Take no more events: only the body's end is left."""
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
        """Pass these on first."""
        self._ahead = events


class RawAnswer:
    """
    A passed-through answer: status, headers (lower-case names), body bytes.

    Headers that concern the connection to the host are left out. So are its CORS headers: who may
    read an answer is the gateway's decision, and browsers refuse two of them. The length is left
    out where no body follows, and for an event stream, whose end may be an event of the gateway.
    """

    status: int
    headers: Headers
    content_type: bytes
    """Empty where none is stated."""
    is_event_stream: bool
    is_json: bool

    def __init__(self, exchange: Exchange) -> None:
        self.status = exchange.status
        self.headers = [
            (key, value)
            for name, value in drop_hop_by_hop(exchange.headers, frozenset())
            if not (key := name.lower()).startswith(_CORS)
        ]
        kind = self.content_type = dict(self.headers).get(b"content-type", b"")
        self.is_event_stream = kind.startswith(b"text/event-stream")
        self.is_json = b"json" in kind
        if self.status in BODILESS or self.is_event_stream:
            self.headers = [item for item in self.headers if item[0] != b"content-length"]
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


class Opened(AbstractAsyncContextManager["EventStream"]):
    """
    An exchange that is closed when its block is left; `opening` closes it where that fails.

    A generator under `contextlib` would do the same with more calls.
    """

    def __init__(self, exchange: Exchange, opening: Coroutine[Any, Any, EventStream]) -> None:
        self._exchange = exchange
        self._opening = opening

    def __aenter__(self) -> Coroutine[Any, Any, EventStream]:
        """Return the opening itself: a coroutine around it would be one more for each step."""
        return self._opening

    async def __aexit__(self, *_: object) -> None:
        self._exchange.close()


async def open_events(exchange: Exchange, joiner: Joiner | None = None) -> EventStream:
    """
    Read until the kind of answer is known. Raises UpstreamFailure unless it is a success.

    A `joiner` gets what follows the first event.
    """
    start = b""
    while not start or BOM.startswith(start):
        data = await exchange.read()
        if not data:
            raise UpstreamFailure("answered with an empty body", fault="empty")
        start = (start + data).removeprefix(BOM).lstrip(BLANKS)
    if start.startswith((b"{", b"[")):
        body = check_json(start + await exchange.read_rest())
        return EventStream(exchange, one_shot=body)
    if start.startswith(b"<"):
        page = start + await exchange.read_rest(MAX_ERROR_BYTES)
        raise UpstreamFailure(
            f"answered with {describe_body(page)}, not with events", fault="not_sse"
        )
    stream = EventStream(exchange, joiner=joiner)
    sample = start
    left = b""
    if joiner is not None:
        start, left = _cut_after_event(start)
    events = stream.decode(start)
    while not events:
        data, left = left or await exchange.read(), b""
        if joiner is not None:
            data, left = _cut_after_event(data)
        events = stream.decode(data)
        if len(sample) < _SAMPLE_BYTES:
            sample += data
        if not data and not events:
            raise _no_event(sample)
    first = events[0]
    if may_be_error(first):
        raise_error_event(first)
    stream.put_back(events)
    if joiner is not None:
        joiner.hold(left)
    return stream


def _cut_after_event(data: bytes) -> tuple[bytes, bytes]:
    """Return the bytes up to the first blank line, and the others: they begin with an event."""
    event, blank, left = data.partition(b"\n\n")
    return event + blank, left


def _no_event(sample: bytes) -> UpstreamFailure:
    if any(line.startswith(FIELD_STARTS) for line in sample.splitlines()):
        return UpstreamFailure("the event stream ended without an event", fault="empty")
    return UpstreamFailure(
        f"answered with {describe_body(sample)}, not with events", fault="not_sse"
    )


def may_be_error(event: Event) -> bool:
    """Return whether an event has to be looked at: for most, a search in its bytes says no."""
    # Not `in`, for which Python tries first to read bytes as a number.
    data = event.data
    return event.name == "error" or data[:1] != b"{" or data.find(b'"error') >= 0


def raise_error_event(event: Event) -> None:
    """Raise the error that an event holds; return when it holds none."""
    stated = read_event_error(event.name, event.data)
    if stated is None:
        return
    raise UpstreamFailure(
        stated.message or "an error without a message",
        status=200,
        fault="upstream_error_200",
        code=stated.code,
    )


def is_filler(data: bytes) -> bool:
    """
    Return whether an event's data only keeps the connection alive (lmstudio.md#sse-oddities).

    >>> is_filler(b""), is_filler(b" : keepalive"), is_filler(b"{}")
    (True, True, False)
    """
    start = data.lstrip(BLANKS)
    return not start or start.startswith(b":")


def out_of_events(pieces: list[bytes]) -> list[bytes]:
    """
    Return the one answer that came as events instead of JSON; any other body as it is, in pieces.

    Raises UpstreamFailure for an error among the events, and for several answers (not_json).
    """
    start = b"".join(pieces[:1]).removeprefix(BOM).lstrip(BLANKS)
    if start[:1] in _JSON_STARTS:
        return pieces
    body = b"".join(pieces)
    if not body.removeprefix(BOM).lstrip(BLANKS).startswith(FIELD_STARTS):
        return [body]
    decoder = SseDecoder(max(len(body), 1))
    events = [
        event
        for event in decoder.feed(body) + decoder.close()
        if not is_filler(event.data) and event.data.strip(BLANKS) != DONE
    ]
    for event in events:
        raise_error_event(event)
    if len(events) != 1:
        detail = f"answered with {len(events)} events, not with JSON"
        raise UpstreamFailure(detail, fault="not_json" if events else "empty")
    return [events[0].data]


def check_json(body: bytes) -> bytes:
    """Return the body of a success. Raises UpstreamFailure for an error, or when it is not JSON."""
    body = body.removeprefix(BOM)
    if not body.strip():
        raise UpstreamFailure("answered with an empty body", fault="empty")
    try:
        stated = read_hidden_error(body)
    except ValueError:
        detail = f"answered with {describe_body(body)}, not with JSON"
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


def read_answer(call: FetchCall[SourceT, Any], pieces: list[bytes]) -> SourceT:
    """
    Decode the answer of a call, and look for keys that its description lacks, in a sample of them.

    The answer comes in the pieces that were received. They are joined only if there is need.

    Values of another type than described are left out and counted. Raises UpstreamFailure: as
    `check_json` for a body that is no success, and not_json when what is left is no answer.
    """
    kind: Any = call.decoder.type
    place = place_in(kind) if sum(map(len, pieces)) > _LARGE else None
    if place is not None:
        found = _read_apart(kind, place, *take_out(pieces, place.key))
        if found is not None:
            return cast("SourceT", found)
    whole = b"".join(pieces)
    answer: Any = None
    try:
        answer = _decoder_with_error(kind)(whole)
        is_success = getattr(answer, _ERROR, UNSET) is UNSET
    except UNREADABLE:
        is_success = False
    if not is_success:
        # Rare enough to be decoded twice.
        whole = check_json(whole)
        if answer is None:
            answer = read_odd(whole, kind)
    if look := sampled(kind):
        look(whole)
    return cast("SourceT", answer)


def read_answer_in_steps(
    call: FetchCall[SourceT, Any], pieces: list[bytes]
) -> Steps[SourceT | None]:
    """
    Do the same for an answer of lists of numbers, in steps of a bounded time.

    Returns None for any other answer, for an error, and for one with odd values.
    """
    kind: Any = call.decoder.type
    place = place_in(kind)
    if place is None:
        return None
    rest, lists = yield from take_out_in_steps(pieces, place.key)
    if len(rest) > _MOST_REST:
        return None
    return cast("SourceT | None", _read_apart(kind, place, rest, lists))


def _read_apart(
    kind: type[msgspec.Struct], place: Place, rest: bytes, lists: list[memoryview]
) -> msgspec.Struct | None:
    """
    Decode an answer without its lists of numbers, and put them back.

    Returns None for an error, and for an answer that must be decoded as it came.
    """
    try:
        answer: msgspec.Struct = _decoder_with_error(kind)(rest)
    except UNREADABLE:
        return None
    if getattr(answer, _ERROR, UNSET) is not UNSET or not put_back(answer, place, lists):
        return None
    if look := sampled(kind):
        look(rest)
    return answer


@lru_cache(maxsize=64)
def _decoder_with_error(kind: type[msgspec.Struct]) -> Callable[[bytes], Any]:
    """
    Return what decodes an answer together with the error that it may hold under status 200.

    A second decode, which only looks for the error, takes a fifth of the time for an answer of
    vectors.
    """
    if _ERROR not in kind.__struct_fields__:
        fields = [(_ERROR, msgspec.Raw | UnsetType, UNSET)]
        kind = msgspec.defstruct(kind.__name__, fields, bases=(kind,), kw_only=True)
    return msgspec.json.Decoder(kind).decode


def read_odd(
    data: bytes, kind: Any, *, what: str = "its answer", keeps_halves: bool = False
) -> Any:
    """
    Read JSON that its decoder refuses, without its odd values, which are counted.

    `what` names it in an error; for `keeps_halves` see `salvage`.
    Raises UpstreamFailure (not_json).
    """
    try:
        value, odd = salvage(data, kind, keeps_halves=keeps_halves)
    except NotJson as problem:
        raise UpstreamFailure(f"{what} can't be read: {problem}", fault="not_json") from None
    note_odd(kind.__name__, odd)
    return value


def lacks_route(failure: UpstreamFailure, *, names_thing: bool) -> bool:
    """
    Return whether a failure says that LM Studio, or another server, does not have the route.

    LM Studio says so in words with status 200, other servers by status. A 404 says it only where
    the call does not name a thing (a model, a job) that may be missing instead: `names_thing`.
    """
    if failure.fault == "unknown_endpoint" or failure.status in _NO_ROUTE:
        return True
    return failure.status == 404 and not names_thing


_NO_ROUTE = (405, 501)


def drop_hop_by_hop(headers: Headers, also: frozenset[bytes]) -> Headers:
    """Remove headers that concern one connection, including those that `Connection` names."""
    named = {
        token.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for token in value.split(b",")
    }
    dropped = _HOP_BY_HOP | also | named
    return [item for item in headers if item[0].lower() not in dropped]
