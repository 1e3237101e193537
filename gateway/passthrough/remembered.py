"""
What one host remembers, where there are several: a request that names it goes to that host.

The rows of the generated table say where it is named (`session`, `session_below` and `gives` in
`runtime.patching`).
"""

from __future__ import annotations

from math import inf

import msgspec
from msgspec import Raw

from ..faults import Refusal, UpstreamFailure, afresh
from ..fleet.fleet import Fleet
from ..fleet.host import Host
from ..fleet.ticket import Ticket
from ..runtime.context import RequestContext
from ..runtime.patching import PassedOn
from ..wire.lenient import UNREADABLE
from .given import Given

_AWAY = UpstreamFailure("it does not answer", fault="connect")


class Remembered:
    """Finds the host of what a request names, and notes the host of what an answer gives."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def listener(self, route: PassedOn, host: Host) -> Given:
        """Return what notes the identifier in an answer of a host."""
        sessions, identity = self._fleet.sessions, host.identity
        return Given(route.gives, lambda session: sessions.note(session, identity))

    async def pin_by_path(
        self, route: PassedOn, values: dict[str, str], path: str, ticket: Ticket
    ) -> None:
        """Pin a request to the host of what its path names. Raises UpstreamFailure if away."""
        named = values.get(route.session) or path.removeprefix(route.path).partition("/")[0]
        await self._pin(named, ticket)

    async def pin_by_member(self, named: Raw | None, ticket: Ticket) -> None:
        """Pin a request to the host of what its member names. Raises UpstreamFailure if away."""
        try:
            session = None if named is None else msgspec.json.decode(named)
        except UNREADABLE:
            return
        if isinstance(session, str):
            await self._pin(session, ticket)

    async def _pin(self, session: str, ticket: Ticket) -> None:
        # A pin of the client's counts more, and after a failure the request is known to have none.
        if ticket.pinned is not None or ticket.retries:
            return
        identity = await self._fleet.sessions.host_of(session)
        for host in self._fleet.hosts:
            if host.identity == identity:
                ticket.pinned, ticket.session, ticket.keeper = host.number, session, host
                if self._is_away(host):
                    # It may be back since it was last asked.
                    await self._fleet.union.ask_again((host.number,))
                if self._is_away(host):
                    raise afresh(host.failure or _AWAY)
                return

    def explained(
        self, problem: BaseException, ticket: Ticket, context: RequestContext
    ) -> BaseException:
        """Return a failure with the reason why no other host serves, where its host is away."""
        host = ticket.keeper
        if host is None or not isinstance(problem, UpstreamFailure) or not self._is_away(host):
            return problem
        context.upstream_url = host.upstream.url
        words = f"{problem.message}; {_alone(host, ticket)}, so no other host can serve this"
        return UpstreamFailure(words, fault="connect")

    def refuse_other(self, asked: str, ticket: Ticket) -> None:
        """Raise Refusal (404) for a model that only other hosts than the pinned one have."""
        if ticket.keeper is not None and ticket.homes:
            words = f"{_alone(ticket.keeper, ticket)}, and it does not have the model {asked!r}"
            raise Refusal(404, words)

    def _is_away(self, host: Host) -> bool:
        return host.number < 0 or self._fleet.ejections.shut_until[host.number] == inf


def _alone(host: Host, ticket: Ticket) -> str:
    return f"only the host {host.name} knows {ticket.session!r}"
