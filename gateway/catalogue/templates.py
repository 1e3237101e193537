"""
What answers have shown of the models' chat templates: whether one opens the thinking by itself.

Such an answer begins inside its thinking, and only `</think>` shows it
(docs/facts/lmstudio.md#think-tags). LM Studio's lists state nothing of it. This is known per host,
for the models that its list has, until the process ends.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..types import internal


class Templates:
    """The templates of one host's models; the reader of answers changes an entry in place."""

    def __init__(self) -> None:
        self._known: dict[str, internal.Template] = {}

    def attach(self, rows: Iterable[internal.CatalogueRow]) -> None:
        """Give each row of a new list its entry, and forget models that are gone from the list."""
        before, self._known = self._known, {}
        for row in rows:
            known = self._known.get(row.key)
            if known is None:
                known = before.get(row.key) or internal.Template(opens_thinking=False)
                self._known[row.key] = known
            row.template = known
