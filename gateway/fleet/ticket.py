"""
The ticket of one request: what placing it needs to know, and the host that serves it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from ..faults import UpstreamFailure, afresh
from ..queueing.order import Home
from ..types import internal
from .ejection import Ejections
from .host import Host
from .verdicts import verdict_on


class Seats(Protocol):
    """The fleet, as far as a ticket changes it."""

    ejections: Ejections

    def take_seat(self, host: Host, row: internal.CatalogueRow | None) -> None:
        """Count a request that runs on a host."""

    def give_back(self, host: Host, row: internal.CatalogueRow | None) -> None:
        """Count it no more."""


class Ticket:
    """One request where there are several hosts; `leave` must follow."""

    __slots__ = (
        "_has_seat",
        "_seats",
        "budgeted",
        "context",
        "homes",
        "host",
        "keeper",
        "key",
        "last_failure",
        "mask",
        "name",
        "pinned",
        "ranked",
        "retries",
        "row",
        "rows",
        "sent_to",
        "session",
        "slot",
        "tried",
    )

    def __init__(self, seats: Seats, pinned: int | None = None) -> None:
        """Have no host yet. `pinned` is the number of the only host that may serve."""
        self._seats = seats
        self._has_seat = False
        self.pinned = pinned
        self.session = ""
        """What the request goes on from, where the host is known that remembers it."""
        self.keeper: Host | None = None
        """That host; `pinned` is its number."""
        self.name = ""
        """The model's name as of the last choice, in the client's words."""
        self.mask = 0
        """The capabilities that the request needs (`view.BITS`)."""
        self.context = 0
        """The context that it asks for, in tokens; 0 is any."""
        self.key = 0
        """The hash of its beginning (`affinity`), 0 for none."""
        self.tried: set[int] = set()
        """The numbers of hosts that have failed it."""
        self.homes: frozenset[int] = frozenset()
        """The numbers of hosts that could serve it, tried or not."""
        self.ranked: Sequence[int] = ()
        """The numbers of hosts that could serve it best, as of the last choice."""
        self.rows: Mapping[int, internal.CatalogueRow] = {}
        """The model's row on each of its homes, as of the last choice."""
        self.slot: Home | None = None
        """The slot of the host `sent_to` that it has got after a wait, until it is placed there."""
        self.sent_to: Host | None = None
        self.retries = 0
        """How many hosts it was moved to, each from one that failed."""
        self.budgeted = 0
        """Those of them that the retry budget counts."""
        self.host: Host | None = None
        self.row: internal.CatalogueRow | None = None
        self.last_failure: UpstreamFailure | None = None

    def take(self, host: Host, row: internal.CatalogueRow | None) -> None:
        """Be served by a host from now on."""
        self.leave()
        self.host, self.row, self._has_seat = host, row, True
        self._seats.take_seat(host, row)

    def leave(self) -> None:
        """Use the host's model no more; a second call does nothing."""
        if self.host is not None and self._has_seat:
            self._has_seat = False
            self._seats.give_back(self.host, self.row)

    def note(self, problem: BaseException) -> None:
        """Note what a request ended with, if it says something about the host."""
        if not isinstance(problem, UpstreamFailure) or self.host is None:
            return
        if self.host.number in self.tried:
            # It was noted when the request was to leave that host.
            return
        # A copy, because one that was raised holds the frames that it left.
        self.last_failure = afresh(problem)
        kind = verdict_on(problem).against_host
        if kind is not None and self.host.number >= 0:
            self._seats.ejections.note_failure(self.host.number, kind, time.monotonic())

    def note_end(self, failure: UpstreamFailure | None) -> None:
        """Note an answer that is passed on, and what it states as an error."""
        if failure is None:
            self.note_answer()
        else:
            self.note(failure)

    def note_answer(self) -> None:
        """Note that the host has answered well."""
        if self.host is not None and self.host.number >= 0:
            self._seats.ejections.note_answer(self.host.number, time.monotonic())
