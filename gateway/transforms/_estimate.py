"""Estimates of token counts that LM Studio leaves out."""

from __future__ import annotations

from msgspec import UnsetType

_CHARACTERS_PER_TOKEN = 4


def tokens(characters: int) -> int:
    """Return an estimate for a number of characters, at least 1: clients divide by counts."""
    return max(1, -(-characters // _CHARACTERS_PER_TOKEN))


def stated(reported: int | float | UnsetType | None) -> int:
    """Return a count that LM Studio reports, 0 if it reports none."""
    if isinstance(reported, UnsetType) or reported is None or reported < 1:
        return 0
    return int(reported)
