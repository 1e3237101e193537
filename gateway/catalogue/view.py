"""
One model list of the host, as of one moment, and the names that its models answer to.

Fetching a list and keeping it young is in `catalogue`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from ..names import grammar, keys
from ..types import internal
from .rows import CapabilityWords, other_names, rows_of

Dialect: TypeAlias = Literal["v1", "v0", "openai"]
"""The API that a host speaks: LM Studio's own in two versions, or the plain OpenAI list."""

MOST_MATCHED: Final = 1000
"""How many names of models that were found a view remembers."""


@dataclass(frozen=True)
class View:
    """
    The models as of one moment, and every name they answer to.

    `taken_at` is monotonic. `rows` are LM Studio's own models in its order. A folded name is one in
    the form that names compare in (lower case, with defaults).
    """

    dialect: Dialect
    taken_at: float
    rows: list[internal.CatalogueRow]
    made: dict[str, internal.CatalogueRow] = field(default_factory=dict)
    """Derived models and configured aliases by their folded names; these hide all others."""
    exact: dict[str, internal.CatalogueRow] = field(default_factory=dict)
    """LM Studio's models by names that must be spelled exactly: keys, variants, identifiers."""
    folded: dict[str, internal.CatalogueRow] = field(default_factory=dict)
    """LM Studio's models by their folded names."""
    pulled: Mapping[str, str] = field(default_factory=dict)
    """LM Studio's keys of models that were pulled under other names, by these folded names."""
    _matched: dict[str, internal.CatalogueRow] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What `match` found for the names that were asked for last."""

    def match(self, text: str) -> internal.CatalogueRow | None:
        """
        Return the row that a name stands for, None if it stands for none.

        A derived model comes first, then an exact key or variant, then a name in any letter case,
        then a name that was pulled, then the name without an instance's number.
        """
        found = self._matched.get(text)
        if found is None and (found := self._match(text)) is not None:
            if len(self._matched) >= MOST_MATCHED:
                self._matched.clear()
            self._matched[text] = found
        return found

    def _match(self, text: str) -> internal.CatalogueRow | None:
        if (made := self.made.get(fold(text))) is not None:
            return made
        row = self.exact.get(text)
        if row is not None:
            return row
        parsed = grammar.parse(text)
        if parsed is not None and (row := self.folded.get(parsed.folded)) is not None:
            return row
        if parsed is not None:
            row = self.exact.get(self.pulled.get(parsed.folded, ""))
            if row is not None:
                return row
        base, number = keys.split_instance(text)
        return self._match(base) if number is not None and base != text else None

    def outdated(self) -> View:
        """Return this view as one that is too old for every use."""
        return replace(self, taken_at=float("-inf"))


def build_view(
    dialect: Dialect,
    taken_at: float,
    models: internal.HostModels,
    seen_at: Callable[[str], str],
    insert_architectures: Collection[str],
    words: CapabilityWords,
) -> View:
    """
    Return the view of a list that the host sent, without derived models.

    `taken_at` is monotonic. `seen_at` returns the `modified_at` of a model's key.
    `insert_architectures` is the setting. `words` names the capabilities that clients see.
    """
    view = View(dialect, taken_at, [])
    named: dict[str, internal.CatalogueRow] = {}
    for model in models.models:
        for row in rows_of(model, seen_at(model.key), insert_architectures, words):
            # LM Link may list one key twice; the first stands for both
            # (docs/facts/lmstudio.md#linked-machines).
            if (twin := named.get(row.name)) is not None:
                twin.instances = [*twin.instances, *row.instances]
                continue
            named[row.name] = row
            view.rows.append(row)
            for exact in (row.name, row.request_key):
                view.exact.setdefault(exact, row)
            _set_folded(view, row.name, row)
    # A user's identifier of an instance never hides a model of that name.
    for model in models.models:
        for other, name in other_names(model):
            target = named.get(name)
            if target is not None:
                view.exact.setdefault(other, target)
                _set_folded(view, other, target)
    return view


def fold(text: str) -> str:
    """Return a name in the form that names compare in, an empty text for one that is illegal."""
    parsed = grammar.parse(text)
    return parsed.folded if parsed is not None else ""


def _set_folded(view: View, name: str, row: internal.CatalogueRow) -> None:
    parsed = grammar.parse(name)
    if parsed is not None:
        view.folded.setdefault(parsed.folded, row)
