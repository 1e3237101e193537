"""The tags between which a model's thinking may stand in its text."""

from __future__ import annotations

from typing import Final

OPENING: Final = "<think>"
CLOSING: Final = "</think>"


def tail_of_tag(text: str) -> int:
    """Return the start of an end that may become the closing tag, else the length."""
    for size in range(min(len(text), len(CLOSING) - 1), 0, -1):
        if CLOSING.startswith(text[-size:]):
            return len(text) - size
    return len(text)
