"""
Types that tables of settings share, and how a table is shown without its secret.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535)]

Count = Annotated[int, Meta(ge=0)]

Bytes = Annotated[int, Meta(ge=1)]

Seconds = Annotated[float, Meta(ge=0)]

Tier = Annotated[int, Meta(ge=1)]

Weight = Annotated[float, Meta(gt=0)]


def secret_shown(secret: object) -> str:
    """Say whether a secret is set, and nothing else about it."""
    return "set" if secret else "not set"


def shown_without(settings: msgspec.Struct, secret: str) -> str:
    """Return a table's `repr` in which a secret is shown as set or not set."""
    values = ", ".join(
        f"{name}={secret_shown(value) if name == secret else repr(value)}"
        for name in settings.__struct_fields__
        for value in (getattr(settings, name),)
    )
    return f"{type(settings).__name__}({values})"
