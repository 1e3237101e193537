"""Fleets of hosts that are asked nothing: tests say what each of them has listed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

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
        send_list(host, {LOADED: True, COLD: False})
    return fleet


def send_list(host: Host, models: Mapping[str, bool]) -> None:
    """Have a host list these models, and whether each is loaded."""
    listed = internal.HostModels(
        models=[
            internal.HostModel(
                key=key,
                kind="llm",
                instances=[internal.HostInstance(id=key)] if is_loaded else [],
            )
            for key, is_loaded in models.items()
        ]
    )
    host.catalogue.view = build_view(
        "v1", time.monotonic(), listed, lambda key: "", (), OLLAMA.capabilities
    )
