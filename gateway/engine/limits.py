"""
Limits on the contents of a request: the nesting of its values, and the number of messages and
images.

The checks use decoded values or bytes, and are cheap for an ordinary request. The limit on a body's
size is in `server.asgi`, those on its time are in `server.protocol`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from gateway.faults import Refusal
from gateway.settings.schema import LimitSettings
from gateway.wire.lenient import UNREADABLE

_IMAGE = re.compile(rb'"image_url"\s*:|"type"\s*:\s*"image"')
"""Every image in OpenAI's, Anthropic's and LM Studio's form contains one of these."""
_LISTS = ("messages", "input")
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_OTHER = bytes(set(range(256)) - set(b'[]{}"'))
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")


def check_depth(body: bytes, limits: LimitSettings) -> None:
    """Raise Refusal (400) if the values of a JSON body nest too deep."""
    if _is_deeper(body, limits.json_depth):
        raise Refusal(
            400, f"the body nests values deeper than {limits.json_depth} levels (limits.json_depth)"
        )


def check_counts(request: object, limits: LimitSettings) -> None:
    """Raise Refusal (400) if a request's struct has too many messages or images."""
    messages = getattr(request, "messages", UNSET)
    messages = messages if isinstance(messages, list) else []
    _check("messages", len(messages), limits.messages)
    _check("images", sum(_images(each) for each in (request, *messages)), limits.images)


def check_raw_counts(body: bytes, fields: Mapping[str, msgspec.Raw], limits: LimitSettings) -> None:
    """Do the same as `check_counts` for a body that is passed through, of any API."""
    for name in _LISTS:
        raw = fields.get(name)
        if raw is not None and len(raw) > limits.messages:
            _check("messages", _length(raw), limits.messages)
    if body.count(b"image") > limits.images:
        _check("images", sum(1 for _ in _IMAGE.finditer(body)), limits.images)


def _check(what: str, there: int, most: int) -> None:
    if there > most:
        raise Refusal(400, f"the request has {there} {what}, more than {most} (limits.{what})")


def _images(holder: Any) -> int:
    images = getattr(holder, "images", UNSET)
    return len(images) if isinstance(images, list) else 0


def _length(raw: msgspec.Raw) -> int:
    try:
        items: Iterable[msgspec.Raw] = _decode_list(raw)
    except UNREADABLE:
        # A text, or unreadable JSON: LM Studio reports that.
        return 0
    return sum(1 for _ in items)


def _is_deeper(body: bytes, limit: int) -> bool:
    """
    Return whether brackets of any kind nest deeper than `limit`.

    Every step works on all bytes at once. It removes escapes, then everything except brackets and
    quotes, then the strings, which follow an odd number of quotes, then the innermost pairs, once
    for each level. Brackets without a partner are a syntax error, which the decoder reports.

    >>> _is_deeper(b'{"a": [["[[[[\\\\"["]]}', 3), _is_deeper(b'{"a": [[[0]]]}', 3)
    (False, True)
    """
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    marks = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHER)
    brackets = b"".join(marks.replace(b'""', b"").split(b'"')[::2]).translate(_AS_SQUARE)
    for _ in range(limit):
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            return fewer.count(b"[") > limit
        brackets = fewer
    return b"[]" in brackets or brackets.count(b"[") > limit
