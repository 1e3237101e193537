"""
What happens on all hosts at once: listing what is loaded, and unloading a model.
"""

from __future__ import annotations

import asyncio

from ..faults import afresh
from ..types import internal
from .fleet import Fleet


async def list_running(fleet: Fleet) -> list[internal.RunningInstance]:
    """
    Return every loaded instance of every host that is there, the last to expire first.

    Raises UpstreamFailure if no host has ever answered.
    """
    await fleet.union.refresh(0.0)
    found: list[internal.RunningInstance] = []
    for number, view in fleet.union.names.views():
        host = fleet.hosts[number]
        if not host.is_away:
            found += host.lifecycle.running([row for row in view.rows if host.serves(row)])
    return sorted(found, key=lambda one: one.expires_at, reverse=True)


async def unload(fleet: Fleet, name: str) -> None:
    """
    Unload every instance of a model on every host that is there, as soon as it is free.

    Raises the first failure, after all hosts were asked.
    """
    await fleet.union.refresh(fleet.union.max_age_s)
    homes = fleet.union.names.resolve(name.strip())
    if homes is None:
        return
    work = [
        fleet.hosts[number].lifecycle.unload(row)
        for number, row in homes.rows.items()
        if not fleet.hosts[number].is_away
    ]
    failed = [
        result
        for result in await asyncio.gather(*work, return_exceptions=True)
        if isinstance(result, Exception)
    ]
    if failed:
        raise afresh(failed[0])
