"""
One snapshot of a gateway with several processes, made of what each of them does.

What all of them know alike (hosts, models, settings) is told by the process that shows the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import merge

import msgspec

from ..observability.traffic import KEPT
from .acting import KEPT as KEPT_ACTIONS
from .peers import Other
from .records import (
    ActionShown,
    HostShown,
    LoadedModel,
    Part,
    ProcessShown,
    Queue,
    QueuedRequest,
    Snapshot,
)

SILENT_S = 2.0
"""Seconds of silence from which on the page tells of it."""
MOST_QUEUED = 50
"""How many requests that wait for a slot are shown, the oldest."""


def together(own: Snapshot, others: Sequence[Other]) -> Snapshot:
    """Return one snapshot of this process and the others."""
    if not others:
        return own
    parts = [other.part for other in others if other.part is not None]
    recent = merge(own.recent, *(part.recent for part in parts), key=lambda one: -one.at)
    running = [*own.running, *(one for part in parts for one in part.running)]
    return msgspec.structs.replace(
        own,
        about=msgspec.structs.replace(own.about, processes=_processes(others)),
        hosts=tuple(_host(host, parts) for host in own.hosts),
        actions=_actions([*own.actions, *(one for part in parts for one in part.actions)]),
        running=tuple(sorted(running, key=lambda one: one.since)),
        queue=_queue([own.queue, *(part.queue for part in parts)]),
        recent=tuple(one for one, _ in zip(recent, range(KEPT), strict=False)),
    )


def cut_queue(requests: Iterable[QueuedRequest], count: int) -> Queue:
    """Return the requests that are shown of `count` that wait."""
    shown = tuple(one for one, _ in zip(requests, range(MOST_QUEUED), strict=False))
    return Queue(requests=shown, more=count - len(shown))


def _processes(others: Sequence[Other]) -> tuple[ProcessShown, ...]:
    return tuple(
        ProcessShown(
            number=other.number,
            # It would change with every look else.
            silent_s=round(other.silent_s) if other.silent_s >= SILENT_S else 0,
            is_shown=other.part is not None,
        )
        for other in others
    )


def _host(own: HostShown, parts: Iterable[Part]) -> HostShown:
    theirs = [host for part in parts for host in part.hosts if host.name == own.name]
    return msgspec.structs.replace(
        own,
        waiting=own.waiting + sum(host.waiting for host in theirs),
        loaded=tuple(
            _loaded(one, [each for host in theirs for each in host.loaded]) for one in own.loaded
        ),
    )


def _loaded(own: LoadedModel, theirs: Iterable[LoadedModel]) -> LoadedModel:
    """Only the process that has loaded an instance knows until when it stays."""
    ends = [
        one.until
        for one in (own, *theirs)
        if one.until is not None and (one.name, one.context) == (own.name, own.context)
    ]
    return msgspec.structs.replace(own, until=max(ends, default=None))


def _queue(queues: Sequence[Queue]) -> Queue:
    requests = sorted(
        (one for queue in queues for one in queue.requests), key=lambda one: one.since
    )
    return cut_queue(requests, sum(len(queue.requests) + queue.more for queue in queues))


def _actions(actions: Iterable[ActionShown]) -> tuple[ActionShown, ...]:
    """Return those that run, and of the others the last ones."""
    shown: list[ActionShown] = []
    for one in sorted(actions, key=lambda one: -one.at):
        if one.state == "running" or len(shown) < KEPT_ACTIONS:
            shown.append(one)
    return tuple(shown)
