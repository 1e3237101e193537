"""
The client's side of one request over ASGI: reading its body, sending the answer, noticing that the
client has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from time import perf_counter_ns
from typing import Any, TypeAlias

from ..faults import ClientGone
from ..observability.record import Grant, Record
from ..wire.writing import NDJSON
from .eager_start import start_now

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


SERVER_PUSH = "olgate.push"
"""
The ASGI extension that holds the server's Push.

The layers in between only need the beginning and the end of an answer, so the tokens in the middle
of a stream bypass them.
"""

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

    def __init__(self, scope: Scope, receive: Receive, send: Send, record: Record) -> None:
        """Speak over a server's `receive` and `send`; `record` gets the times and the kind."""
        scope[CLIENT] = self
        self._receive = receive
        self._send = send
        self.record = record
        self.extra_headers: ExtraHeaders = ((REQUEST_ID, record.id.encode("ascii")),)
        self.status: int | None = None
        self.outcome = "cut"
        """`complete`, `left` when the client was gone before that, else `cut`."""
        self._push: Push | None = None
        self._server_push: Push | None = scope.get("extensions", {}).get(SERVER_PUSH)
        self._is_head = scope["method"] == "HEAD"
        self._headers: list[tuple[bytes, bytes]] = []
        self.is_started = False
        self.is_gone = False
        self.held_bytes = 0
        """Bytes of its body that count as held (`bodies`)."""
        self.is_event_stream = False
        self.grant: Grant | None = None
        """What its key may do, if the key has a name."""
        self.admission: Callable[[], Awaitable[Any]] | None = None
        """
        What is asked last before the request is served, if its key has limits: returns the
        EdgeAnswer that refuses it, or None.
        """
        self.pinned: str | None = None
        """The name of the only host that may serve the request, None for any."""
        self.served_by = ""
        """The name of the host that serves it, which the answer's start tells; empty for none."""
        self._early: asyncio.Future[None] | None = None

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
            self._note_start(message)
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

    def add_header(self, name: str, value: str) -> None:
        """Add a header to an answer that has not started yet."""
        self._headers.append((name.encode("ascii"), value.encode("latin-1", "replace")))

    async def answer(self, status: int, content_type: bytes, body: bytes) -> None:
        """Send a whole answer."""
        if self._early is not None:
            await self._settle()
        length = (b"content-length", str(len(body)).encode("ascii"))
        typed = [(b"content-type", content_type)] if content_type else []
        await self.start(status, [*typed, length])
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
        if push is not None and push(part):
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
            await self.start(200, _STREAM_HEADERS)
        await self.send({"type": "http.response.body", "body": lines, "more_body": False})

    async def _send_part(self, part: bytes) -> None:
        if self._early is not None:
            await self._settle()
        if not self.is_started:
            await self.start(200, _STREAM_HEADERS)
        await self.send({"type": "http.response.body", "body": part, "more_body": True})
        self._push = self._server_push

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
        if self.served_by:
            self._headers.append((HOST, self.served_by.encode("ascii", "replace")))
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, *self._headers],
            }
        )

    def _note_start(self, message: Message) -> None:
        if self.is_started:
            raise RuntimeError("the answer has already started")
        self.is_started = True
        self.status = int(message["status"])
        headers: list[tuple[bytes, bytes]] = []
        record = self.record
        for name, value in message.get("headers", ()):
            if name != REQUEST_ID:
                headers.append((name, value))
            if name == b"content-type":
                self.is_event_stream = value.startswith(_EVENT_STREAM)
                record.is_stream = self.is_event_stream or value.startswith(NDJSON)
        message["headers"] = [*headers, *self.extra_headers]
        if record.observer is not None:
            record.observer.running_streams += record.is_stream


def client_of(scope: Scope) -> AsgiClient:
    """Return the client of the request that a scope is of."""
    client: AsgiClient = scope[CLIENT]
    return client


def header(scope: Scope, name: bytes) -> str:
    """Return a request header, "" if it is missing."""
    for key, value in scope["headers"]:
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
        self._body_is_read = asyncio.Event()

    async def receive(self) -> Message:
        """Return the next message of the body."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._body_is_read.set()
        return message

    def pieces(self) -> AsyncIterator[bytes]:
        """Return the pieces of the body, as `body_pieces` yields them."""
        return body_pieces(self.receive)

    async def wait(self) -> Message:
        """Return the next message after the body."""
        await self._body_is_read.wait()
        return await self._receive()


async def while_connected(
    work: Coroutine[Any, Any, None], receive: Receive, leave: Callable[[], None]
) -> None:
    """
    Run `work` and cancel it at once if the client leaves; `leave` is called before that.

    A server's `send` does not report that a client has left, so the messages are watched while the
    work runs. The work stays in the request's task: another task would cost more than the watching.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    assert task is not None
    has_left = False

    def end(_: asyncio.Future[None]) -> None:
        nonlocal has_left
        has_left = True
        leave()
        task.cancel()

    watch = loop.create_task(_gone(receive))
    watch.add_done_callback(end)
    try:
        await work
    except asyncio.CancelledError:
        # A cancellation from elsewhere, such as the server's at shutdown, must not be swallowed.
        if not has_left or task.cancelling() > 1:
            raise
    finally:
        watch.remove_done_callback(end)
        watch.cancel()
        if has_left:
            task.uncancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
