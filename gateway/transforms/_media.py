"""Base64 as Go reads it, and the media type of images and sound."""

from __future__ import annotations

import base64
import re
from typing import Final

from msgspec import UNSET, UnsetType

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_LINE_ENDS: Final = b"\r\n"
_FOREIGN: Final = re.compile(rb"[^A-Za-z0-9+/\r\n]")
_HEAD_CHARACTERS: Final = 16
"""Base64 characters for the twelve bytes of the longest signature."""

_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"ID3", "audio/mp3"),
)
_UNKNOWN: Final = "image/jpeg"


def broken_base64(text: str) -> str | UnsetType:
    """Return Go's text for the place where standard base64 breaks, absent if it does not."""
    data = text.encode("utf-8", "replace")
    if _is_clean(data) or _is_clean(data.translate(None, _LINE_ENDS)):
        return UNSET
    at = _broken_at(data)
    return UNSET if at is None else f"illegal base64 data at input byte {at}"


def _is_clean(data: bytes) -> bool:
    padding = data.translate(None, _ALPHABET)
    return len(data) % 4 == 0 and padding in (b"", b"=", b"==") and data.endswith(padding)


def _broken_at(data: bytes) -> int | None:
    """
    Return the position of the byte that Go's decoder reports for bad input.

    Line ends are skipped everywhere. For a missing rest, it is the start of the group of four
    (counted back from the end); for an illegal byte, that byte; for bytes after the padding, the
    first of them.
    """
    foreign = _FOREIGN.search(data)
    at = foreign.start() if foreign else len(data)
    skipped = data.count(b"\r", 0, at) + data.count(b"\n", 0, at)
    filled = (at - skipped) % 4
    if foreign is None:
        return len(data) - filled if filled else None
    if data[at : at + 1] != b"=" or filled < 2:
        return at
    at += 1
    if filled == 2:
        at = _after_line_ends(data, at)
        if at == len(data):
            return at
        if data[at : at + 1] != b"=":
            return at - 1
        at += 1
    at = _after_line_ends(data, at)
    return at if at < len(data) else None


def _after_line_ends(data: bytes, at: int) -> int:
    while data[at : at + 1] in (b"\r", b"\n"):
        at += 1
    return at


def without_line_ends(text: str) -> str:
    """Return base64 on one line, for a URL."""
    if "\n" in text or "\r" in text:
        return text.replace("\r", "").replace("\n", "")
    return text


def media_type(text: str) -> str:
    """
    Return the MIME type of base64 data, from its first bytes; what is unknown counts as JPEG.

    (docs/facts/ollama.md#media-types)
    """
    try:
        head = base64.b64decode(text[:_HEAD_CHARACTERS] + "==")
    except ValueError:
        return _UNKNOWN
    if head[:4] == b"RIFF":
        return {b"WAVE": "audio/wav", b"WEBP": "image/webp"}.get(head[8:12], _UNKNOWN)
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    # An MP3 without a tag begins with the eleven set bits of a frame.
    if head[:1] == b"\xff" and head[1:2] >= b"\xe0":
        return "audio/mp3"
    return _UNKNOWN
