"""
What LM Studio refuses in requests and Ollama takes (docs/facts/lmstudio.md#refused-content).

Other servers of the dialect refuse less; who reads a request says which server is acted.
"""

import base64
import re
from typing import Any

PATTERN = (
    "Unable to generate parser for this template. Automatic parser generation failed: "
    "JSON schema conversion failed:\nPattern must start with '^' and end with '$'"
)

TAKEN = ("image/png", "image/jpeg", "image/jpg", "image/gif", "image/bmp")
"""
Declared types of pictures that are taken.

That PNG and JPEG are taken, and WebP, AVIF and HEIC are not, is reported; the others are a guess.
"""

_REFUSED_START = re.compile(rb"RIFF....WEBP|....ftyp(?:avi|hei|hev|mif|msf)", re.DOTALL)
_SCHEMAS = ("parameters", "input_schema")
_NAMES = ("properties", "$defs", "definitions")
_VALUES = ("enum", "const", "default", "examples")


def is_refused_picture(kind: str, data: str) -> bool:
    """Say whether a picture is of a type that is not taken, by its stated type or its bytes."""
    start = base64.b64decode(data[:32])
    return kind.lower() not in TAKEN or _REFUSED_START.match(start) is not None


def has_refused_pattern(tools: Any) -> bool:
    """Say whether the schema of a tool has a pattern without its anchors."""
    listed = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    described = [*listed, *(tool.get("function") for tool in listed)]
    return any(
        _is_refused(tool.get(place))
        for tool in described
        if isinstance(tool, dict)
        for place in _SCHEMAS
    )


def _is_refused(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_is_refused, schema))
    if not isinstance(schema, dict):
        return False
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and not (pattern.startswith("^") and pattern.endswith("$")):
        return True
    return any(
        any(map(_is_refused, value.values()))
        if key in _NAMES and isinstance(value, dict)
        else _is_refused(value)
        for key, value in schema.items()
        if key not in _VALUES
    )
