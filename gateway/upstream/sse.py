"""
Server-sent events: bytes in, events out.

This module only frames: it does no I/O, parses no JSON, and does not interpret events.
"""

from typing import Final

import msgspec

from ..wire.lenient import BOM, UNREADABLE

FIELD_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""
How a line of an event stream begins. The colon belongs to it: a sentence may begin with "data".
A field's name without a colon is such a line too, but no server is known to send one first.
"""

DONE: Final = b"[DONE]"
"""The data of the event that ends a stream."""

_LF, _CR = b"\n\r"  # as numbers: looking for one is ten times as fast
_whole = msgspec.json.Decoder(msgspec.Raw).decode


class Event(msgspec.Struct, frozen=True, gc=False):
    """
    One server-sent event; `name` is empty when no `event:` line gave one.

    A struct, since one is made for every token, and a named tuple takes five times as long.
    """

    name: str
    data: bytes


def is_whole_object(data: bytes) -> bool:
    """
    Return whether data is a whole JSON object: a line after it can't belong to the same value.

    >>> is_whole_object(b'{"a":{}}'), is_whole_object(b'{"a":{}'), is_whole_object(b"{}}")
    (True, False, False)
    """
    if data[:1] != b"{" or data[-1:] != b"}":
        return False
    try:
        _whole(data)
    except UNREADABLE:
        return False
    return True


class EventTooLong(Exception):
    """An event, or a line that never ends, grew beyond the decoder's limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a server-sent event is longer than {limit} bytes")
        self.limit = limit


class SseDecoder:
    r"""
    Cut a byte stream into events, whatever the boundaries of the pieces it arrives in.

    Takes LF, CRLF and CR line ends, a byte order mark, comments, `data` with and without a
    blank, and several `data` lines in one event; `id` and `retry` have no meaning here.
    Some servers end events with one line end and no blank line (docs/facts/lmstudio.md#sse-lines):
    a line after a whole JSON object is an event of its own, and so is `[DONE]`.
    The work is linear in the bytes fed, also for one large event fed byte by byte.

    >>> SseDecoder().feed(b'data: {}\n\nevent: error\ndata: 1\ndata: 2\n\ndata: unfinished')
    [Event(name='', data=b'{}'), Event(name='error', data=b'1\n2')]
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_has_cr",
        "_is_idle",
        "_limit",
        "_name",
        "_size",
        "_started",
        "_tail",
    )

    def __init__(self, max_event_bytes: int = 64 * 1024 * 1024) -> None:
        self._limit = max_event_bytes
        self._tail = bytearray()  # the line not yet ended; before the start, a piece of a mark
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0
        self._started = False
        self._after_cr = False
        self._has_cr = False
        self._is_idle = False  # between two events, in a stream of plain LF so far

    def feed(self, data: bytes) -> list[Event]:
        """
        Take the next bytes and return the events that they complete.

        Raises EventTooLong; the decoder is of no use afterwards.
        """
        if not self._started and not self._tail and data[:1] == b"d":
            # A stream begins with its first event, as nearly all do, and not with a mark.
            self._started = self._is_idle = True
        if self._is_idle:
            line, _, rest = data.partition(b"\n")
            if (
                # One whole event of one line, as LM Studio sends them (docs/facts/lmstudio.md#sse).
                rest == b"\n"
                and line[:6] == b"data: "
                and _CR not in line
                and len(line) - 6 <= self._limit
            ):
                return [Event("", line[6:])]
        events = self._feed_pieces(data)
        self._is_idle = self._started and not (
            self._tail or self._data or self._name or self._has_cr
        )
        return events

    def close(self) -> list[Event]:
        """Return the event that the end of the stream left without its blank line, if any."""
        events: list[Event] = []
        line, self._tail = bytes(self._tail), bytearray()
        if line:
            self._take_lines([line], events)
        self._dispatch(events)
        return events

    def _feed_pieces(self, data: bytes) -> list[Event]:
        if not self._started:
            data = self._strip_mark(data)
        if self._after_cr and data:
            self._after_cr = False
            if data.startswith(b"\n"):
                data = data[1:]
        if not self._has_cr and _CR in data:
            self._has_cr = True
        if self._has_cr:
            return self._feed_any(data)
        events: list[Event] = []
        if not self._is_idle:
            # Finish the event that the last pieces left open; then whole events can follow.
            cut = data.find(b"\n\n") + 2
            if cut == 1:
                return self._feed_any(data)
            events = self._feed_any(data[:cut])
            data = data[cut:]
            if self._tail or self._data or self._name:
                return events + self._feed_any(data)
        limit = self._limit
        # Whole events of one line each, as LM Studio sends them: every second line is blank.
        lines = data.split(b"\n")
        if not lines[-1] and not any(lines[1::2]) and len(data) <= limit:
            found = [Event("", line[6:]) for line in lines[:-1:2] if line[:6] == b"data: "]
            if 2 * len(found) + 1 == len(lines):
                return events + found
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        for block in blocks:
            if block[:6] == b"data: " and _LF not in block and len(block) - 6 <= limit:
                events.append(Event("", block[6:]))
            else:
                self._take_lines(block.split(b"\n"), events)
                self._dispatch(events)
        if rest:
            events += self._feed_any(rest)
        return events

    def _strip_mark(self, data: bytes) -> bytes:
        data = bytes(self._tail) + data
        self._tail.clear()
        if len(data) < len(BOM) and BOM.startswith(data):
            self._tail += data
            return b""
        self._started = self._is_idle = True
        return data.removeprefix(BOM)

    def _feed_any(self, data: bytes) -> list[Event]:
        """Take bytes line by line; correct in every state, for every kind of line end."""
        events: list[Event] = []
        if not self._started:
            return events
        cut = data.rfind(b"\n") + 1
        if self._has_cr:
            cut = max(cut, data.rfind(b"\r") + 1)
        if cut:
            whole = data[:cut]
            if self._tail:
                self._tail += whole
                whole = bytes(self._tail)
                self._tail.clear()
            if self._has_cr:
                self._after_cr = cut == len(data) and whole.endswith(b"\r")
                lines = whole.splitlines()
            else:
                lines = whole.split(b"\n")
                lines.pop()
            self._take_lines(lines, events)
            data = data[cut:]
        self._tail += data
        if len(self._tail) + self._size > self._limit + 8:  # the line still has its field name
            raise EventTooLong(self._limit)
        return events

    def _take_lines(self, lines: list[bytes], events: list[Event]) -> None:
        for line in lines:
            if not line:
                self._dispatch(events)
                continue
            field, _, value = line.partition(b":")
            if field == b"data":
                if value[:1] == b" ":
                    value = value[1:]
                if self._data and (value == DONE or self._is_whole()):
                    self._dispatch(events)
                self._data.append(value)
                self._size += len(value) + 1
                if self._size - 1 > self._limit:
                    raise EventTooLong(self._limit)
            elif field == b"event":
                if self._name and self._data and self._is_whole():
                    self._dispatch(events)
                self._name = value[1:] if value[:1] == b" " else value

    def _is_whole(self) -> bool:
        """Return whether the lines so far are one line that is a whole JSON object."""
        return len(self._data) == 1 and is_whole_object(self._data[0])

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(Event(self._name.decode("utf-8", "replace"), data))
            self._data.clear()
            self._size = 0
        self._name = b""
