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

from ..faults import UpstreamFailure
from ..observability.record import current, sampled
from ..runtime.context import RequestContext
from ..runtime.outcome import StreamCall, Translator
from ..upstream.answers import (
    EventStream,
    is_filler,
    may_be_error,
    raise_error_event,
    read_odd,
)
from ..upstream.exchange import BLANKS
from ..upstream.sse import DONE, Event
from ..wire.client_api import ClientApi
from ..wire.cut_text import CutTexts
from ..wire.lenient import UNREADABLE
from ..wire.odd_values import note_odd
from ..wire.times import utc_text


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
        "_cuts",
        "_decoder",
        "_encode_lines",
        "_events",
        "_fold",
        "_is_first",
        "_is_watched",
        "_last_data",
        "_look_at_first",
        "_look_at_keys",
        "_record",
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
        self._record = current()
        self._unsent = b""
        self._cuts: CutTexts | None = None
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
        self._context.joined_pieces = events.joined
        try:
            last = self._end()
        except UpstreamFailure:
            if self._unsent and (pending := self._client.push(self._unsent)) is not None:
                await pending
            raise
        if self._look_at_keys is not None and self._last_data:
            self._look_at_keys(self._last_data)
        self._record.note_counts(self._api.counts, last, self._translator)
        if self._fold is None:
            if self._cuts is not None:
                self._cuts.join([last], is_last=True)
            return self._unsent + self._api.encode_line(last), None
        self._fold.add(last)
        return b"", self._fold.result(last)

    def _take(self, batch: list[Event]) -> Awaitable[None] | None:
        """Translate the events of one read, and send their frames in one piece."""
        # One function, because every token passes here and each function call costs time.
        # All events of one read share a timestamp.
        self._context.now = utc_text(time.time_ns())
        self._record.events += len(batch)
        frames: list[Any] = []
        keep = frames.append if self._fold is None else self._fold.add
        try:
            for event in batch:
                data = event.data
                if data == DONE:
                    # Frames that arrived with the end are sent with the last frame.
                    self._unsent = self._lines(frames)
                    self._events.stop()
                    return None
                if event.name == "error":
                    raise_error_event(event)
                try:
                    chunk = self._decoder.decode(data)
                except UNREADABLE:
                    if data.strip(BLANKS) == DONE:
                        self._unsent = self._lines(frames)
                        self._events.stop()
                        return None
                    if (chunk := self._read_odd(event)) is None:
                        continue
                # An error may come without its event line (docs/facts/lmstudio.md#stream-errors).
                # Nearly every stream has one chunk that has nothing but `usage`.
                if (not chunk.choices and (not chunk.usage or may_be_error(event))) or (
                    chunk.error is not UNSET and bytes(chunk.error) != b"null"
                ):
                    raise_error_event(event)
                if self._is_watched:
                    self._watch(chunk, data)
                frame = self._translator.chunk(chunk)
                if frame is not None:
                    keep(frame)
        except UpstreamFailure as failure:
            if not frames:
                raise
            # The client still gets the frames before it in the same read.
            if (pending := self._client.push(self._lines(frames))) is None:
                raise
            return _fail_after(pending, failure)
        if not frames:
            return None
        if self._cuts is None:
            try:
                return self._client.push(self._encode_lines(frames))
            except UnicodeEncodeError:
                pass
        return self._client.push(self._lines(frames))

    def _read_odd(self, event: Event) -> Any:
        """
        Return the chunk of an event that the decoder refuses; None if it holds none.

        Raises UpstreamFailure for an error, and for an event that cannot be read: a part of the
        answer would be missing.
        """
        raise_error_event(event)
        data = event.data
        if is_filler(data) or (event.name not in _OF_CHUNKS and data[:1] != b"{"):
            return None
        kind = self._decoder.type
        if data.strip(BLANKS) in _NOTHING:
            note_odd(kind.__name__, ("event",))
            return None
        # A half of a character waits in its text for the next chunk (`CutTexts`).
        return read_odd(data, kind, what="an event of its stream", keeps_halves=True)

    def _lines(self, frames: list[Any]) -> bytes:
        """Return frames as lines, without characters that were cut in two."""
        if self._cuts is None:
            try:
                return self._encode_lines(frames)
            except UnicodeEncodeError:
                self._cuts = CutTexts()
        lines = self._encode_lines(self._cuts.join(frames))
        if not self._cuts.is_waiting:
            self._cuts = None
        return lines

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
            # It is not quoted: what it says may be the model's.
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


_OF_CHUNKS = ("", "message", "error")
"""Names of events that hold chunks; what others hold in plain text is no part of an answer."""
_NOTHING = (b"null", b"true", b"false", b"{}", b"[]", b'""')
"""Data that say nothing, and so leave no gap in an answer."""
