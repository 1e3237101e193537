"""
`/health`: whether the hosts answer, without a cache and within a time limit.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .catalogue.presence import HostState
from .engine.client import Client
from .fleet.fleet import Fleet
from .queueing.waiting import SlotQueue, Waits
from .store.interface import Store
from .wire.writing import JSON, encode


class Elsewhere(NamedTuple):
    """What waits in those of the `others`, the gateway's other processes, that have answered."""

    others: int = 0
    answers: tuple[Waits, ...] = ()


ALONE: Final = Elsewhere()
"""A gateway with one process."""


async def answer_health(
    fleet: Fleet,
    client: Client,
    limit_s: float,
    store: Store,
    trouble_of_counts: str = "",
    elsewhere: Elsewhere = ALONE,
) -> None:
    """
    Answer 200 if a host answers with its models, else 503 with the reason and the next step.

    `limit_s` is the time limit in seconds; 0 is no limit. Where there are several hosts, each is
    shown under its name, and `upstream` is the first one that answers. The status is `degraded` if
    only some of them do, or if the store can't be used: the gateway serves, so that is 200.
    What waits is counted in all processes of the gateway, with what `elsewhere` says of the others.
    `trouble_of_counts` says why this process counts the limits of keys alone; empty if it does not.
    """
    unusable = await store.trouble()
    trouble = unusable or trouble_of_counts
    of_store: dict[str, object] = {}
    if trouble:
        shown: dict[str, object] = {"usable": not unusable, "reason": trouble}
        if trouble_of_counts:
            shown["limits"] = "each process counts the limits of keys alone"
        of_store = {"store": shown}
    if fleet.is_one:
        state = await fleet.first.presence.look(limit_s)
        status = "unavailable" if not state.is_reachable else "degraded" if trouble else "ok"
        body = encode(
            {
                "status": status,
                "upstream": _shown(state),
                "queue": _queue(fleet.queue, elsewhere),
                **of_store,
            }
        )
        await client.answer(200 if state.is_reachable else 503, JSON, body)
        return
    looked = await fleet.look(limit_s)
    reachable = [state for _, state in looked if state.is_reachable]
    is_well = len(reachable) == len(looked) and not trouble
    status = "ok" if is_well else "degraded" if reachable else "unavailable"
    hosts = {
        host.name: {
            "state": fleet.state_of(host),
            "tier": host.settings.tier,
            "slots": host.slots(),
            "running": host.running + host.elsewhere,
            **_shown(state),
        }
        for host, state in looked
    }
    first = _shown(reachable[0] if reachable else looked[0][1])
    body = encode(
        {
            "status": status,
            "upstream": first,
            "queue": _queue(fleet.queue, elsewhere),
            "hosts": hosts,
            **of_store,
        }
    )
    await client.answer(200 if reachable else 503, JSON, body)


def _queue(queue: SlotQueue, elsewhere: Elsewhere) -> dict[str, object]:
    """Return how many requests wait for a slot, of which classes, and in how many processes."""
    waiting = queue.waiting + sum(one.waiting for one in elsewhere.answers)
    interactive = queue.interactive + sum(one.interactive for one in elsewhere.answers)
    shown: dict[str, object] = {
        "waiting": waiting,
        "interactive": interactive,
        "batch": waiting - interactive,
    }
    if elsewhere.others:
        shown["processes"] = 1 + elsewhere.others
        shown["counted"] = 1 + len(elsewhere.answers)
    return shown


def _shown(state: HostState) -> dict[str, object]:
    upstream: dict[str, object] = {"url": state.url, "reachable": state.is_reachable}
    if state.is_reachable:
        upstream |= {
            "server": state.server,
            "dialect": state.dialect,
            "models": state.models,
            "loaded": state.loaded,
        }
    for name, text in (("reason", state.reason), ("advice", state.advice)):
        if text:
            upstream[name] = text
    return upstream
