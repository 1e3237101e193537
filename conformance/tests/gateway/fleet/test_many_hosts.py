"""What it costs to place a request does not grow with the number of hosts."""

from __future__ import annotations

import pytest

from conformance.tests.gateway.fleet.silent_fleets import COLD, LOADED, open_fleet, send_list
from conformance.tests.gateway.interpreter import steps_of
from gateway.fleet.fleet import Fleet


async def serve(fleet: Fleet, name: str) -> None:
    """Place one request, and end it."""
    ticket = fleet.ticket()
    assert ticket is not None
    ticket.key = 12345
    assert await fleet.choose(ticket, name, trust_loaded=True) is not None
    ticket.leave()


def steps_to_place(hosts: int, name: str, *loaded: str) -> int:
    """
    Return what a request costs after the first ones, in instructions.

    If `loaded` are given, a host has just sent another list: that it has these loaded.
    """
    with open_fleet(hosts) as (fleet, loop):
        for _ in range(2):
            loop.run_until_complete(serve(fleet, name))
        if loaded:
            send_list(fleet.hosts[hosts // 2], {key: key in loaded for key in (LOADED, COLD)})
            fleet.union.note_change(fleet.hosts[hosts // 2])
        return steps_of(lambda: loop.run_until_complete(serve(fleet, name)))


def test_placing_a_request_for_a_loaded_model_costs_the_same_for_any_number_of_hosts() -> None:
    """From one part of a large pool on; a decision looks at a bounded number of homes."""
    few, many = steps_to_place(100, LOADED), steps_to_place(800, LOADED)
    assert many < 1.5 * few


@pytest.mark.parametrize("loaded", [(LOADED, COLD), (COLD,)], ids=["one more", "another one"])
def test_the_first_request_after_a_new_list_costs_the_same_for_any_number_of_hosts(
    loaded: tuple[str, ...],
) -> None:
    """Only the host with the new list is looked at, not all of them."""
    few, many = steps_to_place(100, LOADED, *loaded), steps_to_place(1000, LOADED, *loaded)
    assert many < 1.5 * few


def steps_of_default(hosts: int) -> int:
    """Return what the choice of a host costs for a request that names no model."""
    with open_fleet(hosts) as (fleet, _):

        def choose() -> None:
            ticket = fleet.ticket()
            assert ticket is not None
            ticket.key = 12345
            fleet.default(ticket)
            ticket.leave()

        choose()
        return steps_of(choose)


def test_a_request_without_a_model_costs_the_same_for_any_number_of_hosts() -> None:
    """One part of them is looked at."""
    few, many = steps_of_default(100), steps_of_default(1000)
    assert many < 1.5 * few
