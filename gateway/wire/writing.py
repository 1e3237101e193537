"""
Encoding of answers and frames, the way Ollama writes JSON.

The JSON is compact, with fields in the struct's order, and with escapes for `<`, `>`, `&`, U+2028
and U+2029
(docs/facts/ollama.md#json-out).
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.wire.cut_text import mend

JSON = b"application/json; charset=utf-8"
JSON_OF_STREAMS = b"application/json"
"""
The content type of an error before a stream's first line, and of a report in one piece
(docs/facts/ollama.md#content-types).
"""
NDJSON = b"application/x-ndjson"
TEXT = b"text/plain; charset=utf-8"
NO_TYPE = b""
"""For an answer without a body: Ollama sends no content type then."""

_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)
_SEPARATORS = "\u2028".encode()[:2]
"""The first byte of both separators; other punctuation has it, too, and is not replaced."""
_LESS, _GREATER, _AND = b"<>&"
"""As numbers: searching for a byte is ten times as fast as searching for bytes, which Python first
tries to read as a number."""
_encoder = msgspec.json.Encoder()


def encode(value: object) -> bytes:
    """
    Return a value as one JSON text.

    These characters occur in JSON only inside strings, so replacing the bytes is safe.

    >>> encode({"a": "<b>"})
    b'{"a":"\\\\u003cb\\\\u003e"}'

    A lone surrogate, which a host may send, is written as U+FFFD.
    """
    try:
        return _escape(_encoder.encode(value))
    except UnicodeEncodeError:
        return _escape(_encoder.encode(mend(value)))


def encode_line(frame: object) -> bytes:
    """Return a frame as one NDJSON line."""
    return encode(frame) + b"\n"


def encode_lines(frames: list[Any]) -> bytes:
    r"""
    Return frames as NDJSON lines; the characters to escape are searched in all at once.

    >>> encode_lines([{"a": "<"}, {}])
    b'{"a":"\\u003c"}\n{}\n'

    Raises UnicodeEncodeError for a lone surrogate: its other half may be in the next frame.
    """
    data = _encoder.encode_lines(frames)
    # The same search as in `_escape`, which most frames do not need.
    if data.isascii() and not (_LESS in data or _GREATER in data or _AND in data):
        return data
    return _escape(data)


def _escape(data: bytes) -> bytes:
    if (
        _LESS in data
        or _GREATER in data
        or _AND in data
        or (not data.isascii() and data.find(_SEPARATORS) >= 0)
    ):
        for plain, escaped in _ESCAPES:
            data = data.replace(plain, escaped)
    return data


def encode_error(text: str) -> bytes:
    """Return Ollama's error object."""
    return encode({"error": text})


def encode_error_line(text: str) -> bytes:
    """Return Ollama's error object as the last line of a stream."""
    return encode_line({"error": text})
