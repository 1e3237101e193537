"""
The snapshot that placement decides on, made of what the hosts' lists say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..catalogue.slots import slots_of
from ..types import internal
from .homes import Homes
from .host import Host
from .view import BITS, LOADED, LOADING, UNLOADED, HomeFacts, HostFacts, ModelHomes, View


def view_of(
    hosts: Sequence[Host],
    homes: Mapping[str, ModelHomes],
    running: Sequence[int],
    shut_until: Sequence[float],
    held: Sequence[int],
) -> View:
    """Return the snapshot of all hosts, which follows what it is given if that changes."""
    facts = tuple(
        HostFacts(
            host.name, host.settings.tier, slots_of(host.settings, None), host.settings.weight
        )
        for host in hosts
    )
    return View(facts, homes, running, shut_until, held)


def facts_of(hosts: Sequence[Host], homes: Homes) -> dict[int, HomeFacts]:
    """Return what placement needs to know of each home, by its host's number."""
    return {number: facts_at(hosts[number], row) for number, row in homes.rows.items()}


def is_enough(host: Host, row: internal.CatalogueRow, mask: int, context: int) -> bool:
    """Return whether a home can do what a request needs (`view.BITS`), with enough context."""
    facts = facts_at(host, row)
    return not facts.lacks & mask and (not facts.context or facts.context >= context)


def facts_at(host: Host, row: internal.CatalogueRow) -> HomeFacts:
    """Return what placement needs to know of a model on a host."""
    lacks = sum(
        bit for name, bit in BITS.items() if getattr(row.capabilities, name, "unknown") == "no"
    )
    if not row.instances:
        is_loading = row.instances_of in host.loading
        return HomeFacts(LOADING if is_loading else UNLOADED, 0, lacks)
    lengths = [one.context_length for one in row.instances]
    most = max((int(each) for each in lengths if isinstance(each, int | float)), default=0)
    return HomeFacts(LOADED, most, lacks, slots_of(host.settings, row))
