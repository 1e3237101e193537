"""Pictures among the parts of messages, in all dialects below /v1."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import Raw

from ..faults import Refusal
from ..wire.go_json import mend_surrogates
from ..wire.go_syntax import Broken
from ..wire.lenient import UNREADABLE
from ..wire.shapes import Shape
from ..wire.splitting import Part, Steps, split
from ._media import refused_format

_URL: Final = re.compile(r"data:image/[^;,]*;base64,", re.IGNORECASE)
_PICTURES: Final = ("image_url", "input_image", "base64")
"""The values of `type` of what holds one picture, and is read whole."""
_ANY_DEPTH: Final = Shape(frozenset({"object"}))
_ANY_DEPTH.item = _ANY_DEPTH


def refused_data(raw: Raw) -> Steps[list[str]]:
    """
    Return the base64 of all refused pictures in messages of any dialect.

    One picture is decoded in a step, and no long text is. What is no JSON, has none: LM Studio
    reports it.
    """
    found: list[str] = []
    body = bytes(raw)
    try:
        whole = yield from split(body, _ANY_DEPTH)
        yield from _search(body, whole, found)
    except (Broken, Refusal, *UNREADABLE):
        return []
    return found


def _search(body: bytes, part: Part, found: list[str]) -> Steps[None]:
    if part.kind in ("leaf", "run") or _has_picture(body, part):
        data = body[part.start : part.end]
        _walk(read_mended(b"[%b]" % data if part.kind == "run" else data), found, {})
        yield
        return
    for item in part.items:
        yield from _search(body, item, found)
    for _, member in part.members:
        yield from _search(body, member, found)


def _has_picture(body: bytes, part: Part) -> bool:
    stated = [member for name, member in part.members if name == "type"]
    return any(read_mended(body[each.start : each.end]) in _PICTURES for each in stated[-1:])


def read_mended(data: bytes | Raw) -> Any:
    """Return the value of JSON, with U+FFFD for what is no character, as LM Studio does."""
    try:
        return msgspec.json.decode(data)
    except UNREADABLE:
        return msgspec.json.decode(mend_surrogates(bytes(data).decode("utf-8", "replace")))


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
