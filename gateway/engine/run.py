"""
The state of one request while its plan runs: its context, and the services for steps.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar, TypeVarTuple, Unpack

from ..catalogue.catalogue import Catalogue
from ..catalogue.derive import Wanted
from ..catalogue.downloads import Downloads
from ..catalogue.uploads import Blobs
from ..fleet.fleet import Fleet
from ..fleet.pulls import Pulls
from ..fleet.ticket import Ticket
from ..fleet.union import Union
from ..lifecycle.lifecycle import Lease
from ..names import grammar
from ..observability.record import Grant
from ..runtime.context import RequestContext
from ..server.bodies import Bodies
from ..types import internal
from .turns import Turns

TargetT = TypeVar("TargetT")
ValuesT = TypeVarTuple("ValuesT")

NEAREST: Final = "x-olgate-nearest"

LookupResult: TypeAlias = Literal["found", "illegal", "unknown", "cloud", "conflict"]


def allowed(rows: list[internal.CatalogueRow], grant: Grant) -> list[internal.CatalogueRow]:
    """Return the rows that a key may use."""
    return [row for row in rows if grant.allows_model(row.name, row.key)]


@dataclass(slots=True)
class Services:
    """
    The services that steps use; one set for all requests of a process.

    A reload that changes hosts may replace `catalogue` and `downloads`.
    """

    fleet: Fleet
    catalogue: Catalogue | Union
    """The models of all hosts."""
    downloads: Downloads | Pulls
    blobs: Blobs
    turns: Turns
    bodies: Bodies


class Run:
    """
    The objects that a plan works with.

    If a step takes a `lease`, it is released after the answer. `warnings` are for the client: a
    step adds a sentence, and the relay sends each in a header if the answer has not started.
    `incoming` is the client's body if it is a file; it can be read once.
    """

    # What most requests neither have nor read stays an attribute of the class: it costs nothing.
    request: Any = None
    """The decoded request."""
    wants_stream: Callable[[Any], bool] | None = None
    """Tells whether a request's answer is frames; None if that is never so."""
    incoming: AsyncIterator[bytes] | None = None
    wanted: Wanted | None = None
    """What is stated of the model that the request makes."""
    warned: tuple[str, ...] = ()
    """The warnings that the client has got; they are not repeated when the plan runs again."""

    def __init__(
        self, context: RequestContext, services: Services, ticket: Ticket | None = None
    ) -> None:
        self.context = context
        self.services = services
        self.host = services.fleet.first
        """The host that serves this request."""
        self.ticket = ticket
        """Where there are several hosts: how one of them is chosen."""
        self.lease: Lease | None = None
        self.is_large = False
        """Whether work on the whole request takes so long that others must not wait for it."""
        self.hints: list[tuple[str, str]] = []
        """Headers for a refusal, with the known names most similar to an unknown one."""
        self.warnings: list[str] = []

    async def apart(
        self, translate: Callable[[Unpack[ValuesT]], TargetT], *values: *ValuesT
    ) -> TargetT:
        """Translate a large request outside of the event loop; raises what `translate` raises."""
        return await self.services.turns.apart(translate, *values)

    async def find_model(
        self,
        name: str,
        *,
        takes_cloud: bool = False,
        match_case: bool = False,
        as_written: bool = False,
        trust_loaded: bool = False,
    ) -> LookupResult:
        """
        Resolve a name as the client sent it; on success `context.model` is set.

        A name of ollama.com is "cloud", unless the endpoint takes it for one like any other; one
        that says both places is in "conflict". With `match_case` a row whose own name differs in
        nothing but letter case is not meant (docs/facts/ollama.md#name-matching,
        docs/facts/ollama.md#name-places). `as_written` is for a route to which these places are
        tags and blanks a part of the name. `trust_loaded` is the catalogue's.

        Raises UpstreamFailure if LM Studio cannot be asked and the name is not in the cached list.
        """
        text = name.strip()
        context = self.context
        base, place, is_legal = name, None, False
        if not as_written:
            try:
                base, place = grammar.split_place(text)
            except ValueError:
                context.asked = internal.AskedName(text=name, trimmed=text, display=name, full=name)
                return "illegal" if takes_cloud else "conflict"
            if place == "cloud" and takes_cloud:
                is_legal = grammar.parse(base) is not None
                base = text
        parsed = grammar.parse(base)
        if parsed is None:
            context.asked = internal.AskedName(text=name, trimmed=text, display=name, full=name)
        else:
            context.asked = internal.AskedName(
                text=name, trimmed=text, display=parsed.display, full=parsed.full
            )
            if place == "cloud" and not takes_cloud:
                return "cloud"
        if self.ticket is None:
            row = self.host.catalogue.find_loaded(base) if trust_loaded else None
            if row is None:
                row = await self.services.catalogue.find(base)
        else:
            row = await self._choose(self.ticket, base, trust_loaded=trust_loaded)
        grant = context.grant
        if grant is not None and row is not None and not grant.allows_model(row.name, row.key):
            row = None
        if row is None or (
            match_case and base != row.key and grammar.differ_in_case(base, row.name)
        ):
            if parsed is None and not is_legal:
                return "illegal"
            near = self.services.catalogue.nearest(base)
            if grant is not None:
                near = [each for each in near if grant.allows_model(each)]
            if near:
                self.hints.append((NEAREST, ", ".join(near)))
            return "unknown"
        if parsed is not None and parsed.display != row.name:
            # A name is shown as it is stored (docs/facts/ollama.md#tools).
            kept = grammar.parse(row.name)
            if kept is not None and kept.folded == parsed.folded:
                context.asked.full = kept.full
        context.model = row
        return "found"

    async def _choose(
        self, ticket: Ticket, name: str, *, trust_loaded: bool
    ) -> internal.CatalogueRow | None:
        """Choose the host of the request, and return its row of the name."""
        try:
            return await self.services.fleet.choose(ticket, name, trust_loaded=trust_loaded)
        finally:
            if ticket.host is not None:
                self.host = ticket.host
                self.context.upstream_url = ticket.host.upstream.url
