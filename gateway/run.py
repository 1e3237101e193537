"""
One request on its way through its plan: the context, and the services that steps act on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from gateway import names
from gateway._generated import internal
from gateway.blobs import Blobs
from gateway.call import Call
from gateway.catalog import Catalog
from gateway.downloads import Downloads
from gateway.lifecycle import Lease, Lifecycle


@dataclass(frozen=True, slots=True)
class Services:
    """What steps of plans act on; one set for all requests of a process."""

    catalog: Catalog
    lifecycle: Lifecycle
    blobs: Blobs
    downloads: Downloads


class Run:
    """
    What a plan works with.

    `lease`, when a step took one, is given back after the answer. `warnings` are for the client: a
    step adds a sentence, the relay sends each in a header while the answer has not begun.
    `incoming` is the client's body where it is a file, to be read once.
    """

    __slots__ = ("call", "incoming", "lease", "services", "warnings")

    def __init__(self, call: Call, services: Services) -> None:
        self.call = call
        self.services = services
        self.lease: Lease | None = None
        self.incoming: AsyncIterator[bytes] | None = None
        self.warnings: list[str] = []

    async def find_model(self, name: str) -> Literal["found", "illegal", "unknown"]:
        """
        Resolve a name as the client sent it; on success `call.model` is there.

        Raises UpstreamFailure when LM Studio can't be asked and nothing is known of the name.
        """
        parsed = names.parse(name.strip())
        self.call.asked = internal.AskedName(
            text=name,
            display=parsed.display if parsed else name,
            full=parsed.full if parsed else name,
        )
        row = await self.services.catalog.find(name)
        if row is None:
            return "unknown" if parsed is not None else "illegal"
        self.call.model = row
        return "found"
