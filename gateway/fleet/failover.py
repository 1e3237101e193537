"""
Failover: whether a request that a host has failed goes to another one.

It does so only while its client has seen nothing, and only after failures that say that the host
does not work on it (`verdicts`): no connection, a connection that the host closed before its
answer's head, the answers 429 and 503, and words for a route that the host lacks. The first host's
exchange is closed by then, so a generation never runs on two hosts at once. A host that took a
request and stays silent may be working on it: that is told the client as an error.
"""

from __future__ import annotations

import time

from ..faults import UpstreamFailure
from ..observability.journal import get_logger
from ..observability.record import current
from .fleet import Fleet
from .ticket import Ticket
from .verdicts import verdict_on


def may_move(fleet: Fleet, ticket: Ticket, failure: UpstreamFailure, started_ns: int) -> bool:
    """
    Return whether a request may go to another host, and take a retry of the budget if it needs one.

    `started_ns` is when the request came, on the performance counter. It may take as long on all
    hosts together as on one: `upstream.first_byte_timeout_s`.
    """
    host, verdict = ticket.host, verdict_on(failure)
    if host is None or ticket.pinned is not None or not verdict.may_move:
        return False
    if not ticket.homes - ticket.tried - {host.number}:
        return False
    limit_s = host.settings.first_byte_timeout_s
    if limit_s is not None and time.perf_counter_ns() - started_ns >= limit_s * 1e9:
        return False
    if verdict.against_host == "connect":
        # The request ran nowhere, so it is no additional one for the others.
        return True
    if not fleet.retries.take(sum(each.running for each in fleet.hosts)):
        return False
    ticket.budgeted += 1
    return True


def move(ticket: Ticket, failure: UpstreamFailure) -> None:
    """Leave the host that failed, after `may_move`; the next choice is of another one."""
    assert ticket.host is not None, "a host has failed"
    ticket.note(failure)
    ticket.tried.add(ticket.host.number)
    ticket.retries += 1
    current().retries += 1
    log = get_logger()
    log.warning(
        "trying another host",
        host=ticket.host.name,
        fault=failure.fault,
        status=failure.status,
        kind=verdict_on(failure).against_host,
    )
    ticket.leave()
    ticket.host = None


def go_elsewhere(ticket: Ticket) -> None:
    """Leave a host whose slots were taken; the next choice is of the one that has a slot for it."""
    ticket.leave()
    ticket.host = None


def end(fleet: Fleet, ticket: Ticket) -> None:
    """End a request: give back its seat, its retries, and a slot that it has not come to use."""
    ticket.leave()
    if ticket.slot is not None:
        fleet.queue.give_back(ticket.slot)
        ticket.slot = None
    if ticket.budgeted:
        fleet.retries.give_back(ticket.budgeted)
        ticket.budgeted = 0
