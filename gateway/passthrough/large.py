"""
The members of a large body that is passed through, read and joined in steps of a bounded time.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import msgspec

from ..engine.limits import LISTS, check_number, count_images_in_steps
from ..settings.schema import LimitSettings
from ..wire.go_syntax import Broken
from ..wire.lenient import UNREADABLE
from ..wire.splitting import ANY_OBJECT, Part, Steps, is_at_end, split

_PIECE_BYTES = 1024 * 1024
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def read_members(body: bytes, limits: LimitSettings) -> Steps[dict[str, msgspec.Raw] | None]:
    """
    Return the members of a JSON object, None when the body is not an object.

    The values are parts of the body, not copies. Raises Refusal (400) for too many messages, images
    or members.
    """
    try:
        whole = yield from split(body, ANY_OBJECT)
        if whole.kind != "object" or not (yield from is_at_end(body, whole.end)):
            return None
    except (Broken, RecursionError):
        return None
    view = memoryview(body)
    found: dict[str, msgspec.Raw] = {}
    for name, part in whole.members:
        if name in LISTS:
            check_number("messages", (yield from _length(body, part)), limits.messages)
        found[name] = msgspec.Raw(view[part.start : part.end])
    check_number("images", (yield from count_images_in_steps(body)), limits.images)
    return found


def _length(body: bytes, part: Part) -> Steps[int]:
    """Return how many items a list has; 0 for anything else."""
    if part.kind == "leaf":
        return _number_of(body[part.start : part.end])
    number = 0
    for item in part.items:
        is_run = item.kind == "run"
        number += _number_of(b"[%b]" % body[item.start : item.end]) if is_run else 1
        yield
    return number


def _number_of(raw: bytes) -> int:
    try:
        return len(_decode_list(raw))
    except UNREADABLE:
        return 0


def join_in_steps(members: Mapping[str, msgspec.Raw]) -> Steps[bytes]:
    """Return the object of these members, each value as it was written."""
    whole = BytesIO()
    mark = b"{"
    for name, value in members.items():
        whole.write(mark + msgspec.json.encode(name) + b":")
        view = memoryview(value)
        for at in range(0, len(view), _PIECE_BYTES):
            whole.write(view[at : at + _PIECE_BYTES])
            yield
        mark = b","
    whole.write(b"{}" if mark == b"{" else b"}")
    return whole.getvalue()
