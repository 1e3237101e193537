"""
Answers that are kept as bytes until something changes that they depend on.

The generated table says of an endpoint what that is (`Endpoint.keeps`): the settings, or the list
of models too. A list is told from another one by being another object.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeAlias

from ..observability.record import Grant
from ..types import internal
from .endpoint import Endpoint
from .run import Services

MOST_KEPT: Final = 256
"""How many answers are kept; one for each plan and each key's patterns of models."""

_Of: TypeAlias = tuple[Callable[..., Awaitable[Any]], tuple[str, ...]]


class KeptAnswer(NamedTuple):
    """The body of an answer with status 200, and its content type."""

    content_type: bytes
    body: bytes


class KeptAnswers:
    """The kept answers of all endpoints."""

    def __init__(self, services: Services) -> None:
        """Keep nothing yet; the list of models is that of `services.catalogue`."""
        self._services = services
        self._kept: dict[_Of, tuple[list[internal.CatalogueRow] | None, KeptAnswer]] = {}

    def clear(self) -> None:
        """Forget all answers: the settings are other ones."""
        self._kept.clear()

    def find(self, endpoint: Endpoint, grant: Grant | None = None) -> KeptAnswer | None:
        """Return the answer of an endpoint for a key, None if there is none that still holds."""
        found = self._kept.get((endpoint.plan, () if grant is None else grant.models))
        if found is None:
            return None
        rows, kept = found
        if endpoint.keeps == "models" and rows is not self._services.catalogue.listed_now():
            return None
        return kept

    def keep(
        self, endpoint: Endpoint, grant: Grant | None, content_type: bytes, body: bytes
    ) -> None:
        """Keep an answer that was made in this step of the event loop."""
        rows = None
        if endpoint.keeps == "models" and (rows := self._services.catalogue.listed_now()) is None:
            return
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        of = (endpoint.plan, () if grant is None else grant.models)
        self._kept[of] = (rows, KeptAnswer(content_type, body))
