"""
The identifier that a passed-on answer gives: found in its bytes while they pass.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Raw

from ..upstream.sse import Event, EventTooLong, SseDecoder
from ..wire.lenient import BOM, UNREADABLE

MOST_BYTES = 8 * 1024 * 1024
"""Bytes of an answer, or of one event, that are held to find it; a longer one gives none."""

_BLANKS = b" \t\r\n"
_BEFORE = _BLANKS + BOM
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_text = msgspec.json.Decoder(str).decode


class Given:
    """
    Looks for the identifier in one answer, whole or as events, and tells of the first one.

    It is told before the bytes in which it ends are passed on: the client may go on from it at
    once.
    """

    def __init__(self, ways: tuple[tuple[str, ...], ...], tell: Callable[[str], None]) -> None:
        """Look at the end of each of `ways`, which are ways through members."""
        self._ways = ways
        self._marks = tuple(b'"%b"' % way[-1].encode() for way in ways)
        self._tell = tell
        self._events = SseDecoder(MOST_BYTES)
        self._whole = bytearray()
        self._is_json: bool | None = None
        """None before the first byte."""
        self._is_over = False

    def take(self, chunk: bytes) -> None:
        """Look at the next bytes."""
        if self._is_over:
            return
        try:
            if self._is_json is None:
                chunk = chunk.lstrip(_BEFORE)
                if not chunk:
                    return
                self._is_json = chunk.startswith(b"{")
            if not self._is_json:
                self._look_at(self._events.feed(chunk))
                return
            self._whole += chunk
            if len(self._whole) > MOST_BYTES:
                self._is_over = True
            elif chunk.rstrip(_BLANKS).endswith(b"}"):
                self._look_into(bytes(self._whole))
        except EventTooLong:
            # An event that is too long; whoever passes it on says so.
            self._is_over = True
        if self._is_over:
            self._whole = bytearray()

    def end(self) -> None:
        """Look at an event that lacks its blank line."""
        if not (self._is_json or self._is_over):
            self._look_at(self._events.close())

    def _look_at(self, events: list[Event]) -> None:
        for event in events:
            # Most events have none of the names, and are not read.
            for mark in self._marks:
                if mark in event.data:
                    self._look_into(event.data)
                    break
            if self._is_over:
                return

    def _look_into(self, data: bytes) -> None:
        for way in self._ways:
            found = _end_of(way, data)
            if found:
                self._is_over = True
                self._tell(found)
                return


def _end_of(way: tuple[str, ...], data: bytes) -> str:
    """Return the text at the end of a way through an object's members, "" without one."""
    raw = Raw(data)
    try:
        for name in way:
            raw = _members(raw)[name]
        return _text(raw)
    except (*UNREADABLE, KeyError):
        return ""
