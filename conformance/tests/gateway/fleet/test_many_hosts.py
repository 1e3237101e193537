"""What it costs to place a request does not grow with the number of hosts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from conformance.tests.gateway.interpreter import steps_of
from gateway.catalogue.view import build_view
from gateway.fleet.fleet import Fleet
from gateway.fleet.host import Host, Names
from gateway.settings.schema import HostSettings, ModelSettings, Settings
from gateway.store.interface import Store
from gateway.store.sqlite import SqliteStore
from gateway.types import internal
from gateway.wire.client_api import OLLAMA
from gateway.wire.hops import new_name

LOADED, COLD = "harbor/lantern-8b", "meadow/thicket-4b"


@contextmanager
def open_fleet(hosts: int) -> Iterator[tuple[Fleet, asyncio.AbstractEventLoop]]:
    """Make hosts of which each has sent its list: one model is loaded on all."""
    with closing(asyncio.new_event_loop()) as loop, closing(SqliteStore(None)) as store:
        fleet = loop.run_until_complete(make_fleet(hosts, store))
        yield fleet, loop
        loop.run_until_complete(fleet.aclose())


async def make_fleet(hosts: int, store: Store) -> Fleet:
    """Return the fleet of `open_fleet`."""
    settings = Settings(
        models=ModelSettings(catalogue_ttl_s=3600.0),
        hosts={
            f"h{number}": HostSettings(url=f"http://10.0.{number // 250}.{number % 250 + 1}:1234")
            for number in range(hosts)
        },
    )
    names = Names(store, settings, "gateway", new_name(), OLLAMA.capabilities)
    fleet = Fleet(settings, names)
    await names.pulled.refresh()
    for host in fleet.hosts:
        send_list(host, LOADED)
    return fleet


def send_list(host: Host, *loaded: str) -> None:
    """Have a host list both models, with these loaded."""
    listed = internal.HostModels(
        models=[
            internal.HostModel(
                key=key,
                kind="llm",
                instances=[internal.HostInstance(id=key)] if key in loaded else [],
            )
            for key in (LOADED, COLD)
        ]
    )
    host.catalogue.view = build_view(
        "v1", time.monotonic(), listed, lambda key: "", (), OLLAMA.capabilities
    )


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
            send_list(fleet.hosts[hosts // 2], *loaded)
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
