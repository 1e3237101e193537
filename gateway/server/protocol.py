"""
HTTP/1 on a client's connection: bytes become requests, in the order in which they came.

It limits the head of a request and the time that head and body may take, ignores an offer of
HTTP/2, and refuses what is no request. An ASGI application cannot do these things itself.
"""

import asyncio
from collections import deque
from http import HTTPStatus
from typing import Any, ClassVar, cast

from ..settings.schema import LimitSettings, PortSettings
from ..wire.writing import JSON
from .asgi import Scope
from .connection import ClientConnection
from .cycle import Cycle
from .dialects import error_body, is_mounted
from .heads import Head, Known
from .parsing import METHOD, METHODS, SHORT_URL, STAND_IN, Parser, known_url, split_url
from .refusals import Noter, Refusals, refusal_bytes

SLOWEST_BYTES = 1024
"""Bytes of a body that must arrive in each period of `limits.body_s`."""

QUEUED_REQUESTS = 16
"""Requests that are read ahead while one is answered; after that, reading stops until its end."""

HALF_CLOSED_STEPS = 4
"""
Steps of the event loop in which a client still gets an answer after it has said that it sends
nothing more: enough for an answer that waits for nothing.
"""

LINGER_S = 0.5
"""Seconds for a refused client to read the reason, before its unread bytes reset the connection."""


# Large because the loop, the parser and uvicorn call each of its callbacks by name.
class ClientHttp(ClientConnection):
    """One connection of a client."""

    refusals: ClassVar[Refusals] = Refusals()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Accept the arguments that uvicorn gives its protocols."""
        super().__init__(*args, **kwargs)
        self.cycle: Cycle | None = None
        """The last request that was read, perhaps not to its end."""
        self.parser: Parser | None = None
        """Made for the first head that is not known."""
        self.scope: Any = None
        self.headers = Head()
        self.url = b""
        self.has_idle_offer = False
        self._expects_word = False
        """Whether the client waits for the word to send its body."""
        self._is_in_head = True
        self._last_scope: Any = None
        """The last request's; the next one has its own from its first byte, maybe amid a read."""
        self._head_bytes = 0
        """Bytes of the head; in a body, bytes since the last one of its content (trailers)."""
        self._trailers = 0
        self._body_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unanswered: deque[Cycle] = deque()
        """The request that runs and the ones queued for after it; answered ones leave it late."""
        self._queued: deque[Cycle] = deque()
        """The ones that are queued, the next one last."""
        self._refusal = b""
        self._body_left = 0
        """Bytes that are still to come of a body whose head was not parsed, and so it is not."""

    @classmethod
    def limited_by(
        cls, limits: LimitSettings, noter: Noter | None = None, port: PortSettings | None = None
    ) -> "type[ClientHttp]":
        """
        Return a subclass with other limits: uvicorn creates its protocols from a class.

        `noter` notes every request that is refused here. `port` is the further port of connections.
        """
        own = {"limits": limits, "refusals": Refusals(noter), "port": port}
        return type(cls.__name__, (cls,), own)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its base
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time limits, and tell every request that its client has left."""
        self._stop_timer()
        self._queued.clear()
        for cycle in self._unanswered:
            if not cycle.response_complete:
                cycle.leave()
        super().connection_lost(exc)
        self.parser = None  # it and this hold each other

    def eof_received(self) -> bool | None:
        """
        Close the connection, after an answer that is about to be written.

        A client that sends nothing more has left, but `nc -N` also does this, and reads on.
        """
        self._flush_answers()
        if not any(not cycle.response_complete for cycle in self._unanswered):
            return None
        if self.transport.get_extra_info("sslcontext") is not None:
            # TLS ends both directions at once.
            return None
        _close_after(HALF_CLOSED_STEPS, self.loop, self.transport)
        return True

    def shutdown(self) -> None:
        """Close the connection, at once or after the answers to what was asked already."""
        self._flush_answers()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def data_received(self, data: bytes) -> None:
        """Parse bytes, of which those of heads and trailers are limited."""
        if self._refusal:
            return
        if self._body_left:
            self._take_rest(data)
            return
        is_first = self._is_in_head and self.scope is self._last_scope
        method = b""
        if is_first:
            if (known := self.shared.heads.find(data)) is not None:
                self._begin_known(*known)
                return
            if self.parser is None:
                self.parser = Parser(self)
            # Go takes any token for a method; httptools a list of some.
            found = METHOD.match(data)
            method = found[1] if found and found[1] not in METHODS else b""
            self.parser.own_method = method
            if method:
                data = STAND_IN + data[len(method) :]
        if not self._is_in_head:
            self._body_bytes += len(data)
        if self._head_bytes + len(data) <= self.limits.header_bytes:
            self._head_bytes += len(data)
            self._parse(data)
        else:
            self._receive_in_parts(data)
        # Most requests arrive in one read, so there is no time to limit.
        if self._refusal:
            return
        if is_first and self._is_in_head and self.scope is self._last_scope:
            if not method and self.cycle is not None and self.cycle.keep_alive:
                self.shared.heads.keep(data, self.scope, self.url)
        elif not self._is_in_head and self._timer is None:
            self._await_body()
        elif is_first and self._is_in_head and self.scope is not self._last_scope:
            self._await_head()

    def _receive_in_parts(self, data: bytes) -> None:
        """Parse as much as the limit allows at a time: the rest may be a body."""
        start = 0
        while start < len(data) and not self._refusal:
            room = self.limits.header_bytes - self._head_bytes
            if room <= 0:
                self._refuse_head(f"is larger than {self.limits.header_bytes} bytes")
                return
            part = data[start : start + room]
            start += room
            self._head_bytes += len(part)
            self._parse(part)

    def _parse(self, data: bytes) -> None:
        """Parse bytes, and refuse those that are not HTTP."""
        assert self.parser is not None, "it is made for the first byte of the first request"
        self.idle.end()
        if not self.parser.is_http(data):
            kind = b"text/plain; charset=utf-8"
            self._refuse(HTTPStatus.BAD_REQUEST, kind, b"Invalid HTTP request received.")

    def on_message_begin(self) -> None:
        """Begin the scope of a request."""
        self.url = b""
        self._expects_word = False
        self.headers = Head()
        self.scope = self._new_scope(self.headers)

    def on_url(self, part: bytes) -> None:
        """Read a part of the target."""
        self.url += part

    def _new_scope(self, head: Head) -> dict[str, Any]:
        scope = self.blank.copy()
        scope["headers"] = head
        scope["state"] = self.app_state.copy()
        return scope

    def on_header(self, name: bytes, value: bytes) -> None:
        """Read a header, up to the limit on their number; a trailer is counted and dropped."""
        headers = self.headers
        if len(headers) + self._trailers >= self.limits.headers:
            self._refuse_head(f"has more than {self.limits.headers} headers")
        elif self._is_in_head:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self._expects_word = True
            headers.append((name, value))
        else:
            self._trailers += 1

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head has to be read anew without an offer to upgrade."""
        if self._refusal:
            return
        parser = self.parser
        assert parser is not None, "it calls this"
        self.has_idle_offer = False
        if parser.should_upgrade():
            upgrade = next((value for name, value in self.headers if name == b"upgrade"), b"")
            is_h2c = upgrade.strip().lower() == b"h2c"
            self.has_idle_offer = is_h2c or (upgrade != b"" and not is_mounted(self._path))
        if not self.has_idle_offer:
            self._stop_timer()
            self._begin_request(parser)
            self._is_in_head = False
            self._head_bytes = 0

    def _begin_request(self, parser: Parser) -> None:
        """Complete the scope, and start the request's application, or queue it."""
        scope = self.scope
        version = scope["http_version"] = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        url = self.url
        # A query may hold a secret, which is kept no longer than its request.
        is_kept = len(url) <= SHORT_URL and b"?" not in url
        scope["path"], scope["raw_path"], scope["query_string"] = (
            known_url(url) if is_kept else split_url(url)
        )
        self._take_request(
            expects=self._expects_word,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
        )

    def _begin_known(self, known: Known, head: Head, body: bytes) -> None:
        """Begin a request with a head that was read before, and with what is there of its body."""
        self._stop_timer()
        self.idle.end()
        self.has_idle_offer = False
        self.headers = head
        self.url = known.url
        scope = self._new_scope(head)
        scope["method"] = known.method
        scope["path"] = known.path
        scope["raw_path"] = known.raw_path
        scope["query_string"] = known.query
        self.scope = scope
        self._body_left = known.length - len(body)
        if not self._body_left:
            self._last_scope = self.scope
            self._take_request(expects=False, keep_alive=True, body=body)
            return
        self._is_in_head = False
        cycle = self._take_request(expects=False, keep_alive=True)
        if body:
            cycle.take_body(body)
        self._await_body()

    def _take_rest(self, data: bytes) -> None:
        """Take what has arrived of a body that is not parsed."""
        self._body_bytes += len(data)
        piece, rest = data[: self._body_left], data[self._body_left :]
        self._body_left -= len(piece)
        self._reading.take_body(piece)
        if not self._body_left:
            self.on_message_complete()
        if rest:
            self.data_received(rest)

    def _take_request(self, *, expects: bool, keep_alive: bool, body: bytes | None = None) -> Cycle:
        """Start the request of the scope, or queue it; `body` is its whole body if it is there."""
        scope = self.scope
        last = self.cycle
        cycle = self.cycle = Cycle(
            scope,
            self.transport,
            self.flow,
            self.server_state.default_headers,
            self.on_response_complete,
            expects=expects,
            keep_alive=keep_alive,
            body=body,
        )
        unanswered = self._unanswered
        while unanswered and unanswered[0].response_complete:
            unanswered.popleft()
        unanswered.append(cycle)
        if last is None or last.response_complete:
            # A body that is there is whole, and hardly any answer to one is kept.
            judged = scope["headers"].judged if body else None
            is_now = body == b"" or (judged is not None and judged.kept is not None)
            start = self._answer_now if is_now else self._start_task
            self.shared.waves.begin(start, cycle, self.loop)
            return cycle
        self._queued.appendleft(cycle)
        if len(self._queued) > QUEUED_REQUESTS:
            # Otherwise reading goes on, so that a client that leaves is seen.
            self.flow.pause_reading()
        return cycle

    def _start_task(self, cycle: Cycle) -> None:
        """Start a request's application."""
        cycle.run(self.app, self.loop, self.server_state.tasks)

    def _answer_now(self, cycle: Cycle) -> None:
        """Have a request that is whole answered in this step, or start a task for it."""
        answer_now = getattr(self.app, "answer_now", None)
        if answer_now is None or not answer_now(cycle.scope, cycle.answer, cycle.body):
            self._start_task(cycle)

    def on_body(self, body: bytes) -> None:
        """Read a part of the body."""
        self._head_bytes = 0
        if not self._refusal:
            self._reading.take_body(body)

    def on_message_complete(self) -> None:
        """End the request, and count anew for the next one on this connection."""
        if not self.has_idle_offer and not self._refusal:
            self._stop_timer()
            self._is_in_head = True
            self._last_scope = self.scope
            self._head_bytes = self._trailers = 0
            self._reading.end_body()

    @property
    def _reading(self) -> Cycle:
        """The request whose body is being read."""
        assert self.cycle is not None, "a body follows a head"
        return self.cycle

    def on_response_complete(self) -> None:
        """Start the request that is next, or wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._queued:
            self._start_task(self._queued.pop())
            return
        self.idle.begin()

    def _await_head(self) -> None:
        """Start the timer for a head, at the connection's start and at the head's first byte."""
        self._stop_timer()
        if self.limits.header_s:
            self._timer = self.loop.call_later(self.limits.header_s, self._end_head)

    def _end_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            # An earlier request is being answered: the time for this head starts after that.
            self._await_head()
        elif self._head_bytes:
            limit_s = self.limits.header_s
            self._refuse_slow(f"the whole head of the request within {limit_s:g} s", limit_s)
        else:
            self.transport.close()

    def _await_body(self) -> None:
        """Check periodically that the body arrives; not while the application does not read it."""
        self._stop_timer()
        if self.limits.body_s:
            self._body_bytes = 0
            self._timer = self.loop.call_later(self.limits.body_s, self._look_at_body)

    def _look_at_body(self) -> None:
        if self._body_bytes >= SLOWEST_BYTES or self.flow.read_paused:
            self._await_body()
        else:
            self._refuse_slow(
                f"at least {SLOWEST_BYTES} bytes of the body within {self.limits.body_s:g} s"
            )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_head(self, what: str) -> None:
        """Refuse a head: with Go's text, as from Ollama, unless the path has another dialect."""
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        if is_mounted(self._path):
            self._refuse(status, JSON, error_body(self._path, 400, f"the head {what}"))
        else:
            text = f"{status.value} {status.phrase}".encode("ascii")
            self._refuse(status, b"text/plain; charset=utf-8", text)

    def _refuse_slow(self, wanted: str, waited_s: float = 0.0) -> None:
        """Refuse a request that arrives too slowly, for which Ollama has no text."""
        status = HTTPStatus.REQUEST_TIMEOUT
        body = error_body(self._path, status, f"the request arrived too slowly: send {wanted}")
        self._refuse(status, JSON, body, waited_s)

    @property
    def _path(self) -> str:
        return self.url.decode("latin-1")

    def _refuse(self, status: HTTPStatus, kind: bytes, text: bytes, waited_s: float = 0.0) -> None:
        """
        Answer instead of the application, and close the connection.

        The answer belongs to the request that is being read. So it waits for the answers to the
        requests before that one. A request whose own answer has started is cut.
        """
        if self._refusal:
            return
        self._stop_timer()
        # Set at once: what was read in the same piece goes on to be parsed.
        self._refusal = refusal_bytes(status, kind, text, b"")
        if self._is_in_head:
            parser = self.parser
            known: Scope = {
                # The parser has some method before it has read one.
                "method": parser.get_method().decode("ascii") if parser and self.url else "-",
                "path": self._path.partition("?")[0] or "-",
                "headers": self.headers,
                "client": self.client,
            }
            identifier = self.refusals.note(known, status, waited_s)
        else:
            refused = self._reading
            if refused.response_complete:
                self.transport.close()
                return
            if refused.response_started:
                self.transport.abort()
                return
            scope = cast("Scope", refused.scope)
            if self._queued:
                self._queued.popleft()
                identifier = self.refusals.note(scope, status, waited_s)
            else:
                identifier = self.refusals.have_noted(scope, status)
            self._unanswered.pop()
            refused.leave()
        self._refusal = refusal_bytes(status, kind, text, identifier)
        last = self._unanswered[-1] if self._unanswered else None
        if last is None or last.response_complete:
            self._send_refusal()
        else:
            last.on_response = self._send_refusal

    def _send_refusal(self) -> None:
        if self.transport.is_closing():
            return
        self._flush_answers()
        self.transport.write(self._refusal)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _flush_answers(self) -> None:
        for cycle in self._unanswered:
            cycle.flush()


def _close_after(steps: int, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
    if steps:
        loop.call_soon(_close_after, steps - 1, loop, transport)
    else:
        transport.close()
