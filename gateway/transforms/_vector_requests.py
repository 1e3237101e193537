"""What a request for vectors that is passed on asks for."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, UnsetType

from ..wire.lenient import UNREADABLE
from ._raw import decoded, kind_of

_decode_items: Final = msgspec.json.Decoder(list[Raw]).decode


def wants_base64(encoding_format: Raw | UnsetType) -> bool:
    """
    Whether a request asks for vectors as base64, in any letter case as with Ollama.

    >>> wants_base64(Raw(b'"BASE64"')), wants_base64(Raw(b'"float"'))
    (True, False)
    """
    value = decoded(encoding_format)
    return isinstance(value, str) and value.lower() == "base64"


def text_count(input: Raw | UnsetType) -> int:
    """
    Return how many texts a raw input has, 0 where that can't be told.

    A list of numbers is one text as its tokens.

    >>> text_count(Raw(b'"a"')), text_count(Raw(b'["a", "b"]')), text_count(Raw(b"[1, 2]"))
    (1, 2, 1)
    """
    if isinstance(input, UnsetType) or kind_of(input) != "array":
        return int(kind_of(input) == "string")
    try:
        items = _decode_items(input)
    except UNREADABLE:
        return 0
    kinds = {*map(kind_of, items)}
    return 1 if kinds == {"number"} else len(items) if kinds <= {"string", "array"} else 0
