"""What a chunk says, and how long it took."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from ..types import internal


def sort_speech(
    before: internal.Speech | UnsetType,
    content: str | UnsetType | None,
    thinking: str | UnsetType,
    musing: str | UnsetType,
    shown: str,
) -> internal.Speech:
    """Sort a chunk's texts: with `shown="text"` thoughts are dropped."""
    thought = (thinking or musing or "") if shown == "both" else ""
    chunks = 0 if isinstance(before, UnsetType) else before.chunks
    return internal.Speech(text=content or "", thought=thought, chunks=chunks + 1)


def text_or_absent(text: str) -> str | UnsetType:
    """Return a text that has letters: `text_or_absent("")` is UNSET."""
    return text or UNSET


def elapsed(since: int, until: int) -> int:
    """Return the time between two moments: `elapsed(1, 42)` is 41."""
    return until - since
