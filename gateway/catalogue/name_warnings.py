"""
Warnings, once each, of names that are probably not the ones that their senders meant.
"""

from __future__ import annotations

from typing import Final

from ..names import grammar, suggestions
from ..observability.journal import get_logger
from ..types import internal

MOST_NAMES: Final = 1000
"""Number of names that are kept in memory, with a warning or without one."""


class NameWarnings:
    """The names that were looked at."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str, str]] = set()
        self._warned: set[str] = set()
        self._log = get_logger()

    def look_at(self, text: str, row: internal.CatalogueRow) -> None:
        """Log once that a name by which a model is asked for is suspicious."""
        seen = (text, row.key, row.name)
        if seen in self._seen or text in self._warned or len(self._warned) >= MOST_NAMES:
            return
        warning = suggestions.looks_suspicious(text)
        if warning is None and text != row.key and grammar.differ_in_case(text, row.name):
            warning = f"the model name {text!r} differs from {row.name!r} in letter case only"
        if warning is not None:
            self._warned.add(text)
            self._log.warning(
                "suspicious model name", asked=text, served_by=row.name, reason=warning
            )
        elif len(self._seen) < MOST_NAMES:
            self._seen.add(seen)
