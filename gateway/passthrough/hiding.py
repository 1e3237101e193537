"""
Lists of LM Studio without the models that a key may not use.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..runtime.context import RequestContext
from ..runtime.patching import Change, Members, Values
from ..wire.lenient import UNREADABLE

_LISTS: Final = ("data", "models")
"""The members of answers that list models."""


class _Named(msgspec.Struct):
    """What names a model in an entry of a list."""

    id: str | UnsetType = UNSET
    key: str | UnsetType = UNSET


def _shown(members: Members, context: RequestContext) -> Values:
    """Return the lists without what is hidden; a list that cannot be read is empty."""
    grant = context.grant
    assert grant is not None
    found: Values = {}
    for name in _LISTS:
        if (raw := members.get(name)) is None:
            continue
        kept: list[Raw] = []
        try:
            for item in msgspec.json.decode(raw, type=list[Raw]):
                one = msgspec.json.decode(item, type=_Named)
                names = [each for each in (one.id, one.key) if isinstance(each, str)]
                if not names or grant.allows_model(*names):
                    kept.append(item)
        except UNREADABLE:
            kept = []
        found[name] = kept
    return found


HIDE_MODELS: Final = Change("replace", _shown)
"""Leaves out of an answer's lists what the context's key may not use."""
