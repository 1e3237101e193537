r"""
Events that differ in a piece of text only, joined to one event before they are decoded.

A client that wants one answer gets all pieces of it together, so nothing is gained by decoding and
translating them one by one. In an event stream most events are the same bytes around another piece.
The first event of a row shows them. The others are cut at the same places, and the row is joined if
the cut texts, put together around those bytes, are what had come: then nothing else was in it.

>>> joiner = Joiner(("content",))
>>> event = 'data: {"delta":{"content":"%s"}}\n\n'
>>> joiner.feed((event % "a" + event % "b" + event % "c" + "data: [DONE]\n\n").encode())
b'data: {"delta":{"content":"abc"}}\n\ndata: [DONE]\n\n'
>>> joiner.joined
2
"""

from __future__ import annotations

import re
from functools import lru_cache, partial
from operator import itemgetter
from typing import Final

import msgspec

from ..wire.lenient import UNREADABLE
from .alike import END, Alike, Kind
from .sse import DONE

_DATA: Final = b"data: "
_ERROR: Final = b"error"
"""As after `DONE`, nothing more may come for a long time, so that nothing waits for more."""
_OVERLAP: Final = max(len(DONE), len(_ERROR)) - 1
_MOST: Final = 64 * 1024
"""Bytes that are gathered at most; a run of this length saves as much as a longer one would."""
_MISSES: Final = 8
"""Events of gathered bytes that may be like no other; the rest is then taken to be like them."""
_LF, _CR = b"\n\r"  # as numbers: looking for one is ten times as fast
_TEXT: Final = re.compile(rb' ?"((?:[^"\\]|\\.)*)"', re.DOTALL)


@lru_cache(maxsize=16)
def _patterns(names: tuple[str, ...]) -> tuple[tuple[bytes, ...], re.Pattern[bytes]]:
    """Return what each name is in an event, and what begins a value that is not empty."""
    keys = tuple(b'"%b":' % name.encode() for name in names)
    either = b"|".join(map(re.escape, keys))
    return keys, re.compile(b"(?:" + either + rb')(?! ?(?:null|""|\[\]|\{\}))')


class Joiner:
    """
    Gathers the bytes of one event stream, and joins events on the way.

    `names` are the members whose values are pieces of a whole; those that are text are joined. An
    event is joined to the one before it only if both are the same but for one such text.
    """

    __slots__ = ("_held", "_is_urgent", "_kind_of", "_last", "_size", "alike", "joined")

    def __init__(self, names: tuple[str, ...]) -> None:
        # No method: what this holds must not hold this.
        self._kind_of = partial(_kind_of, *_patterns(names))
        self._held: list[bytes] = []
        self._size = 0
        self._last = b""
        self._is_urgent = False
        self.alike = Alike(self._kind_of)
        """Takes received chunks in place of `feed`, which must get all others."""
        self.joined = 0
        """How many pieces that are not empty have become part of another event."""

    def hold(self, data: bytes) -> None:
        """Take bytes that the next ones are added to."""
        self._held.append(data)
        self._size += len(data)
        self._is_urgent = _is_urgent(data)
        self._last = data[-_OVERLAP:]

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return those that are to be decoded now, perhaps none."""
        # Every token of a paced answer passes here. `in` would take several times as long as
        # `find`: Python first tries to read the bytes as a number, and fails.
        if self.alike.texts:
            self._take_alike()
        seen = self._last + data
        if data:
            self._held.append(data)
        self._size = size = self._size + len(data)
        self._last = seen[-_OVERLAP:]
        is_urgent = self._is_urgent or seen.rfind(DONE) >= 0 or seen.find(_ERROR) >= 0
        if not is_urgent and size < _MOST:
            return b""
        data = self._taken()
        # What follows is an event's beginning. A stream with other line ends has no such place.
        end = data.rfind(END) + len(END)
        if end < len(END):
            return data
        left = data[end:]
        self._held.append(left)
        self._size = len(left)
        # The event with the word may not be whole yet.
        self._is_urgent = bool(left) and (is_urgent or _is_urgent(left))
        return self._all_joined(data[:end])

    def rest(self) -> bytes:
        """Return all that is left, to be decoded now."""
        if self.alike.texts:
            self._take_alike()
        data = self._taken()
        end = data.rfind(END) + len(END)
        return data if end < len(END) else self._all_joined(data[:end]) + data[end:]

    def _take_alike(self) -> None:
        """Hold the events whose texts were kept: as one, or as they came if that says more."""
        (before, after), texts = self.alike.drained()
        close = after + END
        whole = b"".join(texts)
        if _is_text(whole):
            self.joined += max(len(texts) - texts.count(b"") - 1, 0)
        else:
            whole = (close + before).join(texts)
        self._held.append(before + whole + close)
        self._size += len(before) + len(whole) + len(close)
        self._last = b""

    def _taken(self) -> bytes:
        data = b"".join(self._held)
        self._held.clear()
        self._size = 0
        self._is_urgent = False
        return data

    def _all_joined(self, data: bytes) -> bytes:
        """Return whole events, joined where they are alike; a kind is looked for in their order."""
        parts: list[bytes] = []
        at = misses = 0
        while at < len(data) and misses < _MISSES:
            event_end = data.find(END, at)
            if event_end < 0:
                # A third line end was behind the last event.
                break
            next_at = event_end + len(END)
            kind = self._kind_of(data[at:event_end])
            if kind is not None:
                end = _guess_end(data, at, kind)
                joined = self._in_one(data, at, end, kind)
                if joined is None:
                    # Others are among them.
                    end = _find_end(data, at, kind)
                    joined = self._in_one(data, at, end, kind)
                if joined is not None and end > next_at:
                    parts.append(joined)
                    at = end
                    continue
            parts.append(data[at:next_at])
            at = next_at
            misses += 1
        parts.append(data[at:])
        return b"".join(parts)

    def _in_one(self, data: bytes, at: int, end: int, kind: Kind) -> bytes | None:
        """Return the events between two places as one, or None if that is not the same answer."""
        before, after = kind
        lead = len(before)
        # No step of Python's own for an event. Every second line is what ends one, and is empty.
        lines = data[at:end].split(b"\n")[:-1:2]
        texts: list[bytes] = list(map(itemgetter(slice(lead, -len(after))), lines))
        close = after + END
        inside = (close + before).join(texts)
        is_whole = (
            at + lead + len(inside) + len(close) == end
            and data.startswith(inside, at + lead)
            and data.startswith(close, end - len(close))
        )
        whole = b"".join(texts)
        if not is_whole or not _is_text(whole):
            return None
        # All that were not empty, but for the one event that is left of them.
        self.joined += max(len(texts) - texts.count(b"") - 1, 0)
        return before + whole + close


def _kind_of(keys: tuple[bytes, ...], says_more: re.Pattern[bytes], event: bytes) -> Kind | None:
    """Return the kind of an event that says nothing but one text."""
    if not event.startswith(_DATA) or _LF in event or _CR in event:
        return None
    for key in keys:
        at = event.find(key)
        text = _TEXT.match(event, at + len(key)) if at >= 0 else None
        if text is None or not text[1]:
            continue
        before, after = event[: text.start(1)], event[text.end(1) :]
        if after.find(key) >= 0:
            # A repeated key: the last one counts, which is empty.
            return None
        if says_more.search(event, 0, at) or says_more.search(after):
            continue
        return Kind(before, after)
    return None


def _guess_end(data: bytes, at: int, kind: Kind) -> int:
    """
    Return where a row of events ends that begins at a place, if no others are among them.

    Events of one kind come in a row, so its end is searched in halves.
    """
    low, high = at, len(data)
    while (middle := data.find(END, (low + high) // 2) + len(END)) < high:
        if data.startswith(kind.before, middle):
            low = middle
        else:
            high = middle
    while low < high and data.startswith(kind.before, low):
        low = data.find(END, low) + len(END)
    return low


def _find_end(data: bytes, at: int, kind: Kind) -> int:
    """Return where a row of events ends that begins at a place: each of them is looked at."""
    close = kind.after + END
    while data.startswith(kind.before, at):
        line_end = data.find(_LF, at)
        if not data.startswith(close, max(line_end - len(kind.after), at + len(kind.before))):
            break
        at = line_end + len(END)
    return at


def _is_urgent(data: bytes) -> bool:
    # From the end, where the word stands that ends a stream.
    return data.rfind(DONE) >= 0 or data.find(_ERROR) >= 0


def _is_text(data: bytes) -> bool:
    """Return whether bytes are the inside of a JSON text."""
    try:
        msgspec.json.decode(b'"' + data + b'"', type=str)
    except UNREADABLE:
        return False
    return True
