"""One member of raw JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw


def member_of(raw: Raw, name: str) -> Any:
    """
    Return a member of a raw object, None where it has none, and for what is no object.

    Raises what `wire.lenient.UNREADABLE` names when the value cannot be decoded.

    >>> member_of(Raw(b'{"role":"user"}'), "role"), member_of(Raw(b"[1]"), "role")
    ('user', None)
    """
    value = msgspec.json.decode(raw)
    return value.get(name) if isinstance(value, dict) else None
