"""
The translation of one streamed answer: it takes LM Studio's events and sends lines to the client.

This module does the work for every token; the relay does the work that is needed once in a request.
It runs in the callback that received the bytes, up to the client's socket.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from msgspec import UNSET

from gateway.faults import UpstreamFailure
from gateway.observability.record import current, sampled
from gateway.runtime.context import RequestContext
from gateway.runtime.outcome import StreamCall, Translator
from gateway.upstream.answers import EventStream
from gateway.upstream.sse import Event
from gateway.upstream.stated_errors import read_error
from gateway.wire.client_api import ClientApi
from gateway.wire.lenient import UNREADABLE
from gateway.wire.times import utc_text

DONE = b"[DONE]"


class Lines(Protocol):
    """The receiver of a stream's lines."""

    def push(self, part: bytes) -> Awaitable[None] | None:
        """
        Send one or more lines of a streamed answer; the first ones start it.

        The caller must await a returned awaitable before it sends anything more.
        """


class Frames:
    """
    Translates one stream and sends its frames, or folds them for a client that wants one answer.

    `look_at_first` is called with the first chunk before it is translated, and may raise a refusal.
    """

    __slots__ = (
        "_api",
        "_client",
        "_context",
        "_decoder",
        "_encode_lines",
        "_events",
        "_fold",
        "_is_first",
        "_is_watched",
        "_last_data",
        "_look_at_first",
        "_look_at_keys",
        "_translator",
        "_unsent",
    )

    def __init__(
        self,
        call: StreamCall[Any, Any],
        context: RequestContext,
        events: EventStream,
        client: Lines,
        api: ClientApi,
        look_at_first: Callable[[Any], None],
    ) -> None:
        self._context = context
        self._events = events
        self._client = client
        self._api = api
        self._encode_lines = api.encode_lines
        self._look_at_first = look_at_first
        self._decoder = call.chunks
        self._translator: Translator[Any, Any] = call.translator()
        self._fold = None if call.streamed else call.fold()
        self._is_first = self._is_watched = True
        self._unsent = b""
        # In a sample of the streams, and there the first and last event: all have the same keys.
        self._look_at_keys = sampled(call.chunks.type)
        self._last_data = b""

    async def run(self) -> tuple[bytes, Any]:
        """
        Translate the stream to its end, and send all frames but the last.

        Return the lines that are not sent yet, with the last one, and None; for a client that wants
        one answer, return no lines and that answer. Raises UpstreamFailure after all earlier frames
        are sent.
        """
        events = self._events
        if events.one_shot is not None:
            # The whole answer is the only chunk.
            events.put_back([Event("", events.one_shot)])
        await events.each(self._take)
        self._context.now = utc_text(time.time_ns())
        try:
            last = self._end()
        except UpstreamFailure:
            if self._unsent and (pending := self._client.push(self._unsent)) is not None:
                await pending
            raise
        if self._look_at_keys is not None and self._last_data:
            self._look_at_keys(self._last_data)
        current().note_counts(self._api.counts, last, self._translator)
        if self._fold is None:
            return self._unsent + self._api.encode_line(last), None
        self._fold.add(last)
        return b"", self._fold.result(last)

    def _take(self, batch: list[Event]) -> Awaitable[None] | None:
        """Translate the events of one read, and send their frames in one piece."""
        # One function, because every token passes here and each function call costs time.
        # All events of one read share a timestamp.
        self._context.now = utc_text(time.time_ns())
        frames: list[Any] = []
        keep = frames.append if self._fold is None else self._fold.add
        try:
            for event in batch:
                data = event.data
                if data == DONE:
                    # Frames that arrived with the end are sent with the last frame.
                    self._unsent = self._encode_lines(frames)
                    self._events.stop()
                    return None
                if event.name == "error":
                    raise _stated(data)
                try:
                    chunk = self._decoder.decode(data)
                except UNREADABLE as error:
                    raise UpstreamFailure(
                        f"an event of its stream can't be read: {error}", fault="not_json"
                    ) from error
                # An error may come without its event line (docs/facts/lmstudio.md#stream-errors).
                if chunk.error is not UNSET and bytes(chunk.error) != b"null":
                    raise _stated(data)
                if self._is_watched:
                    self._watch(chunk, data)
                frame = self._translator.chunk(chunk)
                if frame is not None:
                    keep(frame)
        except UpstreamFailure as failure:
            if not frames:
                raise
            # The client still gets the frames before it in the same read.
            if (pending := self._client.push(self._encode_lines(frames))) is None:
                raise
            return _fail_after(pending, failure)
        return self._client.push(self._encode_lines(frames)) if frames else None

    def _watch(self, chunk: Any, data: bytes) -> None:
        """Check the first chunk, and remember the last. Raises whatever `look_at_first` raises."""
        self._last_data = data
        if self._is_first:
            self._look_at_first(chunk)
            self._is_first = False
            self._is_watched = self._look_at_keys is not None
            if self._look_at_keys is not None:
                self._look_at_keys(data)

    def _end(self) -> Any:
        """Return the last frame. Raises UpstreamFailure for an incomplete stream."""
        if self._translator.complete:
            return self._translator.end()
        if self._events.one_shot is not None:
            raise UpstreamFailure("it answered with JSON that is not an answer", fault="not_sse")
        raise UpstreamFailure(
            "its stream ended without saying that the answer is complete",
            fault="empty" if self._is_first else "closed_mid_stream",
        )


async def _fail_after(sending: Awaitable[None], failure: UpstreamFailure) -> None:
    try:
        await sending
        raise failure
    finally:
        # A raised exception holds this frame, which must not hold the exception.
        del failure


def _stated(data: bytes) -> UpstreamFailure:
    stated = read_error(data)
    return UpstreamFailure(
        stated.message if stated and stated.message else "it reported an error without words",
        fault="upstream_error_200",
        status=200,
        code=stated.code if stated else None,
    )
