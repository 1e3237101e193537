"""
The hosts whose slots a request may get that waits for one of its own host.
"""

from __future__ import annotations

import time

from ..types import internal
from .fleet import GONE, Fleet
from .host import Host
from .snapshot import is_enough
from .ticket import Ticket


def takes_requests(fleet: Fleet, host: Host) -> bool:
    """Return whether a request that waits may get a slot of a host: it is there and not drained."""
    number = host.number
    return (
        number != GONE
        and number not in fleet.draining.numbers
        and fleet.ejections.shut_until[number] <= time.monotonic()
    )


def others_for(fleet: Fleet, ticket: Ticket) -> list[tuple[Host, internal.CatalogueRow]]:
    """
    Return these hosts, the best one first, each with its row of the request's model.

    They are of the same tier, are there, and have the model loaded as the request needs it.
    """
    own = ticket.host
    if own is None or own.number == GONE:
        return []
    found: list[tuple[Host, internal.CatalogueRow]] = []
    for number in ticket.ranked:
        if number >= len(fleet.hosts):
            # The hosts have changed since the choice.
            continue
        host, row = fleet.hosts[number], ticket.rows[number]
        if (
            host is not own
            and host.settings.tier == own.settings.tier
            and row.instances
            and takes_requests(fleet, host)
            and is_enough(host, row, ticket.mask, ticket.context)
        ):
            found.append((host, row))
    return found
