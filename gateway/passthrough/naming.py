"""
The model that a request names, in its body or its path, and the one that may serve in its place.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from ..engine.run import NEAREST, Services
from ..faults import Refusal
from ..server.dialects import MOUNTS
from ..types import internal
from ..wire.lenient import UNREADABLE
from .passing import Passing
from .remembered import Remembered

HINT: Final = "x-olgate-hint"
UNKNOWN_HINT: Final = (
    'the setting models.unknown may be "nearest", or name a model that serves instead'
)
NAMED_MODEL: Final = "this key needs a JSON body that names a model (keys.NAME.models)"


class Naming:
    """Finds models by the names that requests have."""

    def __init__(self, services: Services, remembered: Remembered) -> None:
        self._services = services
        self._remembered = remembered

    async def find(self, name: Raw | None, passing: Passing) -> bool:
        """
        Find a model by the raw name in a body; return whether there was a name at all.

        Raises Refusal as `resolve`.
        """
        try:
            asked = None if name is None else msgspec.json.decode(name)
        except UNREADABLE:
            return False
        if not isinstance(asked, str) or not asked.strip():
            return False
        await self.resolve(asked, passing, is_inference=passing.route.path.startswith(MOUNTS))
        return True

    async def resolve(self, asked: str, passing: Passing, *, is_inference: bool = False) -> None:
        """
        Set the context's model to the one that a name stands for. Raises Refusal (404).

        With `is_inference` an unknown name may be served by another model (`models.unknown`).
        """
        context = passing.context
        row = await self._known(asked, passing)
        if row is None:
            near = self._services.catalogue.nearest(asked)
            if context.grant is not None:
                near = [each for each in near if context.grant.allows_model(each)]
            if is_inference:
                row = await self._instead_of(asked, near, passing)
            if row is None:
                if passing.ticket is not None:
                    self._remembered.refuse_other(asked, passing.ticket)
                headers = [(NEAREST, ", ".join(near))] if near else []
                if is_inference and context.settings.models.unknown == "refuse":
                    headers.append((HINT, UNKNOWN_HINT))
                raise Refusal(404, f"model '{asked}' not found", tuple(headers))
        context.model = row
        context.asked = internal.AskedName(
            text=asked, trimmed=asked.strip(), display=row.name, full=row.name
        )

    async def _known(self, name: str, passing: Passing) -> internal.CatalogueRow | None:
        """Return the model of a name, None if it is not there or the key may not use it."""
        if passing.ticket is None:
            row = await self._services.catalogue.find(name, trust_loaded=True)
        else:
            row = await self._services.fleet.choose(passing.ticket, name, trust_loaded=True)
        grant = passing.context.grant
        if grant is not None and row is not None and not grant.allows_model(row.name, row.key):
            return None
        return row

    async def _instead_of(
        self, asked: str, near: list[str], passing: Passing
    ) -> internal.CatalogueRow | None:
        """Return the model that serves in place of an unknown one, None if none may."""
        wanted = passing.context.settings.models.unknown
        if wanted == "refuse":
            return None
        if wanted == "nearest":
            if len(near) != 1:
                return None
            wanted = near[0]
        row = await self._known(wanted, passing)
        if row is not None:
            passing.context.warnings.append(
                f"{asked!r} is unknown; {row.name} answers (models.unknown)"
            )
        return row
