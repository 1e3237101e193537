"""Base64 as Go reads it, and the media type of images and sound."""

from __future__ import annotations

import base64
import re
from typing import Final

from msgspec import UNSET, UnsetType

from ..wire.splitting import Steps

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_LINE_ENDS: Final = b"\r\n"
_CR, _LF = _LINE_ENDS
_ALPHABET_AND_ENDS: Final = _ALPHABET + _LINE_ENDS
_FOREIGN: Final = re.compile(rb"[^A-Za-z0-9+/\r\n]")
_MARK: Final = re.compile(rb"[^\r\n]")
_PIECE: Final = 256 * 1024
"""Characters that are looked at in one step."""
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
_REFUSED_STARTS: Final = ("UklGR", "AAAA")
"""How base64 of WebP begins, and of the files with boxes that AVIF and HEIC are."""
_AVIF_BRANDS: Final = (b"avif", b"avis")
_HEIC_BRANDS: Final = (
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
    *(b"mif1", b"msf1"),
)
_UNKNOWN: Final = "image/jpeg"


def broken_base64(text: str) -> str | UnsetType:
    """Return Go's text for the place where standard base64 breaks, absent if it does not."""
    if len(text) <= _PIECE and _is_clean(text.encode("utf-8", "replace")):
        return UNSET
    steps = broken_base64_in_steps(text)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: str | UnsetType = end.value
            return found


def broken_base64_in_steps(text: str) -> Steps[str | UnsetType]:
    """
    Do the same in steps.

    Line ends are skipped everywhere. For a missing rest, the place is the start of the group of
    four (counted back from the end); for an illegal byte, that byte; for bytes after the padding,
    the first of them.
    """
    filled = at = 0
    padding = b""
    for start in range(0, len(text), _PIECE):
        data = text[start : start + _PIECE].encode("utf-8", "replace")
        rest = data.translate(None, _ALPHABET_AND_ENDS)
        if not padding and not rest:
            filled += len(data)
            # They are looked for before they are counted: that is thirty times as fast.
            if _CR in data or _LF in data:
                filled -= data.count(b"\r") + data.count(b"\n")
        else:
            place = 0
            if not padding:
                found = _FOREIGN.search(data)
                assert found is not None
                place = found.start()
                skipped = data.count(b"\r", 0, place) + data.count(b"\n", 0, place)
                filled += place - skipped
                if data[place : place + 1] != b"=" or filled % 4 < 2:
                    return _illegal(at + place)
            while (mark := _MARK.search(data, place)) is not None:
                place = mark.start()
                if mark[0] != b"=" or len(padding) == 4 - filled % 4:
                    # Go names the byte before this one where a second sign is missing.
                    is_missing = len(padding) == 1 and filled % 4 == 2
                    return _illegal(at + place - is_missing)
                padding += b"="
                place += 1
        at += len(data)
        yield
    if not padding:
        return UNSET if filled % 4 == 0 else _illegal(at - filled % 4)
    return UNSET if len(padding) == 4 - filled % 4 else _illegal(at)


def _illegal(at: int) -> str:
    return f"illegal base64 data at input byte {at}"


def _is_clean(data: bytes) -> bool:
    padding = data.translate(None, _ALPHABET)
    return len(data) % 4 == 0 and padding in (b"", b"=", b"==") and data.endswith(padding)


def refused_format(text: str) -> str:
    """
    Return the name of a picture's format that LM Studio refuses, "" for any other data.

    (docs/facts/lmstudio.md#refused-content)
    """
    if not text.startswith(_REFUSED_STARTS):
        return ""
    try:
        head = base64.b64decode(text[:_HEAD_CHARACTERS])
    except ValueError:
        return ""
    if head[:4] == b"RIFF":
        return "WebP" if head[8:12] == b"WEBP" else ""
    if head[4:8] != b"ftyp":
        return ""
    brand = head[8:12]
    return "AVIF" if brand in _AVIF_BRANDS else "HEIC" if brand in _HEIC_BRANDS else ""


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
