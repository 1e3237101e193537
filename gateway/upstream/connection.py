"""
One connection to the upstream: a request out, its answer in, in the callbacks of the event loop.

This module has the flow of bytes in both directions, and the names of failures on an open
connection. `incoming` takes what the parser finds, `dialing` opens connections, `pool` keeps them
for reuse, `exchange` has the time limits, and `answers` interprets bodies.

There are two ways to take an answer's body. `read` waits for the next bytes. `push` passes every
piece to a function in the callback that received it, without a future, a task switch and a chain of
coroutines for each token: these cost more than everything that the gateway does with a token.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import cast

import httptools

from ..wire.encodings import NotPacked, TooLong
from .body import AnswerBody, Headers, TransportFault
from .incoming import IncomingAnswer

MAX_HEAD_BYTES = 64 * 1024
_PIECE_BYTES = 64 * 1024
_FULL_READ_BYTES = 128 * 1024
"""
Bytes of a read after which others come first: there may be more where so much was.

uvloop reads a connection up to 32 times, 256,000 bytes each, before it looks at any other.
"""
_UNPACKED_BYTES = 16 * 1024 * 1024
"""Most bytes that one read of a packed body may hold."""
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


class Connection(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    __slots__ = (
        "__weakref__",
        "_answer",
        "_body",
        "_head_bytes",
        "_head_waiter",
        "_is_paused",
        "_lets_others",
        "_loop",
        "_method",
        "_next",
        "_upload",
        "_watch",
        "_when_lost",
        "_where",
        "_writable",
        "carried",
        "is_lost",
        "may_carry_more",
        "now",
        "when_free",
        "wire",
    )

    wire: asyncio.Transport

    def __init__(self, where: str, when_lost: Callable[[Connection], None]) -> None:
        """`where` names the origin in messages; `when_lost` is called once it has closed."""
        self._where = where
        self._when_lost = when_lost
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._method = ""
        self._answer: IncomingAnswer | None = None
        self._next: IncomingAnswer | None = None
        """Between two answers: what took the last one, and takes the next one."""
        self._body: AnswerBody | None = None
        self._head_waiter: asyncio.Future[tuple[int, Headers]] | None = None
        self._head_bytes = 0
        self._upload: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._is_paused = False
        self._lets_others = False
        self._watch: select.poll | None = None
        """Tells of bytes to read on a system that has `poll`; made when it is first asked."""
        self.when_free: Callable[[Connection], None] | None = None
        """Called when an answer no longer needs the connection."""
        self.is_lost = False
        self.carried = 0
        """Number of requests that were sent on this connection."""
        self.may_carry_more = False
        """Whether the last answer came to its end and left the connection open."""

    @property
    def is_usable(self) -> bool:
        """Whether an idle connection is still open and has no unexpected bytes to read."""
        if self.wire.is_closing():
            return False
        if self._watch is not None:
            return not self._watch.poll(0)
        handle = self.wire.get_extra_info("socket").fileno()
        if handle < 0:
            return False
        if not hasattr(select, "poll"):
            return not select.select([handle], [], [], 0)[0]
        # The transport has its socket as long as it is not closing.
        self._watch = watch = select.poll()
        watch.register(handle, select.POLLIN)
        return not watch.poll(0)

    async def carry(
        self,
        method: str,
        head: bytes,
        content: bytes | AsyncIterable[bytes],
        *,
        is_chunked: bool,
    ) -> tuple[int, Headers, AnswerBody]:
        """
        Send a request and return the answer's status, headers and body, once the head is there.

        `head` is everything before the body; with `is_chunked` the body is sent in chunks.
        `when_free` is called when the body no longer needs the connection. That may be before this
        returns, and always happens when this raises: TransportFault, and what a body raises.
        """
        self.carried += 1
        self.may_carry_more = False
        self._method = method
        answer = self._next
        if answer is None or method == "HEAD":
            self._drop_next()
            answer = IncomingAnswer(method)
        else:
            self._next = None
            answer.begin(method)
        self._answer = answer
        self._body = body = AnswerBody(self)
        self._head_bytes = 0
        self._upload = None
        self._head_waiter = waiter = self._loop.create_future()
        try:
            if self.wire.is_closing():
                self._fail(self._name_loss())
            elif isinstance(content, bytes) and len(content) <= _PIECE_BYTES:
                self.wire.write(head + content)
            else:
                self.wire.write(head)
                pieces = _cut(content) if isinstance(content, bytes) else aiter(content)
                self._upload = asyncio.ensure_future(self._send(pieces, is_chunked=is_chunked))
                self._upload.add_done_callback(self._note_upload)
            # Another answer may come to the same object before this task runs.
            status, headers = await waiter
        except BaseException:
            body.cut()
            raise
        finally:
            # A raised exception holds this frame, which must not hold the exception.
            del waiter
        return status, headers, body

    def abort(self) -> None:
        """Close at once, even during a request; no fault is raised for it."""
        self._let_go()
        self.wire.abort()

    def give_up(self, fault: TransportFault) -> bool:
        """Fail a request whose answer's head has not come; return whether there was one."""
        if self._head_waiter is None:
            return False
        self._fail(fault)
        self.wire.abort()
        return True

    def free(self) -> None:
        """Tell whoever has the connection that its answer does not need it any more."""
        if self.when_free is not None:
            self.when_free(self)

    def close(self) -> None:
        """Close an idle connection."""
        self.wire.close()

    def pause(self) -> None:
        """Stop reading, so that the upstream has to wait."""
        if not self._is_paused:
            self._is_paused = True
            if not self._lets_others:
                self.wire.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._is_paused:
            self._is_paused = False
            if not self._lets_others:
                self.wire.resume_reading()

    # -- the loop's callbacks -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.wire = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and pass on those of the body."""
        answer, body = self._answer, self._body
        if answer is None or body is None:
            self.wire.abort()
            return
        if answer.left:
            self._take_rest(answer, body, data)
            return
        if (alike := body.alike) is not None and alike.take(data):
            now = self.now
            body.waiting_since = now()
            return
        if len(data) >= _FULL_READ_BYTES:
            self._let_others()
        fault = None
        try:
            answer.parser.feed_data(data)
        except httptools.HttpParserError as problem:
            answer.is_kept_alive = False
            if not answer.is_complete:
                fault = TransportFault("bad_http", _describe_malformed(problem))
        except httptools.HttpParserUpgrade:
            answer.is_kept_alive = False
            fault = TransportFault("bad_http", "a change of protocol, which nobody asked for")
        waiter = self._head_waiter
        if waiter is not None and not waiter.done():
            self._head_bytes += len(data)
            if answer.status:
                self._head_waiter = None
                waiter.set_result((answer.status, answer.headers))
            elif fault is None and self._head_bytes > MAX_HEAD_BYTES:
                detail = f"malformed HTTP: a head of more than {MAX_HEAD_BYTES} bytes"
                fault = TransportFault("bad_http", detail)
        looked_at = [] if alike is None else answer.pieces.copy()
        if pieces := answer.pieces:
            whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            if answer.left:
                # They came with the head.
                answer.left -= len(whole)
            if answer.unpacker is not None:
                try:
                    whole = answer.unpacker.feed(whole, _UNPACKED_BYTES)
                except (NotPacked, TooLong):
                    whole, answer.is_kept_alive = b"", False
                    fault = TransportFault("bad_http", "a body that is not packed as stated")
            if whole:
                body.take(whole)
        if alike is not None and not alike.look(data, looked_at):
            body.alike = None
        if answer.unpacker is not None and answer.is_complete and answer.is_cut and fault is None:
            fault = _cut_mid_stream()
        if fault is not None:
            self._fail(fault)
            self.wire.abort()
        elif answer.is_complete:
            self._end(answer, body)

    def _take_rest(self, answer: IncomingAnswer, body: AnswerBody, data: bytes) -> None:
        """Take more of a long body as it was read."""
        if len(data) >= _FULL_READ_BYTES:
            self._let_others()
        if len(data) > answer.left:
            # As the parser finds, after the body is something that nobody asked for.
            data, answer.is_kept_alive = data[: answer.left], False
        answer.left -= len(data)
        answer.is_parsed = False
        body.alike = None
        body.take(data)
        if not answer.left:
            self._end(answer, body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request, or end its answer where the close is the end of the body."""
        self.is_lost = True
        self.may_carry_more = False
        answer, body = self._answer, self._body
        if answer is not None and body is not None:
            if not answer.status:
                self._fail(self._name_loss())
            elif answer.ends_with_the_connection and exc is None and not answer.is_cut:
                answer.is_kept_alive = False
                self._end(answer, body)
            else:
                self._fail(_cut_mid_stream())
        self._let_go()
        self._drop_next()
        self._when_lost(self)

    def pause_writing(self) -> None:
        """Pause an upload."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Resume an upload."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # -- within ---------------------------------------------------------------------------------

    def _let_others(self) -> None:
        """Read on in the next step of the loop only."""
        if not self._lets_others:
            self._lets_others = True
            if not self._is_paused:
                self.wire.pause_reading()
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        self._lets_others = False
        if not self._is_paused and not self.wire.is_closing():
            self.wire.resume_reading()

    @property
    def _is_sent(self) -> bool:
        upload = self._upload
        return upload is None or (
            upload.done() and not upload.cancelled() and upload.exception() is None
        )

    async def _send(self, pieces: AsyncIterator[bytes | memoryview], *, is_chunked: bool) -> None:
        async for piece in pieces:
            if self._writable is not None:
                await self._writable
            if piece:
                self.wire.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)  # type: ignore[str-format]  # it takes any buffer
        if is_chunked:
            self.wire.write(b"0\r\n\r\n")

    def _note_upload(self, upload: asyncio.Future[None]) -> None:
        """Fail a request whose body could not be read from its source."""
        if upload.cancelled() or (problem := upload.exception()) is None:
            return
        if upload is self._upload:
            self._fail(problem)
            self.wire.abort()

    def _end(self, answer: IncomingAnswer, body: AnswerBody) -> None:
        """End the answer, and cancel an upload that is not finished."""
        self.may_carry_more = answer.is_kept_alive and self._is_sent and not self.wire.is_closing()
        if self.may_carry_more and answer.is_parsed:
            self._answer = None
            self._next = answer
        self._let_go()
        if self.may_carry_more:
            self.resume()
        else:
            self.wire.close()
        body.end()

    def _fail(self, problem: BaseException) -> None:
        """Raise a problem for the task that waits for the head or the body."""
        waiter, body = self._head_waiter, self._body
        self._let_go()
        if waiter is not None and not waiter.done():
            waiter.set_exception(problem)
        elif body is not None:
            body.lose(problem if isinstance(problem, TransportFault) else _cut_mid_stream())

    def _let_go(self) -> None:
        if self._answer is not None:
            # The parser and the receiver of its results hold each other.
            del self._answer.parser
        self._answer = self._body = self._head_waiter = None
        if self._upload is not None:
            self._upload.cancel()
            # A failed upload has an exception, which holds the frames of the request.
            self._upload = None

    def _drop_next(self) -> None:
        """Let a parser go that takes no more answers."""
        if self._next is not None:
            del self._next.parser
            self._next = None

    def _name_loss(self) -> TransportFault:
        """
        Name a loss before the answer's head.

        A close that crosses with the request looks like a server that took the request and crashed.
        So only safe methods may be repeated, and only on a connection that had been idle.
        """
        if not self._is_sent:
            detail = f"{self._where} closed the connection while the request was being sent"
            return TransportFault("write", detail)
        return TransportFault(
            "closed_before_headers",
            f"{self._where} closed the connection before answering",
            repeatable=self.carried > 1 and self._method in _SAFE_METHODS,
        )


async def _cut(content: bytes) -> AsyncIterator[memoryview]:
    """Split a large body, so that it is known when its last piece was sent; copy nothing."""
    whole = memoryview(content)
    for start in range(0, len(content), _PIECE_BYTES):
        yield whole[start : start + _PIECE_BYTES]


def _cut_mid_stream() -> TransportFault:
    return TransportFault("closed_mid_stream", "the connection closed in the middle of the answer")


def _describe_malformed(problem: httptools.HttpParserError) -> str:
    """Return the parser's reason or this module's own, which do not quote received bytes."""
    reason = problem.__context__ if isinstance(problem.__context__, ValueError) else problem
    return f"malformed HTTP: {str(reason) or type(reason).__name__}"
