"""Pictures among the parts of decoded messages, in all dialects below /v1."""

from __future__ import annotations

import re
from typing import Any, Final

from ._media import refused_format

_URL: Final = re.compile(r"data:image/[^;,]*;base64,", re.IGNORECASE)


def refused_data(value: Any) -> list[str]:
    """Return the base64 of all refused pictures in decoded messages of any dialect."""
    found: list[str] = []
    _walk(value, found, {})
    return found


def with_pictures(value: Any, pictures: dict[str, str]) -> Any:
    """Return decoded messages with PNG in place of refused pictures; `value` itself without any."""
    found: list[str] = []
    return _walk(value, found, pictures) if pictures else value


def _walk(value: Any, found: list[str], pictures: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_walk(item, found, pictures) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("type")
    if kind in ("image_url", "input_image"):
        return {
            key: _in_url(item, found, pictures) if key == "image_url" else item
            for key, item in value.items()
        }
    data = value.get("data")
    if kind == "base64" and isinstance(data, str) and refused_format(data):
        found.append(data)
        png = pictures.get(data)
        return value if png is None else {**value, "media_type": "image/png", "data": png}
    return {
        key: _walk(item, found, pictures) if isinstance(item, list | dict) else item
        for key, item in value.items()
    }


def _in_url(value: Any, found: list[str], pictures: dict[str, str]) -> Any:
    """Return the member `image_url` of a part: an object with the URL, or the URL itself."""
    if isinstance(value, dict):
        return {
            key: _in_url(item, found, pictures) if key == "url" else item
            for key, item in value.items()
        }
    head = _URL.match(value) if isinstance(value, str) else None
    data = value[head.end() :] if head is not None else ""
    if not refused_format(data):
        return value
    found.append(data)
    png = pictures.get(data)
    return value if png is None else f"data:image/png;base64,{png}"
