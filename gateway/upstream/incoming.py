"""
What the parser finds in the answer on a connection.
"""

from __future__ import annotations

from collections.abc import Callable

import httptools

from ..wire.encodings import UnknownEncoding, Unpacker
from .body import BODILESS, Headers

_LONG_BYTES = 64 * 1024
"""Bytes of a body from which on a new parser for the next answer takes less than copying them."""
_MOST_DIGITS = 16
_OF_PACKED = (b"content-encoding", b"content-length")
_LOOKED_AT = frozenset((*_OF_PACKED, b"transfer-encoding"))


class IncomingAnswer:
    """
    The parser's results for one answer, and after it for the next one on the connection.

    httptools looks the methods up by these names when the parser is made, which takes a third of
    the time of parsing a head.
    """

    __slots__ = (
        "_is_coded",
        "_length",
        "_method",
        "headers",
        "is_chunked",
        "is_complete",
        "is_kept_alive",
        "is_measured",
        "is_parsed",
        "left",
        "on_body",
        "parser",
        "pieces",
        "status",
        "unpacker",
    )

    def __init__(self, method: str) -> None:
        self.pieces: list[bytes] = []
        # An answer to HEAD has the length of a body that does not follow; the parser does not know.
        self.on_body: Callable[[bytes], None] = (
            self.pieces.append if method != "HEAD" else lambda _: None
        )
        self.begin(method)
        self.parser = httptools.HttpResponseParser(self)

    def begin(self, method: str) -> None:
        """Take another answer; there must be none to a HEAD before it or after it."""
        self._method = method
        self.headers: Headers = []
        self.status = 0
        self.is_measured = self.is_chunked = self._is_coded = False
        self.is_kept_alive = False
        self.is_complete = False
        self._length = 0
        self.left = 0
        """
        Bytes to come of a long body, which the parser does not get; 0 where it gets them.

        It has nothing to find in them, and copies them all.
        """
        self.is_parsed = True
        """Whether the parser has had all, and can take another answer."""
        self.unpacker: Unpacker | None = None
        """Unpacks the body of a host that packs it unasked."""

    @property
    def ends_with_the_connection(self) -> bool:
        """Whether the body ends with the connection: the head states no length and no chunks."""
        return bool(self.status) and not (self.is_measured or self.is_chunked)

    @property
    def is_cut(self) -> bool:
        """Whether a packed body ends in the middle of what is packed."""
        return self.unpacker is not None and self.unpacker.is_open

    def on_message_begin(self) -> None:
        """Refuse a second answer to one request."""
        if self.is_complete:
            raise ValueError("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header as it was sent."""
        self.headers.append((name, value))
        if (key := name.lower()) not in _LOOKED_AT:
            return
        if key == b"content-length":
            self.is_measured = True
            self._length = int(value) if len(value) < _MOST_DIGITS and value.isdigit() else 0
        elif key == b"transfer-encoding":
            self._is_coded = True
            self.is_chunked = value.strip().lower().endswith(b"chunked")
        elif key == b"content-encoding" and self._method != "HEAD":
            self._note_encoding(value.strip().lower().decode("latin-1"))

    def on_headers_complete(self) -> None:
        """
        Store the status, unless it is an interim one (1xx).

        Raises ValueError for one that HTTP does not have: no server could pass it on.
        """
        status = self.parser.get_status_code()
        if not 100 <= status <= 599:
            raise ValueError(f"status {status}")
        if status < 200:
            return
        self.status = status
        if self.unpacker is not None:
            self.headers = [item for item in self.headers if item[0].lower() not in _OF_PACKED]
        if self._method == "HEAD" or status in BODILESS:
            self.is_measured = self.is_complete = True
        elif self._length >= _LONG_BYTES and not self._is_coded and self.unpacker is None:
            self.left = self._length
        self.is_kept_alive = self._method != "HEAD" and self.parser.should_keep_alive()

    def _note_encoding(self, encoding: str) -> None:
        """Raises ValueError for an encoding that can't be unpacked: none was asked for."""
        if encoding in ("", "identity"):
            return
        try:
            self.unpacker = Unpacker(encoding)
        except UnknownEncoding:
            raise ValueError("a content encoding, although none was asked for") from None

    def on_message_complete(self) -> None:
        """Note the end; after an interim answer the next one begins."""
        if self.status:
            self.is_complete = True
        else:
            self.headers.clear()
            self.is_measured = self.is_chunked = self._is_coded = False
            self._length = 0
            self.unpacker = None
