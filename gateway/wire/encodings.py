"""
Content encodings: gzip, deflate and zstd, unpacked piece by piece and within limits.

Nothing here knows whether a body is a request or an answer, and which status an error becomes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any, Final, TypeAlias

ENCODINGS: Final = ("gzip", "deflate", "zstd")

_OTHER_NAMES = {"x-gzip": "gzip"}
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_PIECE_BYTES = 64 * 1024
"""What follows a member is copied once for each member, so pieces are small."""
_PACKED_BYTES = 1024
"""Deflate holds up to a thousand times as much."""
_MEMBERS = 1000
"""Most gzip members or zstd frames of a body: an empty one takes 9 bytes and a decompressor."""
_WINDOW_LOG = 23
"""8 MiB, the largest window as a content encoding (docs/facts/clients.md#content-encodings)."""


class UnknownEncoding(ValueError):
    """A content encoding that is not read here."""


class NotPacked(ValueError):
    """The bytes are not in the encoding that was stated."""


class TooLong(ValueError):
    """More comes out than the limit."""


_Decompressor: TypeAlias = Any
"""One of zlib or zstd: they have `eof` and `unused_data` in common."""


class Unpacker:
    """
    Unpacks a body of one encoding: several gzip members or zstd frames, deflate with and without
    zlib's header.

    Raises UnknownEncoding when it is made for an encoding that is not read.
    """

    def __init__(self, encoding: str) -> None:
        name = _OTHER_NAMES.get(encoding, encoding)
        self._errors: tuple[type[Exception], ...] = (zlib.error,)
        self._zstd = _zstd() if name == "zstd" else None
        if self._zstd is not None:
            self._errors = (self._zstd.ZstdError,)
        if name not in ENCODINGS or (name == "zstd" and self._zstd is None):
            raise UnknownEncoding(encoding)
        self._name = name
        self._current: _Decompressor | None = None
        self._members = 0
        self._start = b""

    @property
    def is_whole(self) -> bool:
        """Whether all that was fed ends where a member ends; there must have been one."""
        return self._members > 0 and not self.is_open

    @property
    def is_open(self) -> bool:
        """Whether a member has begun and not ended."""
        return self._current is not None or bool(self._start)

    def feed(self, data: bytes, limit: int) -> bytes:
        """
        Return what the next bytes hold, at most `limit` bytes.

        Raises NotPacked and TooLong.

        >>> packed = zlib.compress(b"fog")
        >>> Unpacker("deflate").feed(packed, 10)
        b'fog'
        """
        parts: list[bytes] = []
        size = 0
        for start in range(0, len(data), _PIECE_BYTES):
            rest = data[start : start + _PIECE_BYTES]
            while rest:
                part, rest = self._step(rest, limit - size + 1)
                size += len(part)
                if size > limit:
                    raise TooLong(limit)
                parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _step(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        """Return what one member gives, at most so many bytes, and what is left of the data."""
        if self._current is None:
            data = self._begin(data)
            if self._current is None:
                return b"", b""
        current = self._current
        try:
            if self._zstd is None:
                part = current.decompress(data, most)
                rest = current.unconsumed_tail
            else:
                part, rest = _all_of_frame(current, data, most), b""
        except self._errors as problem:
            raise NotPacked(self._name) from problem
        if current.eof:
            self._current = None
            return part, current.unused_data
        return part, rest

    def _begin(self, data: bytes) -> bytes:
        """Start the next member, unless there is only padding or too little to tell."""
        if self._name == "gzip" and self._members:
            # Some writers fill the last block up with zeros.
            data = data.lstrip(b"\0")
            if not data:
                return b""
        elif self._name == "deflate":
            if self._members:
                raise NotPacked(self._name)
            data, self._start = self._start + data, b""
            if len(data) < 2:
                self._start = data
                return b""
        if self._members == _MEMBERS:
            raise NotPacked(self._name)
        self._members += 1
        self._current = self._decompressor(data)
        return data

    def _decompressor(self, data: bytes) -> _Decompressor:
        if self._name == "gzip":
            return zlib.decompressobj(_GZIP)
        if self._name == "deflate":
            return zlib.decompressobj(_ZLIB if _has_zlib_header(data) else _RAW)
        assert self._zstd is not None
        options = {self._zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        return self._zstd.ZstdDecompressor(options=options)


def unpack(body: bytes, encodings: str, limit: int) -> bytes:
    """
    Return a whole body without the encodings of a `content-encoding` header.

    Raises UnknownEncoding, NotPacked (also for a body that is not whole) and TooLong.

    >>> unpack(b"fog", "identity", 10)
    b'fog'
    """
    return b"".join(unpacked_pieces(body, encodings, limit))


def unpacked_pieces(body: bytes, encodings: str, limit: int) -> Iterator[bytes]:
    """
    Do the same piece by piece; a piece is at most a megabyte or so, as little packed goes into it.

    >>> b"".join(unpacked_pieces(zlib.compress(b"fog"), "deflate", 10))
    b'fog'
    """
    names = [name.strip().lower() for name in encodings.split(",")]
    stated = [name for name in names if name not in ("", "identity")]
    if len(stated) > 1:
        # Each of them would multiply what the one before it allows.
        raise UnknownEncoding(", ".join(stated))
    if not stated:
        yield body
        return
    unpacker = Unpacker(stated[0])
    size = 0
    for start in range(0, len(body), _PACKED_BYTES):
        piece = unpacker.feed(body[start : start + _PACKED_BYTES], limit - size)
        size += len(piece)
        yield piece
    if not unpacker.is_whole:
        raise NotPacked(stated[0])


def readable() -> str:
    """Return the encodings that are read here, for a sentence."""
    known = [name for name in ENCODINGS if name != "zstd" or _zstd() is not None]
    return ", ".join(known)


def _all_of_frame(current: _Decompressor, data: bytes, most: int) -> bytes:
    """Return what zstd gives for the data, at most so many bytes: it may take several calls."""
    part: bytes = current.decompress(data, most)
    while not current.eof and not current.needs_input and len(part) < most:
        part += current.decompress(b"", most - len(part))
    return part


def _has_zlib_header(data: bytes) -> bool:
    """Whether deflated data begins with zlib's header; many senders leave it out."""
    return data[0] & 0x0F == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0


@cache
def _zstd() -> ModuleType | None:
    """Return the library for zstd, loaded at its first use; None where Python lacks it."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python 3.14 has it
    except ImportError:
        try:
            from backports import zstd  # type: ignore[no-redef,unused-ignore]  # and others do not
        except ImportError:
            return None
    library: ModuleType = zstd
    return library
