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

from ..faults import Refusal
from ..settings.schema import LimitSettings
from ..wire.large import is_deeper_in_steps
from ..wire.lenient import UNREADABLE
from ..wire.splitting import WINDOW, Steps

_IMAGE = re.compile(rb'"image_url"\s*:|"type"\s*:\s*"image"')
"""Every image in OpenAI's, Anthropic's and LM Studio's form contains one of these."""
_IMAGE_BYTES = 64
"""The longest mark of an image that is found at the end of what one step looks at."""
LISTS = ("messages", "input")
"""The members of a body in any API that hold its messages."""
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_OTHER = bytes(set(range(256)) - set(b'[]{}"'))
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")


def check_depth(body: bytes, limits: LimitSettings) -> None:
    """Raise Refusal (400) if the values of a JSON body nest too deep."""
    most = limits.json_depth
    # Most bodies are too short for it, which counting in them would only tell later.
    if len(body) > most and body.count(b"[") + body.count(b"{") > most and _is_deeper(body, most):
        raise _too_deep(limits)


def check_depth_in_steps(body: bytes, limits: LimitSettings) -> Steps[None]:
    """Do the same in steps of a bounded time, for a body of any size."""
    if (yield from is_deeper_in_steps(body, limits.json_depth)):
        raise _too_deep(limits)


def _too_deep(limits: LimitSettings) -> Refusal:
    return Refusal(
        400, f"the body nests values deeper than {limits.json_depth} levels (limits.json_depth)"
    )


def check_counts(request: object, limits: LimitSettings) -> None:
    """Raise Refusal (400) if a request's struct has too many messages or images."""
    # In loops, because every request passes.
    number = _images(request)
    messages = getattr(request, "messages", None)
    if isinstance(messages, list):
        check_number("messages", len(messages), limits.messages)
        for each in messages:
            # A message without them is known by a look, whatever its type.
            if getattr(each, "images", UNSET) is not UNSET:
                number += _images(each)
    check_number("images", number, limits.images)


def check_raw_counts(body: bytes, fields: Mapping[str, msgspec.Raw], limits: LimitSettings) -> None:
    """Do the same as `check_counts` for a body that is passed through, of any API."""
    for name in LISTS:
        raw = fields.get(name)
        if raw is not None and len(raw) > limits.messages:
            check_number("messages", _length(raw), limits.messages)
    if body.count(b"image") > limits.images:
        check_number("images", sum(1 for _ in _IMAGE.finditer(body)), limits.images)


def count_images_in_steps(body: bytes) -> Steps[int]:
    """Return how many images a body that is passed through has."""
    number = 0
    for at in range(0, len(body), WINDOW):
        if body.find(b"image", at, at + WINDOW + _IMAGE_BYTES) >= 0:
            number += sum(
                1
                for found in _IMAGE.finditer(body, at, at + WINDOW + _IMAGE_BYTES)
                if found.start() < at + WINDOW
            )
        yield
    return number


def check_number(what: str, there: int, most: int) -> None:
    """Raise Refusal (400) if a request has more of something than it may."""
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
    marks = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHER)
    brackets = b"".join(marks.replace(b'""', b"").split(b'"')[::2]).translate(_AS_SQUARE)
    for _ in range(limit):
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            return fewer.count(b"[") > limit
        brackets = fewer
    return b"[]" in brackets or brackets.count(b"[") > limit
