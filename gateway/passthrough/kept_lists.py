"""
Lists of models that are passed on, kept as bytes as long as the gateway believes its own list.

Rules make such an answer from LM Studio's list and the gateway's (`PassedOn.is_kept`). It was asked
for after that one, so it is at least as young, and it is kept until that one is another object.
"""

from __future__ import annotations

from typing import TypeAlias

from ..engine.kept import KeptAnswer, Shelf
from ..engine.run import Services
from ..observability.record import Grant
from ..runtime.patching import PassedOn
from ..types import internal

_Rows: TypeAlias = list[internal.CatalogueRow]


class KeptLists:
    """The kept answers of all routes that list models, where there is one host."""

    def __init__(self, services: Services) -> None:
        """Keep nothing yet; the list of models is that of `services.catalogue`."""
        self._services = services
        self._shelf = Shelf()

    def clear(self) -> None:
        """Forget all answers: the settings are other ones."""
        self._shelf.clear()

    def find(
        self, route: PassedOn, grant: Grant | None = None, body: bytes = b"", _agent: str = ""
    ) -> KeptAnswer | None:
        """Return the answer of a route for a key, None if there is none that still holds."""
        shelf = self._shelf
        found = shelf.answers.get((route.path, () if grant is None else grant.models))
        if found is None or body:
            return None
        services = self._services
        if shelf.of is not services.catalogue.listed_now() or not services.fleet.is_one:
            return None
        return found

    def begin(self) -> _Rows | None:
        """Return what an answer that is made from here on may be kept for, None for nothing."""
        services = self._services
        return services.catalogue.listed_now() if services.fleet.is_one else None

    def keep(
        self, route: PassedOn, grant: Grant | None, rows: _Rows | None, kept: KeptAnswer
    ) -> None:
        """Keep an answer, unless the models are others than at its beginning, `rows`."""
        if rows is not None and rows is self.begin():
            self._shelf.keep((route.path, () if grant is None else grant.models), rows, kept)
