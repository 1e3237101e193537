"""
Requests that Go's HTTP server refuses before any of Ollama's code sees them.

Only what the parser lets through is judged here (docs/facts/ollama.md#malformed-requests).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from ..wire.writing import TEXT
from .asgi import Scope


class Malformed(NamedTuple):
    """The answer to a malformed request; the connection is closed after it."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def find_malformed(scope: Scope) -> Malformed | None:
    """Return the answer to a request that Go's server takes for none, None for any other."""
    headers = scope["headers"]
    found = dict(headers)
    # As many names as headers: none comes twice. One look is enough for most requests.
    if (
        len(found) == len(headers)
        and scope["http_version"] == "1.1"
        and found.keys().isdisjoint(_RARE)
        and _is_sound(found.get(b"host"))
        and b"%" not in (scope.get("raw_path") or b"")
    ):
        return None
    hosts = 0
    has_host, expects, coding = True, b"", b""
    for name, value in headers:
        if name == b"host":
            hosts += 1
            has_host = _HOST.fullmatch(value) is not None
        elif name == b"expect":
            expects = value
        elif name == b"transfer-encoding":
            coding = value
    version = scope["http_version"]
    if version not in _VERSIONS:
        return _NO_VERSION if version >= "2" else _BAD
    if coding and coding.strip().lower() != b"chunked":
        return _NO_CODING
    if hosts == 0 and version == "1.1":
        return _NO_HOST
    if not has_host:
        return _BAD_HOST
    if hosts > 1 or _BAD_ESCAPE.search(scope.get("raw_path") or b""):
        return _BAD
    if expects and version == "1.1" and b"100-continue" not in expects.lower():
        return _NO_EXPECTATION
    return None


@lru_cache(maxsize=64)
def _is_sound(host: bytes | None) -> bool:
    return host is not None and _HOST.fullmatch(host) is not None


_RARE: Final = (b"expect", b"transfer-encoding")
_VERSIONS: Final = ("1.1", "1.0")
_HOST: Final = re.compile(rb"[A-Za-z0-9!$%&'()*+,\-.:;=\[\]_~]*")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def _text(status: int, words: str) -> Malformed:
    headers = ((b"content-type", TEXT), (b"connection", b"close"))
    return Malformed(status, words.encode("ascii"), headers)


_BAD: Final = _text(400, "400 Bad Request")
_BAD_HOST: Final = _text(400, "400 Bad Request: malformed Host header")
_NO_HOST: Final = _text(400, "400 Bad Request: missing required Host header")
_NO_CODING: Final = _text(501, "Unsupported transfer encoding")
_NO_VERSION: Final = _text(505, "505 HTTP Version Not Supported: unsupported protocol version")
_NO_EXPECTATION: Final = Malformed(417, b"", ((b"connection", b"close"),))
