"""Counts where LM Studio gives none: how many tokens a text of so many characters may be."""

from __future__ import annotations

from msgspec import UnsetType

_CHARACTERS_PER_TOKEN = 4


def tokens(characters: int) -> int:
    """Return an estimate, at least 1: clients divide by counts."""
    return max(1, -(-characters // _CHARACTERS_PER_TOKEN))


def stated(reported: int | float | UnsetType | None) -> int:
    """Return a count that LM Studio reports, 0 where it reports none."""
    if isinstance(reported, UnsetType) or reported is None or reported < 1:
        return 0
    return int(reported)
