"""
The client's side of one request over ASGI: reading its body, sending the answer, noticing that the
client has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    MutableMapping,
)
from functools import partial
from time import perf_counter_ns
from typing import Any, Protocol, TypeAlias

from ..faults import ClientGone
from ..observability.record import Grant, Record
from ..wire.writing import NDJSON
from .eager_start import start_now
from .heads import Head

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

ExtraHeaders: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Headers that are added to whatever answer follows; names in lower case."""

REQUEST_ID = b"x-request-id"
"""The header with a request's id: clients may send it, and every answer has it."""

Push: TypeAlias = Callable[[bytes], bool]
"""Sends a part of an answer at once, or returns that it must be sent with `send`."""

Answering: TypeAlias = Callable[[int, list[tuple[bytes, bytes]], list[bytes]], bool]
"""
Sends a whole answer at once, or returns that it must be sent with `send`. The body is in parts.
"""


class Server(Protocol):
    """
    What the gateway's server can do with a request beyond ASGI, each in one step.

    The layers in between only need the beginning and the end of an answer, so the tokens in the
    middle of a stream bypass them.
    """

    @property
    def push(self) -> Push:
        """What sends a part of an answer that has started."""

    def answer(
        self, status: int, headers: list[tuple[bytes, bytes]], body: list[bytes | memoryview]
    ) -> bool:
        """Send a whole answer, its body in parts, or return False if `send` must send it."""

    def start(
        self, status: int, headers: list[tuple[bytes, bytes]], part: bytes, *, is_last: bool = False
    ) -> bool:
        """Start an answer with its first part, maybe its last one, or return False."""

    def finish(self, part: bytes) -> bool:
        """End an answer that was started with its last part, or return False."""

    def whole_body(self, most: int) -> bytes | None:
        """Return the whole body if it is there, as most are, and has at most so many bytes."""

    def when_left(self, tell: Callable[[], None] | None) -> None:
        """
        Have a function called if the client leaves before its answer is complete; None for no more.

        The application reads no body after it. A server that can't do this is asked for its next
        message until it says that nobody is there; that takes a task for each request.
        """


SERVER = "olgate.server"
"""The ASGI extension that holds the Server of a request."""

REFUSED = "olgate.refused"
"""
Where the scope has the status with which the server itself has refused a request whose application
runs: nothing that the application sends from there on arrives.
"""

HOST = b"x-olgate-host"
"""In a request, the host that is to serve it. In its answer, the host that did."""

PORT = "olgate.port"
"""
Where the scope has the PortSettings of the further port (`listen.more`) that the request came in
by; missing for the main port.
"""

QUEUED = b"x-olgate-queued-ms"
"""In the answer to a request that waited for a slot: how long, in milliseconds."""

CLIENT = "olgate.client"
"""Where the scope has the AsgiClient. Its `receive` may lead back to the scope."""
_STREAM_HEADERS = [(b"content-type", NDJSON)]
_EVENT_STREAM = b"text/event-stream"


class AsgiClient:
    """
    The client of one request: what it sends, and the only way for an answer to reach it.

    The edge makes it and keeps it in the scope, where endpoints find it (`client_of`). No other
    layer tracks whether the answer has started, who has left, or how the answer ended. HEAD gets
    the headers of GET and no body.
    """

    # What most requests don't read is an attribute of the class: it costs nothing.
    is_gone = False
    held_bytes = 0
    """Bytes of its body that count as held (`bodies`)."""
    is_event_stream = False
    grant: Grant | None = None
    """What its key may do, if the key has a name."""
    admission: Callable[[], Awaitable[Any]] | None = None
    """
    What is asked last before the request is served, if its key has limits: returns the EdgeAnswer
    that refuses it, or None.
    """
    served_by = ""
    """The name of the host that serves it, which the answer's start tells; empty for none."""
    _headers: tuple[tuple[bytes, bytes], ...] = ()

    def __init__(self, scope: Scope, receive: Receive, send: Send, record: Record) -> None:
        """Speak over a server's `receive` and `send`; `record` gets the times and the kind."""
        scope[CLIENT] = self
        self._receive = receive
        self._send = send
        self.record = record
        self.extra_headers: ExtraHeaders = ((REQUEST_ID, record.id.encode("ascii")),)
        extensions = scope.get("extensions")
        self._server: Server | None = extensions.get(SERVER) if extensions else None
        self._is_head = scope["method"] == "HEAD"
        self.status: int | None = None
        self.outcome = "cut"
        """`complete`, `left` when the client was gone before that, else `cut`."""
        self.is_started = False
        self.pinned: str | None = None
        """The name of the only host that may serve the request, None for any."""
        self._push: Push | None = None
        self._early: asyncio.Future[None] | None = None

    def whole_body(self, most: int) -> bytes | None:
        """
        Return the whole body if it is there and has at most `most` bytes.

        None if it has to be received, or the server can't tell.
        """
        return None if self._server is None else self._server.whole_body(most)

    async def receive(self) -> Message:
        """Return the next message of the request: ASGI's `receive` for the application."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and self.outcome == "cut":
            self.outcome = "left"
        return message

    async def send(self, message: Message) -> None:
        """
        Send one message of an answer: ASGI's `send` for the application.

        Raises RuntimeError for a second start.
        """
        if message["type"] == "http.response.start":
            headers = message.get("headers", ())
            kinds = (value for name, value in headers if name == b"content-type")
            self._note_start(int(message["status"]), next(kinds, b""))
            message["headers"] = [
                *(item for item in headers if item[0] != REQUEST_ID),
                *self.extra_headers,
            ]
        elif self.record.first_ns is None and message.get("body"):
            self.record.first_ns = perf_counter_ns()
        await self._send(message)
        ends = message["type"] == "http.response.body" and not message.get("more_body", False)
        if ends and self.outcome == "cut":
            self.outcome = "complete"

    def start_after(self, seconds: float) -> None:
        """Start a streamed answer by itself after a time, unless an answer has started."""
        self._early = asyncio.ensure_future(self._start_early(seconds))

    def stop_waiting(self) -> None:
        """Cancel `start_after`."""
        if self._early is not None:
            self._early.cancel()
            self._early = None

    def leave(self) -> None:
        """Note that the client has left: nothing that is sent from here on arrives."""
        self.is_gone = True
        if self.outcome == "cut":
            self.outcome = "left"

    def watch(self, end: Callable[[], None], receive: Receive) -> Callable[[], None]:
        """
        Have `end` called when the client leaves; return the function that stops this.

        `receive` returns the messages after the body, for a server that does not tell by itself.
        """
        if (server := self._server) is not None:
            server.when_left(end)
            return partial(server.when_left, None)

        def tell(_: asyncio.Future[None]) -> None:
            end()

        def stop() -> None:
            asking.remove_done_callback(tell)
            asking.cancel()

        asking = asyncio.ensure_future(_gone(receive))
        asking.add_done_callback(tell)
        return stop

    def add_header(self, name: str, value: str) -> None:
        """Add a header to an answer that has not started yet."""
        self._headers += ((name.encode("ascii"), value.encode("latin-1", "replace")),)

    async def answer(
        self, status: int, content_type: bytes, body: bytes | list[bytes | memoryview]
    ) -> None:
        """Send a whole answer, whose body may be in parts."""
        parts: list[bytes | memoryview] = [body] if isinstance(body, bytes) else body
        if self._early is not None:
            await self._settle()
        headers = [(b"content-type", content_type)] if content_type else []
        if self._server is not None and not self.is_started:
            told = self._told(headers)
            if self._server.answer(status, [*told, *self.extra_headers], parts):
                self._note_start(status, content_type)
                if body and self.record.first_ns is None:
                    self.record.first_ns = perf_counter_ns()
                if self.outcome == "cut":
                    self.outcome = "complete"
                return
        body = b"".join(parts)
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.send(
            {
                "type": "http.response.body",
                "body": b"" if self._is_head else body,
                "more_body": False,
            }
        )

    def push(self, part: bytes) -> Awaitable[None] | None:
        """
        Send a part of a streamed answer; the first part starts an NDJSON answer with status 200.

        The caller must await a returned awaitable before it sends anything more.
        """
        push = self._push
        if push is not None:
            if push(part):
                return None
        elif not self.is_started and self._early is None and self._start_with(part):
            return None
        return start_now(self._send_part(part))

    def push_if_idle(self, part: bytes) -> bool:
        """
        Send a part of a started answer, unless the client is slow or has left.

        Returns whether it was sent. Nothing waits for it.
        """
        return self._push is not None and self._push(part)

    async def finish(self, lines: bytes = b"") -> None:
        """End a streamed answer, its last lines in the same write: each is a system call."""
        if self._early is not None:
            await self._settle()
        if not self.is_started:
            if self._start_with(lines, is_last=True):
                self.outcome = "complete"
                return
            await self.start(200, _STREAM_HEADERS)
        if self._server is not None and self._server.finish(lines):
            if lines and self.record.first_ns is None:
                self.record.first_ns = perf_counter_ns()
            if self.outcome == "cut":
                self.outcome = "complete"
            return
        await self.send({"type": "http.response.body", "body": lines, "more_body": False})

    def _start_with(self, part: bytes, *, is_last: bool = False) -> bool:
        """Start an NDJSON answer with its first part at once, or return that it must be sent."""
        server = self._server
        if server is None:
            return False
        told = self._told(_STREAM_HEADERS)
        if not server.start(200, [*told, *self.extra_headers], part, is_last=is_last):
            return False
        self._note_start(200, NDJSON)
        if part and self.record.first_ns is None:
            self.record.first_ns = perf_counter_ns()
        self._push = server.push
        return True

    async def _send_part(self, part: bytes) -> None:
        if self._early is not None:
            await self._settle()
        if not self.is_started:
            await self.start(200, _STREAM_HEADERS)
        await self.send({"type": "http.response.body", "body": part, "more_body": True})
        if self._server is not None:
            self._push = self._server.push

    async def _start_early(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if not self.is_started and not self.is_gone:
            await self.start(200, _STREAM_HEADERS)

    async def _settle(self) -> None:
        """Let the early start happen completely or not at all."""
        early, self._early = self._early, None
        if early is not None and self.is_started:
            await early
        elif early is not None:
            early.cancel()

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Start an answer whose body follows with `push` and `finish`."""
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": self._told(headers),
            }
        )

    def _told(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return the headers of an answer with those that were added to it."""
        if self.served_by:
            headers = [*headers, *self._headers, (HOST, self.served_by.encode("ascii", "replace"))]
        elif self._headers:
            headers = [*headers, *self._headers]
        if self.record.queued_ns is not None:
            queued_ms = max(1, self.record.queued_ns // 1_000_000)
            headers = [*headers, (QUEUED, b"%d" % queued_ms)]
        return headers

    def _note_start(self, status: int, content_type: bytes) -> None:
        if self.is_started:
            raise RuntimeError("the answer has already started")
        self.is_started = True
        self.status = status
        record = self.record
        if content_type.startswith(_EVENT_STREAM):
            self.is_event_stream = record.is_stream = True
        elif content_type.startswith(NDJSON):
            record.is_stream = True
        if record.is_stream and record.observer is not None:
            record.observer.running_streams += 1


def client_of(scope: Scope) -> AsgiClient:
    """Return the client of the request that a scope is of."""
    client: AsgiClient = scope[CLIENT]
    return client


def header(scope: Scope, name: bytes) -> str:
    """Return a request header, "" if it is missing."""
    headers = scope["headers"]
    if type(headers) is Head:
        return headers.text(name)
    for key, value in headers:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""


async def body_pieces(receive: Receive) -> AsyncIterator[bytes]:
    """
    Yield the pieces of the client's body as they arrive, without storing them.

    Raises ClientGone.
    """
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if piece := message.get("body", b""):
            yield piece
        if not message.get("more_body", False):
            return


class Incoming:
    """
    A request's messages, split in two: the body for its reader, and the rest for `while_connected`.

    Otherwise each of the two could receive the other's messages.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_read = False
        self._when_read: Callable[[], None] | None = None

    async def receive(self) -> Message:
        """Return the next message of the body."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._is_read = True
            if self._when_read is not None:
                self._when_read()
        return message

    def pieces(self) -> AsyncIterator[bytes]:
        """Return the pieces of the body, as `body_pieces` yields them."""
        return body_pieces(self.receive)

    def when_read(self, act: Callable[[], None] | None) -> None:
        """Have a function called when the body is read, or now if it is; None takes it back."""
        self._when_read = act
        if act is not None and self._is_read:
            act()

    async def rest(self) -> Message:
        """Return the next message after the body."""
        return await self._receive()


async def while_connected(
    work: Coroutine[Any, Any, None],
    client: AsgiClient,
    incoming: Incoming | None = None,
) -> None:
    """
    Run `work` and cancel it at once if the client leaves; the client is told of it before that.

    A server's `send` does not report that a client has left. The work stays in the request's task:
    another task would cost more than the watching. Work that reads the body does so from
    `incoming`, and learns from that whether the client leaves amid it.
    """
    task = asyncio.current_task()
    assert task is not None
    has_left = False
    stop: Callable[[], None] | None = None

    def end() -> None:
        nonlocal has_left
        has_left = True
        client.leave()
        task.cancel()

    if incoming is None:
        stop = client.watch(end, client.receive)
    else:
        rest = incoming.rest

        def start() -> None:
            nonlocal stop
            if stop is None:
                stop = client.watch(end, rest)

        incoming.when_read(start)
    try:
        await work
    except asyncio.CancelledError:
        # A cancellation from elsewhere, such as the server's at shutdown, must not be swallowed.
        if not has_left or task.cancelling() > 1:
            raise
    finally:
        if incoming is not None:
            incoming.when_read(None)
        if stop is not None:
            stop()
        if has_left:
            task.uncancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
