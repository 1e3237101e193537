"""
Lenient parsing of LM Studio's JSON, also with a byte order mark.
"""

from __future__ import annotations

import json

import msgspec

BOM = b"\xef\xbb\xbf"

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The exceptions of msgspec for bytes that it cannot decode, whatever is wrong with them."""


def parse_lenient(body: bytes) -> object | None:
    """Parse JSON as leniently as possible; None for `null` and for bytes that are not JSON."""
    body = body.removeprefix(BOM)
    try:
        found: object = msgspec.json.decode(body)
        return found
    except UNREADABLE:
        pass
    try:
        # The standard parser accepts lone surrogates, msgspec does not.
        lenient: object = json.loads(body.decode("utf-8", "replace"))
        return lenient
    except (ValueError, RecursionError):
        return None
