"""
JSON read from LM Studio, a byte order mark included.
"""

from __future__ import annotations

import json

import msgspec

BOM = b"\xef\xbb\xbf"


def parse_lenient(body: bytes) -> object | None:
    """Read JSON as leniently as possible; None for `null` and for what is no JSON."""
    body = body.removeprefix(BOM)
    try:
        found: object = msgspec.json.decode(body)
        return found
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # The standard parser takes lone surrogates, which msgspec does not.
        lenient: object = json.loads(body.decode("utf-8", "replace"))
        return lenient
    except (ValueError, RecursionError):
        return None
