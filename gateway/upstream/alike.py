r"""
Received HTTP chunks that hold one event each, alike but for a text: only their texts are kept.

A model's tokens come one by one, each in a read, an HTTP chunk and an event of its own. For a
client that wants one answer nothing has to be done with them before the last one is there. So a
chunk that is known to the byte but for the inside of one text goes to no parser: a chunk that is
whole leaves the parser of HTTP where it was, and the text is all that is new in it. The end of the
answer, an error, and every other thing is no such chunk, and goes the long way at once.

>>> alike = Alike(lambda event: Kind(b'{"t":"', b'"}'))
>>> alike.look(b'b\r\n{"t":"a"}\n\n\r\n', [b'{"t":"a"}\n\n'])
True
>>> alike.take(b'd\r\n{"t":"bcd"}\n\n\r\n'), alike.take(b'b\r\n{"u":"e"}\n\n\r\n')
(True, False)
>>> alike.drained()
(Kind(before=b'{"t":"', after=b'"}'), [b'bcd'])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

END: Final = b"\n\n"
"""What ends an event."""
_LINE: Final = b"\r\n"
_QUOTE, _BACKSLASH = b'"\\'
_MOST_TEXTS: Final = 512
_MOST_BYTES: Final = 4096
"""Chunks and bytes of a chunk; what is more goes the long way, so that memory has a bound."""
_TRIES: Final = 3
"""Reads in a row of which none is taken; then the answer is taken to be one of other chunks."""


class Kind(NamedTuple):
    """The bytes of an event before and after its text."""

    before: bytes
    after: bytes


class Alike:
    """Keeps the texts of alike chunks of one answer."""

    __slots__ = ("_close", "_heads", "_kind", "_kind_of", "_tries", "texts")

    def __init__(self, kind_of: Callable[[bytes], Kind | None]) -> None:
        """`kind_of` returns what an event is but for its one text, None if it says more."""
        self._kind_of = kind_of
        self._kind = Kind(b"", b"")
        self._heads: dict[int, bytes] | None = None
        """What a chunk begins with up to its text, by its length; None while no chunk is taken."""
        self._close = b""
        self._tries = _TRIES
        self.texts: list[bytes] = []
        """What was taken and not handed over, in its order."""

    def take(self, data: bytes) -> bool:
        """Take received bytes that are one chunk with one more text; return False for others."""
        # Every token of a one-shot answer passes here, and little else happens to it.
        heads, texts = self._heads, self.texts
        if heads is None or len(texts) == _MOST_TEXTS:
            return False
        size = len(data)
        head = heads.get(size)
        if head is None:
            if size > _MOST_BYTES:
                return False
            head = heads[size] = self._head(size)
        close = self._close
        if not (head and data.startswith(head) and data.endswith(close)):
            return False
        text = data[len(head) : -len(close)]
        if _QUOTE in text or (_BACKSLASH in text and text[-1] == _BACKSLASH):
            return False
        texts.append(text)
        return True

    def look(self, data: bytes, pieces: list[bytes]) -> bool:
        """
        Learn from received bytes that went the long way, and from what the parser took as body.

        The next chunk can be taken only if these bytes end with a whole chunk. They do if the
        parser gave its body apart from the line before it, which tells its length. Returns False
        when it is not worth to go on: reads in a row had nothing to be taken.
        """
        last = pieces[-1] if pieces else b""
        chunk = b"%x\r\n%b\r\n" % (len(last), last)
        is_whole = data == chunk if len(pieces) == 1 else data.endswith(_LINE + chunk)
        before, after = self._kind
        self._tries -= 1
        if not (last and is_whole):
            self._heads = None
        elif not (before and last.startswith(before) and last.endswith(after + END)):
            kind = self._kind_of(last[: -len(END)]) if last.endswith(END) else None
            if kind is not None:
                self._kind, self._close = kind, kind.after + END + _LINE
            self._heads = None if kind is None else {}
        elif self._heads is None:
            self._heads = {}
        return self._tries > 0

    def drained(self) -> tuple[Kind, list[bytes]]:
        """Return the texts, and the kind of the events that they are from; keep them no longer."""
        self._tries = _TRIES
        texts, self.texts = self.texts, []
        return self._kind, texts

    def _head(self, size: int) -> bytes:
        """Return what a chunk of a length begins with up to its text, nothing if it has no room."""
        before, around = self._kind.before, len(self._close) + len(_LINE)
        for digits in range(1, 4):
            line = b"%x" % max(size - digits - 2 * len(_LINE), 0)
            if len(line) == digits and size >= digits + len(before) + around:
                return line + _LINE + before
        return b""
