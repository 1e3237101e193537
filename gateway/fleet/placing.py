"""
Placing requests on hosts: what placement knows of every home, kept up to date host by host.

The choice itself is `placement.rank`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from ..types import internal
from .changed import ChangedHosts
from .draining import Draining
from .ejection import Ejections
from .homes import Homes
from .host import Host
from .placement import Needs, Spread, rank
from .snapshot import facts_at, facts_of, view_of
from .ticket import Ticket
from .view import LOADED, HomeFacts, ModelHomes

ANY: Final = ""
"""The model of a request that names none: every host has it."""
_MOST_MODELS = 4096
"""Models whose homes are kept for placement."""


class Placing:
    """Ranks hosts for requests."""

    def __init__(
        self,
        hosts: Sequence[Host],
        changed: ChangedHosts,
        running: Sequence[int],
        ejections: Ejections,
        draining: Draining,
        spread: Spread,
    ) -> None:
        """
        Place on these hosts. `changed` says which of them have other homes than before.

        `running` counts the requests on each; it and the states of the hosts are read when needed.
        """
        self.late: set[int] = {host.number for host in hosts if host.is_late}
        """The numbers of hosts whose list was not there in time."""
        self._hosts = hosts
        self._changed = changed
        self._draining = draining
        self._spread = spread
        self._known: dict[str, _Known] = {}
        self._keys: dict[str, set[str]] = {}
        """The keys of the known homes of a model, by its `instances_of`."""
        self._held = [host.held() for host in hosts]
        self._count = changed.count
        self._homes: dict[str, ModelHomes] = {}
        self._view = view_of(hosts, self._homes, running, ejections.shut_until, self._held)
        self._forget()

    def rank(self, ticket: Ticket, homes: Homes) -> tuple[int, ...]:
        """Return the numbers of the hosts that may serve a request for a model, best first."""
        self._keep_up(homes)
        tried = ticket.tried
        out = tried | self._draining.numbers
        # A drained home comes last: the model is known there, and a use of it is refused. After a
        # failure that would hide the reason.
        last = (out,) if ticket.last_failure is not None else (out, tried)
        # What nobody can do is refused by the request's plan, in Ollama's words.
        return self._first(ticket, homes.key, (ticket.mask, 0), (out | self.late, *last))

    def rank_any(self, ticket: Ticket) -> int:
        """Return the number of the best host for a request that names no model."""
        tried = ticket.tried
        out = tried | self._draining.numbers
        choices = (out | self.late, out, self._draining.numbers, frozenset[int]())
        return self._first(ticket, ANY, (0,), choices)[0]

    def note_loading(self, host: Host, instances_of: str) -> None:
        """Take note that a host loads a model now, or does so no more."""
        for key in self._keys.get(instances_of, ()):
            row = self._known[key].homes.rows.get(host.number)
            if row is not None and row.instances_of == instances_of:
                self._put(key, host, row)

    # -- inside -------------------------------------------------------------------------------

    def _first(
        self,
        ticket: Ticket,
        model: str,
        masks: Sequence[int],
        choices: Sequence[set[int] | frozenset[int]],
    ) -> tuple[int, ...]:
        """Return the first ranking that names a host, with these needs and without these hosts."""
        now = time.monotonic()
        for mask in masks:
            for without in choices:
                needs = Needs(
                    model, ticket.context, ticket.key, mask, ticket.pinned, frozenset(without)
                )
                if ranked := rank(needs, self._view, now, self._spread):
                    return ranked
        return ()

    def _keep_up(self, homes: Homes) -> None:
        """Have placement know the homes of a model as they are now."""
        if self._count != self._changed.count:
            changed = self._changed.since(self._count)
            self._count = self._changed.count
            for number in range(len(self._hosts)) if changed is None else changed:
                self._held[number] = self._hosts[number].held()
        known = self._known.get(homes.key)
        if known is not None and known.homes is homes:
            return
        changed = None if known is None else self._changed.since(known.count)
        if known is None or changed is None:
            if len(self._known) >= _MOST_MODELS:
                self._forget()
            self._homes[homes.key] = ModelHomes(facts_of(self._hosts, homes))
            for instances_of in {row.instances_of for row in homes.rows.values()}:
                self._keys.setdefault(instances_of, set()).add(homes.key)
        else:
            for number in changed:
                row = homes.rows.get(number)
                self._put(homes.key, self._hosts[number], row)
                if row is not None:
                    self._keys.setdefault(row.instances_of, set()).add(homes.key)
        self._known[homes.key] = _Known(homes, self._changed.count)

    def _put(self, key: str, host: Host, row: internal.CatalogueRow | None) -> None:
        home = None if row is None else facts_at(host, row)
        self._homes[key] = self._homes[key].with_home(host.number, home, self._view.hosts)

    def _forget(self) -> None:
        self._known.clear()
        self._keys.clear()
        self._homes.clear()
        self._homes[ANY] = ModelHomes({host.number: HomeFacts(LOADED) for host in self._hosts})


class _Known:
    """The homes that placement knows of a model, and as of which change of hosts."""

    __slots__ = ("count", "homes")

    def __init__(self, homes: Homes, count: int) -> None:
        self.homes = homes
        self.count = count
