r"""
Events that differ in a piece of text only, joined to one event before they are decoded.

A client that wants one answer gets all pieces of it together, so nothing is gained by decoding and
translating them one by one. In an event stream most events are the same bytes around another piece.
The bytes between two pieces, from the quote that ends one to the quote that begins the next, are
then a separator, and an event stream without its separators is the same answer in fewer events.

>>> joiner = Joiner(("content",))
>>> event = 'data: {"delta":{"content":"%s"}}\n\n'
>>> joiner.feed((event % "a" + event % "b" + event % "c" + "data: [DONE]\n\n").encode())
b'data: {"delta":{"content":"abc"}}\n\ndata: [DONE]\n\n'
>>> joiner.joined
2
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec

from ..wire.lenient import UNREADABLE

_END: Final = b"\n\n"
_DATA: Final = b"data: "
_URGENT: Final = (b"[DONE]", b"error")
"""Bytes after which nothing more may come for a long time, so that nothing waits for more."""
_OVERLAP: Final = max(map(len, _URGENT)) - 1
_MOST: Final = 64 * 1024
"""Bytes that are gathered at most; a run of this length saves as much as a longer one would."""
_PLACES: Final = (0.0, 0.25, 0.5, 0.75)
"""Parts of the bytes before the events that are looked at."""
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

    __slots__ = ("_held", "_is_urgent", "_keys", "_last", "_says_more", "_size", "joined")

    def __init__(self, names: tuple[str, ...]) -> None:
        self._keys, self._says_more = _patterns(names)
        self._held: list[bytes] = []
        self._size = 0
        self._last = b""
        self._is_urgent = False
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
        seen = self._last + data
        self._held.append(data)
        self._size += len(data)
        self._last = seen[-_OVERLAP:]
        is_full = self._size >= _MOST
        is_urgent = self._is_urgent or (not is_full and _is_urgent(seen))
        if not is_full and not is_urgent:
            return b""
        data = self._taken()
        # What follows is an event's beginning. A stream with other line ends has no such place.
        end = data.rfind(_END) + len(_END)
        if end >= len(_END):
            left, data = data[end:], data[:end]
            self._held.append(left)
            self._size = len(left)
            # The event with the word may not be whole yet.
            self._is_urgent = bool(left) and (is_urgent or _is_urgent(left))
        return self._all_joined(data)

    def rest(self) -> bytes:
        """Return all that is left, to be decoded now."""
        return self._all_joined(self._taken())

    def _taken(self) -> bytes:
        data = b"".join(self._held)
        self._held.clear()
        self._size = 0
        self._is_urgent = False
        return data

    def _all_joined(self, data: bytes) -> bytes:
        # Events of an answer are of few kinds, each in one row: looking at some shows them all.
        # Looking for each name in all bytes would take twice as long as all the rest.
        kinds: dict[bytes, bytes] = {}
        for place in _PLACES:
            start = data.find(_END, int(len(data) * place)) + len(_END)
            end = data.find(_END, start)
            if start < len(_END) or end < 0:
                break
            kinds.update(self._kind_of(data[start:end]))
        for before, after in kinds.items():
            data = self._join(data, before, after)
        return data

    def _kind_of(self, event: bytes) -> dict[bytes, bytes]:
        """Return the bytes before and after an event's text, if it says nothing else."""
        if not event.startswith(_DATA) or b"\n" in event:
            return {}
        for key in self._keys:
            at = event.find(key)
            text = _TEXT.match(event, at + len(key)) if at >= 0 else None
            if text is None or not text[1]:
                continue
            before, after = event[: text.start(1)], event[text.end(1) :]
            if self._says_more.search(event, 0, at) or self._says_more.search(after):
                continue
            return {before: after}
        return {}

    def _join(self, data: bytes, before: bytes, after: bytes) -> bytes:
        """Join the events that are the same before and after their text."""
        separator = after + _END + before
        opening, *pieces = data.split(separator)
        if not pieces:
            return data
        start = _start_of_event(opening, len(opening))
        if opening.startswith(before, start):
            start += len(before)
            return opening[:start] + self._in_one([opening[start:], *pieces], separator)
        # An event of another kind ends in the same bytes: nothing is added to its text.
        return opening + separator + self._in_one(pieces, separator)

    def _in_one(self, pieces: list[bytes], separator: bytes) -> bytes:
        """
        Return texts in one, or separated as they were if that is not the same answer.

        The last of them still has the end of its event, and what follows that.
        """
        whole = b"".join(pieces[:-1])
        # Events of another kind stand between two of this one, or a text cannot be read.
        if _END in whole or not _is_text(whole):
            return separator.join(pieces)
        # All that were not empty, but for the one event that is left of them.
        count = sum(map(bool, pieces[:-1])) + (not pieces[-1].startswith(b'"'))
        self.joined += max(count - 1, 0)
        return whole + pieces[-1]


def _is_urgent(data: bytes) -> bool:
    return any(word in data for word in _URGENT)


def _start_of_event(data: bytes, before: int) -> int:
    """Return where the last event begins that begins before a place."""
    last = data.rfind(_END, 0, before)
    return 0 if last < 0 else last + len(_END)


def _is_text(data: bytes) -> bool:
    """Return whether bytes are the inside of a JSON text."""
    try:
        msgspec.json.decode(b'"' + data + b'"', type=str)
    except UNREADABLE:
        return False
    return True
