"""
The wait of a request for a slot of its model (docs/queue.md), and its move to another host's slot.
"""

from __future__ import annotations

import time

from ..faults import OtherHost
from ..fleet.fleet import Fleet
from ..fleet.host import Host
from ..fleet.other_slots import others_for, takes_requests
from ..fleet.ticket import Ticket
from ..lifecycle.lifecycle import Lease
from ..observability.record import Grant, current
from ..queueing.order import Bid, Home
from ..queueing.waiting import About


async def wait_for_slot(
    lease: Lease,
    host: Host,
    fleet: Fleet,
    ticket: Ticket | None,
    grant: Grant | None,
    *,
    is_interactive: bool,
) -> None:
    """
    Wait until a lease that is prepared has a slot, and make its model ready again.

    Raises Refusal (503) if there is no place in the queue, or after too long a wait, and OtherHost
    if a slot of another host is free first: the ticket has it then, and the request has to be
    placed anew. So it has without a slot, if its host was drained meanwhile. Raises what
    `Lease.go_on` raises.
    """
    record = current()
    bid = Bid(
        owner=record.key or "",
        weight=1.0 if grant is None else grant.weight,
        priority=0 if grant is None else grant.priority,
        is_interactive=is_interactive,
    )
    own = lease.home
    others: dict[Home, Host] = {}

    def find() -> dict[Home, Host]:
        if ticket is None:
            return {}
        # One that was found before may be drained now.
        found = {each.lifecycle.home_of(row): each for each, row in others_for(fleet, ticket)}
        others.update(found)
        return found

    def find_again() -> dict[Home, Host]:
        if ticket is not None:
            fleet.look_again(ticket)
        # Its own host may have been away, or drained, and be back.
        back = {own: host} if ticket is not None and takes_requests(fleet, host) else {}
        return {**back, **find()}

    if ticket is not None:
        fleet.offers.look(len(fleet.hosts))
    since_ns = time.perf_counter_ns()
    try:
        about = About(record.id, lease.row.name, host.name)
        slot = await fleet.queue.wait((own, *find()), bid, about, find_again)
    finally:
        record.queued_ns = (record.queued_ns or 0) + time.perf_counter_ns() - since_ns
    if slot is None and ticket is not None and fleet.draining.has(host):
        raise OtherHost
    if slot is None or slot is own:
        await lease.go_on(slot)
        return
    assert ticket is not None, "there are other hosts"
    ticket.slot, ticket.sent_to = slot, others[slot]
    raise OtherHost


def hand_over_slot(ticket: Ticket, lease: Lease, host: Host, fleet: Fleet) -> None:
    """Give a lease the slot for which its request came to a host; another host's is given back."""
    slot, sent_to = ticket.slot, ticket.sent_to
    ticket.slot = ticket.sent_to = None
    if slot is not None and sent_to is host:
        lease.slot = slot
    elif slot is not None:
        fleet.queue.give_back(slot)
