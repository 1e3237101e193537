"""
The events of a stream on their way to a client: odd ones are mended, and rules change some.

Most chunks of most streams are sound, and pass by this module (`sending`): it sees the first chunk
that may be odd, and those after it as long as something waits.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable
from typing import Final

from ..faults import UpstreamFailure
from ..runtime.context import RequestContext
from ..runtime.patching import Change, Rewrite, changed
from ..server.dialects import error_event, is_error_event_in_dialect
from ..transforms.rewriter import Chunk, Rewriter
from ..upstream.answers import is_filler, may_be_error
from ..upstream.body import Sink
from ..upstream.exchange import BLANKS
from ..upstream.sse import DONE, Event, SseDecoder, is_whole_object
from ..upstream.stated_errors import read_event_error
from ..wire.lenient import BOM
from ..wire.odd_values import note_odd
from .cut_events import CutEvents
from .json_members import join_members, members_of

MOST_BYTES: Final = 64 * 1024 * 1024
"""Bytes of one event that are held until it is whole."""

_BLANK_LINE: Final = re.compile(rb"\n\n|\r\n\r\n|\r\r")
_END: Final = re.compile(rb"\n\n|\r\n\r\n|\r\r|(?<=\})(?:\r\n|\n|\r)(?=data:|event:)")
"""What may end an event; without a blank line only if the event is a line with a whole object."""
_END_BYTES: Final = 9
"""Bytes of the longest match, with what it looks at around it."""
_LINE_ENDS: Final = (b"\n", b"\r\n", b"\r")
_ONE_LINE: Final = re.compile(rb"(event:[^\r\n]*+(?:\r\n|\n|\r))?data: ?(\{[^\r\n]*+)")
_DONE_EVENT: Final = b"data: [DONE]\n\n"
_NAMELESS: Final = ("", "message")
_OF_CHUNKS: Final = (*_NAMELESS, "error")
_SAYS_NOTHING: Final = (b"null", b"true", b"false", b"{}", b"[]", b'""')
_NO_WORDS: Final = "an error without a message"


class EventRewriter:
    """Rewrites the events of one stream on their way to `sink`."""

    def __init__(
        self,
        changes: tuple[Change, ...],
        rewrites: tuple[Rewrite, ...],
        context: RequestContext,
        path: str,
        sink: Sink,
    ) -> None:
        self._changes = changes
        self._rewrites = [(one.make(context), one.marks) for one in rewrites]
        self._context = context
        self._path = path
        self._sink = sink
        self._cuts = CutEvents()
        self._pieces: list[bytes] = []
        self._size = 0
        self._last = b""
        self._end = _END
        """What is looked for: a blank line only, in an event of several lines."""
        self.is_idle = False
        """Whether nothing waits, so that sound bytes may pass by."""

    def take(self, data: bytes) -> Awaitable[None] | None:
        """
        Take the next bytes; the caller must await a returned awaitable before it goes on.

        Raises UpstreamFailure: not_sse for an event that is too long, and what rewriters raise.
        """
        seam = self._last + data
        self._pieces.append(data)
        if self._end.search(seam) is None:
            self._last = seam[1 - _END_BYTES :]
            self._size += len(data)
            self.is_idle = False
            if self._size > MOST_BYTES:
                words = f"a server-sent event is longer than {MOST_BYTES} bytes"
                raise UpstreamFailure(words, fault="not_sse")
            return None
        whole = b"".join(self._pieces)
        written, at = [], 0
        while (found := self._end.search(whole, at)) is not None:
            block = whole[at : found.end()]
            if found[0] in _LINE_ENDS:
                # No blank line: the event is whole, or goes on after this line.
                block = whole[at : found.start()]
                if not _is_whole_line(block, names_next=whole.startswith(b"event:", found.end())):
                    self._end = _BLANK_LINE
                    continue
                block += b"\n\n"
            self._end = _END
            written.append(self._block(block))
            at = found.end()
        rest = whole[at:]
        self._pieces, self._size = [rest] if rest else [], len(rest)
        self._last = rest[1 - _END_BYTES :]
        self.is_idle = not (rest or self._changes or self._is_waiting)
        return self._send(written)

    def close(self) -> Awaitable[None] | None:
        """Pass on what waits, and an event at the end that lacks its blank line."""
        rest, self._pieces = b"".join(self._pieces), []
        written = [self._block(rest + b"\n\n")] if rest.strip() else []
        return self._send([*written, self._flush()])

    @property
    def _is_waiting(self) -> bool:
        return self._cuts.is_waiting or any(made.is_waiting for made, _ in self._rewrites)

    def _send(self, written: Iterable[bytes]) -> Awaitable[None] | None:
        lines = b"".join(written)
        return self._sink(lines) if lines else None

    def _block(self, block: bytes) -> bytes:
        """Return what becomes of the bytes up to a blank line, which are one event or none."""
        if block.startswith(b"data: ") and block.count(10) == 2 and 13 not in block:
            return self._event(Event("", block[6:-2]), block)
        decoder = SseDecoder()
        events = decoder.feed(block) + decoder.close()
        if len(events) != 1:
            # A comment, or a name without data.
            return block if not events else b"".join(self._event(one, b"") for one in events)
        return self._event(events[0], block)

    def _event(self, event: Event, block: bytes) -> bytes:
        """Return what becomes of one event, whose bytes are the block if it is not empty."""
        data = event.data
        if data.strip(BLANKS) == DONE:
            return self._flush() + (block if data == DONE and block else _DONE_EVENT)
        is_bare = not event.name and data.find(b'"choices"') < 0
        if (is_bare or may_be_error(event)) and (
            stated := read_event_error(event.name, data)
        ) is not None:
            if is_error_event_in_dialect(self._path, data):
                return self._flush() + (block or _written(event))
            words = stated.message or _NO_WORDS
            return self._flush() + error_event(self._path, 502, words)
        if is_filler(data) or (event.name not in _OF_CHUNKS and data[:1] != b"{"):
            return b""
        if event.name in _OF_CHUNKS and data.strip(BLANKS) in _SAYS_NOTHING:
            note_odd("Event", ("event",))
            return b""
        return b"".join(
            self._changed(one, block if one is event else b"") for one in self._cuts.take(event)
        )

    def _flush(self) -> bytes:
        """Return all that waits."""
        lines = b"".join(self._changed(one, b"") for one in self._cuts.flush())
        for place, (made, _) in enumerate(self._rewrites):
            for chunk in made.end():
                lines += self._rewritten(chunk, b"", place + 1)
        return lines

    def _changed(self, event: Event, block: bytes) -> bytes:
        """Return an event as rules change it, its block where they change nothing."""
        members = members_of(event.data) if event.name in _NAMELESS else None
        if members is None:
            return block or _written(event)
        return self._rewritten(members, block or _written(event), 0)

    def _rewritten(self, chunk: Chunk, block: bytes, place: int) -> bytes:
        """Return a chunk as the rewriters from a place on, and then the changes, leave it."""
        chunks = [chunk]
        for made, marks in self._rewrites[place:]:
            chunks = [
                after
                for one in chunks
                for after in (made.take(one) if _concerns(made, marks, one) else [one])
            ]
        written = []
        for one in chunks:
            after = changed(one, self._changes, self._context) if self._changes else None
            is_same = after is None and one is chunk and block
            members = one if after is None else after
            written.append(block if is_same else b"data: %b\n\n" % join_members(members))
        return b"".join(written)


def _is_whole_line(block: bytes, *, names_next: bool) -> bool:
    """
    Return whether bytes are an event of one line, whose blank line is missing.

    With `names_next` a name follows, which may be this event's if it has none yet.
    """
    found = _ONE_LINE.fullmatch(block.removeprefix(BOM))
    return found is not None and bool(found[1] or not names_next) and is_whole_object(found[2])


def _concerns(made: Rewriter, marks: tuple[bytes, ...], chunk: Chunk) -> bool:
    """Return whether a rewriter must see a chunk."""
    if made.is_waiting or not marks:
        return True
    choices = bytes(chunk.get("choices", b""))
    return any(mark in choices for mark in marks)


def _written(event: Event) -> bytes:
    named = b"event: %b\n" % event.name.encode() if event.name else b""
    lines = b"".join(b"data: %b\n" % line for line in event.data.split(b"\n"))
    return b"%b%b\n" % (named, lines)
