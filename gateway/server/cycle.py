"""
One request of a client's connection and its answer: the server's side of ASGI.

It does what uvicorn's own class does, with less work for a request: no event until somebody waits,
one check of a whole head instead of two for each header, and a whole answer in one step
(docs/decisions/0040-hot-routes-pass-litestar-by.md). `outlet` has how it is written.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection
from contextvars import copy_context
from http import HTTPStatus
from typing import Any, ClassVar, Final

from ..observability.journal import get_logger
from ..wire.writing import NDJSON
from .asgi import SERVER
from .eager_start import start_now
from .flow import READ_AHEAD_BYTES, Flow
from .outlet import Outlet

_Headers = Collection[tuple[bytes, bytes]]

_SOUND_VALUE: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*+")
_BAD_NAME: Final = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_MOST_NAMES: Final = 1000
"""Names of headers that are known to be sound and kept in memory."""
_sound_names: set[bytes] = set()

_OFTEN: Final = frozenset((b"content-type", b"vary", b"cache-control", b"x-olgate-host"))
"""Headers with few values, which other ones are not."""
_MOST_LINES: Final = 500
"""Lines of headers that are kept as they are written."""
_lines: dict[tuple[bytes, bytes], bytes] = {}

_FRAMING: Final = (b"content-length:", b"transfer-encoding:", b"connection:")
_CLOSE: Final = b"connection: close\r\n"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS: Final = (204, 304)
_COPIED_BYTES: Final = 64 * 1024
"""A body of as many bytes is sent from where it is, and not copied to stand after the head."""
_OF_LINES: Final = (b"content-type", NDJSON)


_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii")
    for status in HTTPStatus
}
_FAILED: Final = b"Internal Server Error"
_OF_FAILED: Final = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_FAILED)),
    (b"connection", b"close"),
)


class _Defaults:
    """The server's own headers as bytes; it makes a new list of them every second."""

    listed: ClassVar[list[tuple[bytes, bytes]]] = []
    written: ClassVar[bytes] = b""


class Cycle(Outlet):
    """A request whose application runs in a task, or waits for that."""

    expected_content_length = 0
    _event: asyncio.Event | None = None

    def __init__(
        self,
        scope: Any,
        transport: asyncio.Transport,
        flow: Flow,
        defaults: list[tuple[bytes, bytes]],
        on_response: Callable[..., None],
        *,
        expects: bool,
        keep_alive: bool,
        body: bytes | None = None,
    ) -> None:
        """
        Take a request whose head is read, and add what this server can do to its scope.

        `defaults` are headers of every answer. `expects` is whether the client waits for the word
        to send its body. `on_response` is called when the answer is complete. `body` is the whole
        body if it is there already.
        """
        self.scope = scope
        self.transport = transport
        self.flow = flow
        self.default_headers = defaults
        self.on_response = on_response
        self.waiting_for_100_continue = expects
        self.keep_alive = keep_alive
        self.body: bytes | bytearray = body or b""
        self.more_body = body is None
        self._has_news = body is not None
        """Whether there is something that `receive` has not returned yet."""
        # Set here and not for the class, which Python would search each time.
        self.disconnected = self.response_started = self.response_complete = False
        self.chunked_encoding = None
        self.is_plain = scope["http_version"] == "1.0"
        self.is_lines = False
        self._head = b""
        self._when_left: Callable[[], None] | None = None
        scope["extensions"] = {SERVER: self}

    # -- the application --------------------------------------------------------------------------

    def run(
        self, app: Any, loop: asyncio.AbstractEventLoop, tasks: set[asyncio.Task[None]]
    ) -> None:
        """Run an application for the request in a task, which `tasks` has until its end."""
        context = copy_context()
        task = loop.create_task(app(self.scope, self.receive, self.send), context=context)
        tasks.add(task)
        self._tasks = tasks
        task.add_done_callback(self._end, context=context)

    def _end(self, task: asyncio.Task[None]) -> None:
        """Answer in place of an application that has failed to."""
        self._tasks.discard(task)
        try:
            task.result()
        except asyncio.CancelledError:
            self._give_up()
        except BaseException:
            log = get_logger()
            log.exception("an application has failed (internal error)", path=self.scope["path"])
            self._give_up()
        else:
            if not (self.response_complete or self.disconnected):
                log = get_logger()
                log.error("an application has not answered", path=self.scope["path"])
                self._give_up()
        # It holds the connection.
        self.on_response = _do_nothing

    def _give_up(self) -> None:
        """Answer that the server has failed, where that can be done, and close the connection."""
        is_lost = self.response_started or self.disconnected
        # It waits for a client that does not even read the answers before this one.
        if is_lost or start_now(self._send_failure()) is not None:
            self.close()

    async def _send_failure(self) -> None:
        await self.send({"type": "http.response.start", "status": 500, "headers": _OF_FAILED})
        await self.send({"type": "http.response.body", "body": _FAILED})

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
        if len(self.body) > READ_AHEAD_BYTES:
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

    def whole_body(self, most: int) -> bytes | None:
        """
        Return the body if all of it is there and has at most `most` bytes.

        None if it must be received: it may be longer, be awaited, or be cut.
        """
        body = self.body
        if (
            self.more_body
            or not self._has_news
            or self.disconnected
            or self.response_complete
            or len(body) > most
        ):
            return None
        if self.flow.read_paused:
            self.flow.resume_reading()
        self._has_news = False
        self.body = b""
        return bytes(body)

    async def receive(self) -> Any:
        """Return the next part of the body, or that there is nobody any more: ASGI's `receive`."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.write(_CONTINUE)
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

    def answer(self, status: int, headers: _Headers, body: list[bytes | memoryview]) -> bool:
        """
        Send a whole answer at once, in one write; `headers` say nothing of how the body is framed,
        which is in parts.

        Returns False if the caller must use `send`: the answer has begun, the client is slow or has
        left, or it asked for the head only.
        """
        if self._must_send() or self.response_started:
            return False
        self.response_started = True
        self.waiting_for_100_continue = False
        parts: list[bytes | memoryview] = [_status_line(status), _written(self.default_headers)]
        parts += [_lines.get(item) or _line_of(item) for item in headers]
        if not self.keep_alive:
            parts.append(_CLOSE)
        size = len(body[0]) if len(body) == 1 else sum(map(len, body))
        parts.append(b"content-length: %d\r\n\r\n" % size)
        if size < _COPIED_BYTES:
            self.write(b"".join(parts + body))
        elif not self.transport.is_closing():
            self.transport.writelines([b"".join(parts), *body])
        self._complete()
        return True

    def start(self, status: int, headers: _Headers, part: bytes, *, is_last: bool = False) -> bool:
        """
        Start an answer of unknown length with its first part at once, in one write.

        Returns False if the caller must use `send`, as for `answer`, or for a client of HTTP/1.0.
        """
        if self._must_send() or self.response_started or self.is_plain:
            return False
        self.write(self._begin(status, headers) + self.framed(part, is_last=is_last))
        if is_last:
            self._complete()
        return True

    def finish(self, part: bytes) -> bool:
        """
        End an answer of unknown length with its last part at once.

        Returns False if the caller must use `send`: the client is slow or has left, or there is no
        such answer.
        """
        if self._must_send() or not self.chunked_encoding or self.response_complete:
            return False
        self.write(self.framed(part, is_last=True))
        self._complete()
        return True

    def _must_send(self) -> bool:
        return self.disconnected or self.flow.write_paused or self.scope["method"] == "HEAD"

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
            self.hold(self._begin(message["status"], message.get("headers", ())))
        elif self.response_complete or kind != "http.response.body":
            raise RuntimeError(f"Unexpected ASGI message '{kind}'")
        else:
            self._write_body(message)

    def _begin(self, status: int, headers: _Headers) -> bytes:
        """Return the head of the answer. Raises RuntimeError for a header that can't be sent."""
        self.response_started = True
        self.waiting_for_100_continue = False
        parts = [_status_line(status), _written(self.default_headers)]
        is_closed = False
        for item in headers:
            line = _lines.get(item)
            if line is None:
                # What comes often says nothing of the framing.
                line = _line_of(item)
                if line.startswith(_FRAMING):
                    is_closed = self._note_framing(*item) or is_closed
            parts.append(line)
        if not self.keep_alive and not is_closed:
            parts.append(_CLOSE)
        if (
            self.chunked_encoding is None
            and self.scope["method"] != "HEAD"
            and status not in _BODILESS
        ):
            self.chunked_encoding = True
            self.is_lines = _OF_LINES in headers
            if not self.is_plain:
                parts.append(b"transfer-encoding: chunked\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    def _note_framing(self, name: bytes, value: bytes) -> bool:
        """Note what a header says of the body's end; return whether it closes the connection."""
        name = name.lower()
        if name == b"content-length":
            if self.chunked_encoding is None:
                self.expected_content_length = int(value)
                self.chunked_encoding = False
        elif name == b"transfer-encoding":
            if value.lower() == b"chunked":
                self.expected_content_length = 0
                self.chunked_encoding = True
        elif name == b"connection" and b"close" in map(bytes.strip, value.lower().split(b",")):
            self.keep_alive = False
            return True
        return False

    def _write_body(self, message: Any) -> None:
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
        elif self.chunked_encoding:
            self.write(self.framed(body, is_last=is_last))
        elif len(body) > self.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        else:
            self.expected_content_length -= len(body)
            self.write(body)
        if is_last:
            if self.expected_content_length:
                raise RuntimeError("Response content shorter than Content-Length")
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self._when_left = None
        self._wake()
        if not self.keep_alive:
            self.close()
        self.on_response()


def _do_nothing() -> None:
    """Take the place of what is called when an answer is complete."""


def _status_line(status: int) -> bytes:
    """Return the first line of an answer; a status that HTTP has no words for has none."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def _written(defaults: list[tuple[bytes, bytes]]) -> bytes:
    """Return the server's own headers as they are written."""
    if defaults is not _Defaults.listed:
        _Defaults.written = b"".join(b"%b: %b\r\n" % item for item in defaults)
        _Defaults.listed = defaults
    return _Defaults.written


def _line_of(item: tuple[bytes, bytes]) -> bytes:
    """Return the line of a header. Raises RuntimeError for one that can't be sent."""
    name, value = item
    if name not in _sound_names:
        name = _sound(name)
    # Most values have nothing but what is printed, which takes a pattern longer to find.
    is_printed = value.isascii() and str(value, "ascii").isprintable()
    if not is_printed and not _SOUND_VALUE.fullmatch(value):
        raise RuntimeError("Invalid HTTP header value")
    line = b"%b: %b\r\n" % (name, value)
    if name in _OFTEN and len(_lines) < _MOST_LINES:
        _lines[item] = line
    return line


def _sound(name: bytes) -> bytes:
    if _BAD_NAME.search(name):
        raise RuntimeError("Invalid HTTP header name")
    name = name.lower()
    if len(_sound_names) < _MOST_NAMES:
        _sound_names.add(name)
    return name
