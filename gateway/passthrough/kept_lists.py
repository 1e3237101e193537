"""
Lists of models that are passed on, kept as bytes as long as the gateway believes its own list.

Rules make such an answer from LM Studio's list and the gateway's (`PassedOn.is_kept`). It was asked
for after that one, so it is at least as young, and it is kept until that one is another object.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from ..engine.run import Services
from ..observability.record import Grant
from ..runtime.patching import PassedOn
from ..types import internal

MOST_KEPT: Final = 256
"""How many answers are kept; one for each route and each key's patterns of models."""

_Rows: TypeAlias = list[internal.CatalogueRow]


class KeptList(NamedTuple):
    """The body of an answer with status 200, and its content type."""

    content_type: bytes
    body: bytes


class KeptLists:
    """The kept answers of all routes that list models, where there is one host."""

    def __init__(self, services: Services) -> None:
        """Keep nothing yet; the list of models is that of `services.catalogue`."""
        self._services = services
        self._kept: dict[tuple[str, tuple[str, ...]], tuple[_Rows, KeptList]] = {}

    def clear(self) -> None:
        """Forget all answers: the settings are other ones."""
        self._kept.clear()

    def find(self, route: PassedOn, grant: Grant | None = None) -> KeptList | None:
        """Return the answer of a route for a key, None if there is none that still holds."""
        found = self._kept.get((route.path, () if grant is None else grant.models))
        if found is None:
            return None
        rows, kept = found
        services = self._services
        if rows is not services.catalogue.listed_now() or not services.fleet.is_one:
            return None
        return kept

    def begin(self) -> _Rows | None:
        """Return what an answer that is made from here on may be kept for, None for nothing."""
        services = self._services
        return services.catalogue.listed_now() if services.fleet.is_one else None

    def keep(
        self, route: PassedOn, grant: Grant | None, rows: _Rows | None, kept: KeptList
    ) -> None:
        """Keep an answer, unless the models are others than at its beginning, `rows`."""
        if rows is None or rows is not self.begin():
            return
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[route.path, () if grant is None else grant.models] = (rows, kept)
