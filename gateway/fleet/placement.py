"""
Placement: which hosts may serve a request, best first.

`rank` is a pure function over a snapshot (`view`), so that tables, properties and a simulation can
test it. Its order (docs/fleet.md#placement-and-failover):

1. open hosts in the lowest tier that has a home which can do what the request needs;
2. loaded with enough context, then loaded with less, then not loaded; a home that is loading counts
   as loaded, with `LOADING_COUNTS` requests more for each slot;
3. a home with a free slot before a full one;
4. the home that the request's beginning prefers, while its load is at most `BOUND` times the mean,
   or it has `ROOM`;
5. fewest requests per slot, then weight.

A decision looks at a bounded number of hosts, however many there are: of a large pool it looks at
one part, which the request's key chooses, and at further parts only while it has found nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Literal, NamedTuple, TypeAlias

from .hashing import scores, token_of
from .view import LOADING, UNLOADED, Level, View

BOUND = 1.25
"""How much more than the mean load of its pool a home may have and still attract its keys."""
ROOM = 0.75
"""
The share of its slots up to which a home attracts its keys whatever the mean is: while little runs,
a prompt in the cache is worth more than one request less (docs/fleet.md#simulation).
"""
LOADING_COUNTS = 2.0
"""A load takes about as long as two requests; so a queue that is longer is worse than a load."""
MOST_HOMES = 4
"""The most homes that a decision names. A request that all of them failed is ranked again."""
_FULL_PARTS = 4
"""How many parts of a large pool are looked at when all of their homes are full."""

Spread: TypeAlias = Literal["queue", "grow"]
_Home: TypeAlias = tuple[bool, float, float, int]
"""What a home is sorted by: whether it is over the bound, its load, -weight, its host."""

_NOBODY: frozenset[int] = frozenset()
_step_of: attrgetter[tuple[int, int]] = attrgetter("tier", "step")


class Needs(NamedTuple):
    """
    The needs of one request.

    `context` is in tokens, 0 for any. `key` is the hash of its beginning (`affinity`), 0 for none.
    `mask` has a bit for each capability that it needs (`view.BITS`). `pinned` is the number of
    the only host that it may use. `without` has the numbers of hosts that have failed it.
    """

    model: str
    context: int = 0
    key: int = 0
    mask: int = 0
    pinned: int | None = None
    without: frozenset[int] = _NOBODY


def rank(needs: Needs, view: View, now: float, spread: Spread = "grow") -> tuple[int, ...]:
    """
    Return the numbers of the hosts that may serve a request, best first, at most `MOST_HOMES`.

    `now` is the monotonic clock in seconds. Homes on hosts that are shut are named only if no host
    with a home is open. Nothing is named if no host has the model, or every host that has it says
    that it lacks a needed capability.
    """
    homes = view.homes.get(needs.model)
    if homes is None:
        return ()
    if needs.pinned is not None:
        is_there = needs.pinned in homes.by_host and needs.pinned not in needs.without
        return (needs.pinned,) if is_there else ()
    levels = homes.levels_for(needs.mask, needs.context, view.hosts)
    best: list[int] = []
    may_grow = False
    """Whether all loaded homes of this tier are full, and one more host may load the model."""
    tier = None
    for (of_tier, step), of_step in groupby(levels, _step_of):
        if tier != of_tier:
            tier, may_grow = of_tier, False
        if len(best) >= MOST_HOMES and not may_grow:
            continue
        free: list[int] = []
        waiting: list[_Home] = []
        loaded = loading = 0
        for level in of_step:
            if level.state == UNLOADED:
                free = _to_load(needs, view, level, now)
                if may_grow:
                    _grow(best, free, view)
            else:
                before = len(waiting)
                _rank_level(needs, view, level, now, free, waiting)
                if level.state == LOADING:
                    loading += len(waiting) - before
                else:
                    loaded += level.size
        if step == 0 and spread == "grow" and waiting and not free and not best:
            # As many loads as there are loaded homes: a wave of first requests loads once, and a
            # large fleet still grows in few steps.
            may_grow = loading < loaded
        waiting.sort()
        best += free
        best += [number for *_, number in waiting]
    if not best:
        return _shut_homes(needs, levels, view)
    return tuple(best[:MOST_HOMES])


def _grow(best: list[int], to_load: list[int], view: View) -> None:
    """Move an idle host, if there is one, from those that could load the model to the front."""
    for number in to_load:
        if not view.running[number]:
            to_load.remove(number)
            best.insert(0, number)
            return


def _rank_level(
    needs: Needs,
    view: View,
    level: Level,
    now: float,
    free: list[int],
    waiting: list[_Home],
) -> None:
    """
    Add the open homes of a level that have a free slot to `free`, best first, the full ones to
    `waiting`.

    All homes that are loading wait.
    """
    running, shut_until, without, key = view.running, view.shut_until, needs.without, needs.key
    if level.state == LOADING:
        for part in level.parts:
            for number, slots, weight in zip(part.numbers, part.slots, part.weights, strict=True):
                if shut_until[number] <= now and number not in without:
                    load = running[number] / slots + LOADING_COUNTS
                    waiting.append((True, load, -weight, number))
        return
    bound = BOUND * level.mean_load(running)
    # Without a key the time chooses the part: always the same one would get all requests.
    for looked_at, part in enumerate(level.parts_for(key or int(now * 1e6))):
        if free or (waiting and looked_at >= _FULL_PARTS):
            return
        order: Sequence[int] = part.places
        if key:
            drawn = scores(key, part.tokens, part.shares)
            order = sorted(order, key=drawn.__getitem__, reverse=True)
        numbers, slots_of, weights = part.numbers, part.slots, part.weights
        over: list[_Home] = []
        for preference, place in enumerate(order):
            number = numbers[place]
            if shut_until[number] > now or number in without:
                continue
            has, slots, weight = running[number], slots_of[place], weights[place]
            is_near = key != 0 and has < max(bound, ROOM) * slots
            if has >= slots:
                load = preference if is_near else has / slots
                waiting.append((not is_near, load, -weight, number))
            elif is_near:
                free.append(number)
                if len(free) >= MOST_HOMES:
                    return
            else:
                over.append((True, has / slots, -weight, number))
        over.sort()
        free += [number for *_, number in over]


def _to_load(needs: Needs, view: View, level: Level, now: float) -> list[int]:
    """
    Return the open hosts of a level that could load the model, best first.

    The model's name and not the request's beginning is the key: all requests of one wave, and all
    gateways, then choose the same host. Hosts that hold fewer models come first.
    """
    key = token_of(needs.model)
    for part in level.parts_for(key):
        drawn = scores(key, part.tokens, part.shares)
        found = [
            (view.held[number], view.running[number] / slots, -score, number)
            for number, slots, score in zip(part.numbers, part.slots, drawn, strict=True)
            if view.shut_until[number] <= now and number not in needs.without
        ]
        if found:
            found.sort()
            return [number for _, _, _, number in found]
    return []


def _shut_homes(needs: Needs, levels: Sequence[Level], view: View) -> tuple[int, ...]:
    """Return homes on shut hosts, the one that opens first at the head: all that can be tried."""
    shut = [
        (level.tier, view.shut_until[number], level.step, number)
        for level in levels
        for part in level.parts
        for number in part.numbers
        if number not in needs.without
    ]
    return tuple(number for *_, number in sorted(shut)[:MOST_HOMES])
