"""
One request of a client's connection and its answer: the server's side of ASGI.

It does what uvicorn's own class does, with less work for a request: no event until somebody waits,
one check of a whole head instead of two for each header, and a whole answer in one step
(docs/decisions/0040-hot-routes-pass-litestar-by.md). `outlet` joins and frames what is written.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from .outlet import Outlet

_Headers = Iterable[tuple[bytes, bytes]]

_CONTROLS: Final = bytes({*range(32), 127} - set(b"\t\r\n"))
"""What no header may have in it, but for the line breaks, which are counted."""
_BAD_NAME: Final = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_MOST_NAMES: Final = 1000
"""Names of headers that are known to be sound and kept in memory."""
_sound_names: set[bytes] = set()

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS: Final = (204, 304)


class _Defaults:
    """The server's own headers as bytes; it makes a new list of them every second."""

    listed: ClassVar[list[tuple[bytes, bytes]]] = []
    written: ClassVar[bytes] = b""


class Cycle(RequestResponseCycle):
    """A request whose application runs in a task, or waits for that."""

    logger = logging.getLogger("uvicorn.error")
    access_log = False
    disconnected = False
    response_started = False
    response_complete = False
    more_body = True
    chunked_encoding = None
    expected_content_length = 0
    _has_news = False
    """Whether there is something that `receive` has not returned yet."""
    _event: asyncio.Event | None = None
    _when_left: Callable[[], None] | None = None

    def __init__(
        self,
        scope: Any,
        outlet: Outlet,
        flow: FlowControl,
        defaults: list[tuple[bytes, bytes]],
        on_response: Callable[..., None],
        *,
        expects: bool,
        keep_alive: bool,
    ) -> None:
        """
        Take a request whose head is read.

        `defaults` are headers of every answer. `expects` is whether the client waits for the word
        to send its body. `on_response` is called when the answer is complete.
        """
        self.scope = scope
        self.transport = outlet
        self.flow = flow
        self.default_headers = defaults
        self.on_response = on_response
        self.waiting_for_100_continue = expects
        self.keep_alive = keep_alive
        self.body: bytes | bytearray = b""  # type: ignore[assignment]  # most bodies are one piece

    # -- the request ------------------------------------------------------------------------------

    def take_body(self, piece: bytes) -> None:
        """Keep a piece of the body until it is received; a body that nobody reads is dropped."""
        if self.response_complete or self._when_left is not None:
            return
        held = self.body
        if not held:
            self.body = piece
        elif isinstance(held, bytearray):
            held += piece
        else:
            self.body = bytearray(held + piece)
        if len(self.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self._wake()

    def end_body(self) -> None:
        """Note that the request is whole."""
        if not self.response_complete:
            self.more_body = False
            self._wake()

    def leave(self) -> None:
        """Let the application see a client that has left; nothing more is written for it."""
        self.disconnected = True
        self.waiting_for_100_continue = False
        self._wake()
        tell, self._when_left = self._when_left, None
        if tell is not None:
            tell()

    def when_left(self, tell: Callable[[], None] | None) -> None:
        """
        Have a function called once if the client leaves before its answer is complete.

        The application reads no more of the body then. None takes it back. One that has left
        already is told of in the loop's next step.
        """
        if tell is not None and self.disconnected:
            asyncio.get_running_loop().call_soon(self.leave)
        self._when_left = tell

    def _wake(self) -> None:
        self._has_news = True
        if self._event is not None:
            self._event.set()

    async def receive(self) -> Any:
        """Return the next part of the body, or that there is nobody any more: ASGI's `receive`."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(_CONTINUE)
            self.waiting_for_100_continue = False
        while not (self.disconnected or self.response_complete):
            if self.flow.read_paused:
                self.flow.resume_reading()
            if self._has_news:
                self._has_news = False
                body, self.body = self.body, b""
                return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}
            if self._event is None:
                self._event = asyncio.Event()
            self._event.clear()
            await self._event.wait()
        return {"type": "http.disconnect"}

    # -- the answer -------------------------------------------------------------------------------

    def answer(self, status: int, headers: _Headers, body: bytes) -> bool:
        """
        Send a whole answer at once, in one write; `headers` have its length.

        Returns False if the caller must use `send`: the answer has begun, the client is slow or has
        left, or it asked for the head only.
        """
        if (
            self.response_started
            or self.disconnected
            or self.flow.write_paused
            or self.scope["method"] == "HEAD"
        ):
            return False
        head = self._begin(status, headers)
        if self.chunked_encoding or self.expected_content_length != len(body):
            raise RuntimeError("The answer's length is not the one in its head")
        self.transport.write_whole(head + body)  # type: ignore[attr-defined]  # an Outlet
        self._complete()
        return True

    async def send(self, message: Any) -> None:
        """Send one message of the answer: ASGI's `send`."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{kind}'")
            self.transport.write(self._begin(message["status"], message.get("headers", ())))
        elif self.response_complete or kind != "http.response.body":
            raise RuntimeError(f"Unexpected ASGI message '{kind}'")
        else:
            self._write_body(message)

    def _begin(self, status: int, headers: _Headers) -> bytes:
        """Return the head of the answer. Raises RuntimeError for a header that can't be sent."""
        self.response_started = True
        self.waiting_for_100_continue = False
        if self.default_headers is not _Defaults.listed:
            _Defaults.written = b"".join(b"%b: %b\r\n" % item for item in self.default_headers)
            _Defaults.listed = self.default_headers
        parts = [STATUS_LINE[status], _Defaults.written]
        is_closed = False
        for name, value in headers:
            if name not in _sound_names:
                name = _sound(name)
            if name == b"content-length":
                if self.chunked_encoding is None:
                    self.expected_content_length = int(value)
                    self.chunked_encoding = False
            elif name == b"transfer-encoding":
                if value.lower() == b"chunked":
                    self.expected_content_length = 0
                    self.chunked_encoding = True
            elif name == b"connection":
                is_closed = b"close" in [token.strip() for token in value.lower().split(b",")]
                if is_closed:
                    self.keep_alive = False
            parts.append(b"%b: %b\r\n" % (name, value))
        if not self.keep_alive and not is_closed:
            parts.append(b"connection: close\r\n")
        if (
            self.chunked_encoding is None
            and self.scope["method"] != "HEAD"
            and status not in _BODILESS
        ):
            self.chunked_encoding = True
            parts.append(b"transfer-encoding: chunked\r\n")
        parts.append(b"\r\n")
        head = b"".join(parts)
        ends = len(parts) - 1 + len(self.default_headers)
        if (
            head.count(b"\n") != ends
            or head.count(b"\r") != ends
            or len(head.translate(None, _CONTROLS)) != len(head)
        ):
            raise RuntimeError("Invalid HTTP header value")
        return head

    def _write_body(self, message: Any) -> None:
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
        elif self.chunked_encoding:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self.transport.write(data + b"0\r\n\r\n" if is_last else data)
        elif len(body) > self.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        else:
            self.expected_content_length -= len(body)
            self.transport.write(body)
        if is_last:
            if self.expected_content_length:
                raise RuntimeError("Response content shorter than Content-Length")
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self._when_left = None
        self._wake()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _sound(name: bytes) -> bytes:
    if _BAD_NAME.search(name):
        raise RuntimeError("Invalid HTTP header name")
    name = name.lower()
    if len(_sound_names) < _MOST_NAMES:
        _sound_names.add(name)
    return name
