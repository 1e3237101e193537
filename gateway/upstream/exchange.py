"""
One request to LM Studio and its answer, with failures named.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from math import inf
from typing import NoReturn

from ..faults import FaultId, UpstreamFailure, shorten
from ..observability.record import Call, KeptCall
from ..settings.host_keys import UPSTREAM_KEYS, HostKeys
from ..wire.lenient import BOM
from .alike import Alike
from .body import AnswerBody, Headers, Sink, TransportFault
from .connection import Connection
from .stated_errors import (
    describe_body,
    is_unknown_endpoint,
    read_error,
)
from .watch import Watch

MAX_ERROR_BYTES = 1024 * 1024
"""Most bytes that are read of a body that is an error or not readable."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Most bytes of an answer in one piece that is translated, as of an event."""

BLANKS = b" \t\r\n"


class Exchange:
    """
    One request and its answer, with the time limits of both.

    Once the connection is open, the host's `Watch` looks first at the wait for the answer's
    headers, then at the reads. The body only notes when a wait began. When it is looked at, it is
    checked whether that is too long ago.
    """

    status: int
    headers: Headers
    _connection: Connection

    def __init__(
        self,
        first_byte_s: float | None,
        silence_s: float | None,
        keys: HostKeys = UPSTREAM_KEYS,
        watch: Watch | None = None,
    ) -> None:
        """
        Have `watch` keep the limits, in seconds; without it there are none.

        `keys` are the names of the host's settings, for what is said of them.
        """
        self._keys = keys
        self._first_byte_s = first_byte_s
        self._silence_s = silence_s
        self._watch = watch
        self._connected_at = 0.0
        self._body: AnswerBody | None = None
        self._had_byte = False
        self.call: Call | None = None
        """Its span, if the request is traced; it ends when the exchange is closed."""
        self.kept: KeptCall | None = None
        """What the inspector keeps of it, if it does."""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def note_connection(self, connection: Connection) -> None:
        """Start the first-byte limit."""
        self._connection = connection
        # A local name, since an attribute would be looked up among the methods first.
        loop_time = connection.now
        now = self._connected_at = loop_time()
        if self._watch is not None:
            over_at = self._over_at(now, now)
            if over_at < inf:
                self._watch.add(self, over_at)

    async def watch_upload(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Start the first-byte limit anew with every piece."""
        async for piece in body:
            if self._body is None:
                self._connected_at = self._connection.now()
            yield piece

    def take(self, status: int, headers: Headers, body: AnswerBody) -> None:
        """Store the answer once its headers have come; from here on `read` keeps the limits."""
        self.status, self.headers, self._body = status, headers, body

    async def read(self) -> bytes:
        """Return the next bytes of the body, empty at its end. Raises UpstreamFailure."""
        assert self._body is not None
        try:
            data = await self._body.read()
        except TransportFault as fault:
            raise translate(fault) from fault
        self._had_byte = True
        if self.kept is not None:
            self.kept.received.add(data)
        return data

    async def push(self, sink: Sink, alike: Alike | None = None) -> None:
        """
        Pass the rest of the body to `sink` as it arrives, but for chunks that `alike` takes.

        Raises UpstreamFailure.
        """
        assert self._body is not None
        pending = None
        if not self._had_byte:
            first = await self.read()
            pending = sink(first) if first else None
        if self.kept is not None:
            # It keeps bytes as they come.
            sink, alike = self.kept.through(sink), None
        try:
            while True:
                if pending is not None:
                    await pending
                pending = await self._body.push(sink, alike)
                if pending is None:
                    return
        except TransportFault as fault:
            raise translate(fault) from fault

    def stop(self) -> None:
        """Read nothing more: only the body's end can follow."""
        assert self._body is not None
        self._body.stop()

    async def read_rest(self, limit: int | None = None) -> bytes:
        """Return the rest of the body, or its first `limit` bytes and a little more."""
        if limit is None:
            parts = await self.read_pieces()
        else:
            parts = []
            size = 0
            while size < limit and (data := await self.read()):
                parts.append(data)
                size += len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_pieces(self) -> list[bytes]:
        """
        Return the rest of the body in the pieces that were received.

        Raises UpstreamFailure, not_json for more than MAX_ANSWER_BYTES.
        """
        body = self._body
        assert body is not None
        first = await self.read()
        if body.has_ended:
            # Most answers come in one piece. What is held at once is far below the limit.
            return [first] if first else []
        parts = [first]
        left = MAX_ANSWER_BYTES - len(first)

        def take(data: bytes) -> None:
            nonlocal left
            left -= len(data)
            if left < 0:
                what = f"its answer is longer than {MAX_ANSWER_BYTES} bytes"
                raise UpstreamFailure(what, fault="not_json")
            parts.append(data)

        await self.push(take)
        return parts

    async def raise_stated_error(self) -> NoReturn:
        """Raise the error of an answer whose status is not a success, even if it was cut off."""
        status = self.status
        if status < 400:
            found = (value for name, value in self.headers if name.lower() == b"location")
            location = shorten(next(found, b"nowhere").decode("utf-8", "replace"), 200)
            advice = f"set {self._keys.key('url')} to where it leads"
            raise UpstreamFailure(
                f"answered {status}, a redirect to {location}; {advice}", fault="bad_http"
            )
        body = b""
        with suppress(UpstreamFailure):
            while len(body) < MAX_ERROR_BYTES and (data := await self.read()):
                body += data
        stated = read_error(body)
        if stated is None or not stated.message:
            code = None if stated is None else stated.code
            text = body.removeprefix(BOM).strip()
            if text.startswith((b"{", b"[")):
                message = f"status {status} without a message"
            elif not text or text.startswith(b"<"):
                message = f"status {status} with {describe_body(body)}"
            else:
                message = shorten(text.decode("utf-8", "replace"))
            raise UpstreamFailure(
                message, status=status, code=code, is_stated=text.startswith((b"{", b"["))
            )
        fault: FaultId | None = "unknown_endpoint" if is_unknown_endpoint(stated.message) else None
        raise UpstreamFailure(stated.message, status=status, code=stated.code, fault=fault)

    def close(self) -> None:
        """Keep no limit any more, and close the connection unless the body was read to its end."""
        if self._watch is not None:
            self._watch.drop(self)
        if self._body is not None:
            self._body.leave()
        if self.call is not None:
            self.call.end()

    def look(self, now: float) -> float:
        """Fail a wait that is over its limit; return when to look next, `inf` for never."""
        body = self._body
        if body is None:
            since = self._connected_at
        elif body.waiting_since is None:
            since = now
        else:
            since = body.waiting_since if self._had_byte else self._connected_at
        over_at = self._over_at(since, now)
        if now < over_at:
            return over_at
        if self._had_byte:
            assert body is not None
            detail = f"nothing came for {self._silence_s:g} s in the middle of the answer"
            body.interrupt(TransportFault("silence_timeout", detail, timed_out=True))
        elif body is not None:
            body.interrupt(self._first_byte_fault())
        elif not self._connection.give_up(self._first_byte_fault()):
            # The head has come, but its task has not run yet.
            return now
        return inf

    def _over_at(self, since: float, now: float) -> float:
        """Return when a wait is over its limit that began at `since`, or may be."""
        limit_s = self._silence_s if self._had_byte else self._first_byte_s
        over_at = inf if limit_s is None else since + limit_s
        if now < over_at and not self._had_byte and self._silence_s is not None:
            # The first byte starts the other limit, but nobody is told of it.
            over_at = min(over_at, now + self._silence_s)
        return over_at

    def _first_byte_fault(self) -> TransportFault:
        return TransportFault(
            "first_byte_timeout", f"nothing came for {self._first_byte_s:g} s", timed_out=True
        )


def may_repeat(failure: UpstreamFailure) -> bool:
    """Return whether a repeat is harmless and may help: no time limit has run out."""
    cause = failure.__cause__
    return failure.repeatable and not (isinstance(cause, TransportFault) and cause.timed_out)


def translate(fault: TransportFault) -> UpstreamFailure:
    return UpstreamFailure(fault.message, fault=fault.fault, repeatable=fault.repeatable)
