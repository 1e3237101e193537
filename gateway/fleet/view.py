"""
The snapshot that placement decides on: hosts, and which models each of them has.

The homes of a model are not changed: a host's new list makes new ones, which share with the old
ones what is the same, and cost the same for any number of hosts. What a view refers to may be live:
a decision reads it and waits for nothing, so it does not change while the decision is made.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from math import ceil, inf
from operator import mul
from typing import Final, NamedTuple, TypeAlias, TypeVar

from .hashing import scores, token_of

T = TypeVar("T")

LOADED: Final = 0
LOADING: Final = 1
UNLOADED: Final = 2

BITS: Final[Mapping[str, int]] = {
    name: 1 << place
    for place, name in enumerate(
        ("completion", "embedding", "insert", "thinking", "tools", "vision", "decision")
    )
}
"""The bit of each capability in `Needs.mask` and `HomeFacts.lacks`."""

PART = 24
"""About how many hosts a part of a large pool has; a pool of up to twice as many is one part."""
_SAMPLE = 32
"""How many hosts the mean load of a large pool is taken from."""
_MOST_KINDS = 256
"""How many kinds of needs (capabilities and context) are prepared for one model at a time."""


class HostFacts(NamedTuple):
    """
    One host: its name, its tier, how many requests a model runs there at once, and its weight.

    A higher tier is used only when no lower one can serve.
    """

    name: str
    tier: int = 1
    slots: int = 4
    weight: float = 1.0


class HomeFacts(NamedTuple):
    """
    One model on one host: `LOADED`, `LOADING` or `UNLOADED`.

    `context` is in tokens, of the instance that is loaded or being loaded; 0 is unknown, and counts
    as enough. `lacks` has the bits of the capabilities that the host says the model lacks. `slots`
    is how many requests the instance runs at once; 0 stands for the host's number.
    """

    state: int
    context: int = 0
    lacks: int = 0
    slots: int = 0


class Part(NamedTuple):
    """Some homes of a level; the columns have one item for each. `places` counts them."""

    numbers: tuple[int, ...]
    tokens: tuple[int, ...]
    shares: tuple[float, ...] | None
    slots: tuple[int, ...]
    weights: tuple[float, ...]
    places: tuple[int, ...]


class Level:
    """
    The homes of one tier in one state that are equally good for a kind of needs but for loads.

    `step` is 0 for homes with enough context, 1 for those with less, 2 for those that are not
    loaded. Many homes are cut into parts, by their hosts' names. A key orders the parts as it
    orders the homes in a part, by rendezvous hashing with the weights of their hosts.
    """

    __slots__ = (
        "_by_host",
        "_places",
        "_sample",
        "_shares",
        "_slots",
        "_tokens",
        "parts",
        "size",
        "state",
        "step",
        "tier",
    )

    def __init__(
        self,
        tier: int,
        step: int,
        state: int,
        slots: Mapping[int, int],
        hosts: Sequence[HostFacts],
    ) -> None:
        """Have the homes on the hosts that `slots` names, with that many slots each."""
        self.tier = tier
        self.step = step
        self.state = state
        cut: list[list[int]] = [[] for _ in range(_count_parts(len(slots)))]
        for number in sorted(slots):
            cut[token_of(hosts[number].name) % len(cut)].append(number)
        self.parts = tuple(_part(part, slots, hosts) for part in cut if part)
        places = iter(range(len(self.parts)))
        self._places = [next(places) if part else None for part in cut]
        """Where the part stands that a host's name belongs to."""
        self._tokens = tuple(token_of(f"part {place}") for place in range(len(self.parts)))
        self._shares = tuple(map(_share_of, self.parts))
        self._count(slots)

    def _count(self, slots: Mapping[int, int]) -> None:
        self._by_host = slots
        self.size = len(slots)
        self._sample = tuple(sorted(slots)[:: max(1, len(slots) // _SAMPLE)])
        self._slots = sum([slots[number] for number in self._sample])

    def with_host(self, number: int, slots: int, hosts: Sequence[HostFacts]) -> Level | None:
        """Return the level with another number of slots on a host; 0 for none. None if empty."""
        by_host = dict(self._by_host)
        by_host.pop(number, None)
        if slots:
            by_host[number] = slots
        place = self._places[token_of(hosts[number].name) % len(self._places)]
        part = () if place is None else self.parts[place].numbers
        numbers = sorted({*part, number} if slots else {*part} - {number})
        if not by_host:
            return None
        if place is None or not numbers or _count_parts(len(by_host)) != len(self._places):
            return Level(self.tier, self.step, self.state, by_host, hosts)
        made = copy(self)
        made.parts = _replaced(self.parts, place, _part(numbers, by_host, hosts))
        made._shares = _replaced(self._shares, place, _share_of(made.parts[place]))
        made._count(by_host)
        return made

    def parts_for(self, key: int) -> Iterable[Part]:
        """Return the parts in the order in which a key prefers them."""
        return self.parts if len(self.parts) == 1 else self._in_order(key)

    def _in_order(self, key: int) -> Iterator[Part]:
        drawn = scores(key, self._tokens, self._shares)
        # Nearly always the first one is enough, and the rest need no order.
        first = drawn.index(max(drawn))
        yield self.parts[first]
        order = sorted(range(len(drawn)), key=drawn.__getitem__, reverse=True)
        yield from map(self.parts.__getitem__, order[1:])

    def mean_load(self, running: Sequence[int]) -> float:
        """Return the requests per slot with one more request; of many homes, of a sample."""
        return (sum([running[number] for number in self._sample]) + 1) / self._slots


def _count_parts(homes: int) -> int:
    return 1 if homes <= 2 * PART else ceil(homes / PART)


def _share_of(part: Part) -> float:
    total: float = sum(map(mul, part.weights, part.slots))
    return 1 / total


def _replaced(items: tuple[T, ...], place: int, item: T) -> tuple[T, ...]:
    return (*items[:place], item, *items[place + 1 :])


def _part(numbers: Sequence[int], slots: Mapping[int, int], hosts: Sequence[HostFacts]) -> Part:
    chosen = [hosts[number] for number in numbers]
    slots_of = tuple(slots[number] for number in numbers)
    shares = tuple(1 / (host.weight * has) for host, has in zip(chosen, slots_of, strict=True))
    return Part(
        tuple(numbers),
        tuple(token_of(host.name) for host in chosen),
        shares if len(set(shares)) > 1 else None,
        slots_of,
        tuple(host.weight for host in chosen),
        tuple(range(len(chosen))),
    )


class ModelHomes:
    """The homes of one model, and its levels for each kind of needs that was asked for."""

    __slots__ = ("_contexts", "_counts", "_levels", "by_host")

    def __init__(self, by_host: Mapping[int, HomeFacts]) -> None:
        self.by_host = by_host
        self._counts = Counter(home.context for home in by_host.values() if home.context)
        """How many homes have each context."""
        self._contexts = sorted(self._counts)
        self._levels: dict[tuple[int, int], tuple[Level, ...]] = {}

    def with_home(
        self, number: int, home: HomeFacts | None, hosts: Sequence[HostFacts]
    ) -> ModelHomes:
        """Return the homes after one is another or, with None, gone; these if nothing changes."""
        before = self.by_host.get(number)
        if before == home:
            return self
        made = copy(self)
        by_host = made.by_host = dict(self.by_host)
        counts = made._counts = Counter(self._counts)
        if before is not None:
            del by_host[number]
            if before.context:
                counts[before.context] -= 1
        if home is not None:
            by_host[number] = home
            if home.context:
                counts[home.context] += 1
        made._counts = +counts
        made._contexts = sorted(made._counts)
        made._levels = {}
        # Other contexts make other kinds.
        if made._contexts == self._contexts:
            for kind, levels in self._levels.items():
                was = _place_of(before, kind, self._contexts, hosts[number])
                now = _place_of(home, kind, self._contexts, hosts[number])
                made._levels[kind] = _moved(levels, number, was, now, hosts)
        return made

    def levels_for(self, mask: int, context: int, hosts: Sequence[HostFacts]) -> tuple[Level, ...]:
        """Return the levels of the homes that can do what a request needs, best first."""
        # Two wishes between the same two contexts are of one kind.
        kind = (mask, bisect_left(self._contexts, context))
        levels = self._levels.get(kind)
        if levels is None:
            if len(self._levels) >= _MOST_KINDS:
                self._levels.clear()
            levels = self._levels[kind] = self._made(kind, hosts)
        return levels

    def _made(self, kind: tuple[int, int], hosts: Sequence[HostFacts]) -> tuple[Level, ...]:
        sorted_in: dict[tuple[int, int, int], dict[int, int]] = {}
        for number, home in self.by_host.items():
            found = _place_of(home, kind, self._contexts, hosts[number])
            if found is not None:
                sorted_in.setdefault(found[0], {})[number] = found[1]
        return tuple(
            Level(*place, slots, hosts)
            for place, slots in sorted(sorted_in.items(), key=lambda item: item[0])
        )


_Place: TypeAlias = tuple[tuple[int, int, int], int]
"""The tier, step and state of the level that a home is in, and its slots."""


def _place_of(
    home: HomeFacts | None, kind: tuple[int, int], contexts: Sequence[int], host: HostFacts
) -> _Place | None:
    """Return where a home belongs for a kind of needs, None if it can't serve them."""
    mask, wish = kind
    if home is None or home.lacks & mask:
        return None
    # What is enough for one wish of a kind is enough for all of them.
    context = contexts[wish] if wish < len(contexts) else inf
    return (host.tier, _step_of(home, context), home.state), home.slots or host.slots


def _moved(
    levels: tuple[Level, ...],
    number: int,
    before: _Place | None,
    after: _Place | None,
    hosts: Sequence[HostFacts],
) -> tuple[Level, ...]:
    """Return the levels after a home has gone from one place to another."""
    if before == after:
        return levels
    found = {(level.tier, level.step, level.state): level for level in levels}
    changes = [] if before is None else [(before[0], 0)]
    changes += [] if after is None else [after]
    for place, slots in changes:
        level = found.pop(place, None)
        if level is None:
            found[place] = Level(*place, {number: slots}, hosts)
        elif (made := level.with_host(number, slots, hosts)) is not None:
            found[place] = made
    return tuple(found[place] for place in sorted(found))


def _step_of(home: HomeFacts, context: float) -> int:
    """Return 0 for enough context, 1 for less, 2 for a home that is not loaded."""
    if home.state == UNLOADED:
        return 2
    return 0 if not home.context or home.context >= context else 1


@dataclass(frozen=True, slots=True)
class View:
    """
    All hosts and homes. A host's number is its place in `hosts`, `running` and `shut_until`.

    `running` counts the requests on each host. `shut_until` has the time until which no request
    goes to a host, in seconds of the monotonic clock; infinity for a host that is down. `held` is
    how many models each host has loaded or is loading.
    """

    hosts: tuple[HostFacts, ...]
    homes: Mapping[str, ModelHomes]
    running: Sequence[int]
    shut_until: Sequence[float]
    held: Sequence[int]

    @classmethod
    def of(
        cls,
        hosts: Sequence[HostFacts],
        homes: Mapping[str, Mapping[int, HomeFacts]],
        running: Sequence[int],
        shut_until: Sequence[float],
    ) -> View:
        """Return a view of hosts, with each model's homes by their hosts' numbers."""
        held = [0] * len(hosts)
        for by_host in homes.values():
            for number, home in by_host.items():
                held[number] += home.state != UNLOADED
        made = {model: ModelHomes(dict(by_host)) for model, by_host in homes.items()}
        return cls(tuple(hosts), made, running, shut_until, held)

    def with_home(self, model: str, number: int, home: HomeFacts | None) -> View:
        """Return the view after one home has changed, or is gone."""
        all_homes = dict(self.homes)
        homes = all_homes.pop(model, None) or ModelHomes({})
        before = homes.by_host.get(number)
        homes = homes.with_home(number, home, self.hosts)
        if homes.by_host:
            all_homes[model] = homes
        held = list(self.held)
        held[number] += _is_held(home) - _is_held(before)
        return replace(self, homes=all_homes, held=held)


def _is_held(home: HomeFacts | None) -> bool:
    return home is not None and home.state != UNLOADED
