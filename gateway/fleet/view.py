"""
The snapshot that placement decides on: hosts, and which models each of them has.

A view is not changed: a host's new list makes a new view, which shares with the old one what is the
same. Only the counts of running requests and the times until which hosts are shut are live: a
decision reads them and waits for nothing, so they don't change while it is made.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final, NamedTuple

from .hashing import scores, token_of

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
        chosen = list(slots)
        self.size = len(chosen)
        count = 1 if len(chosen) <= 2 * PART else ceil(len(chosen) / PART)
        cut: list[list[int]] = [[] for _ in range(count)]
        for number in chosen:
            cut[token_of(hosts[number].name) % count].append(number)
        self.parts = tuple(_part(part, slots, hosts) for part in cut if part)
        self._tokens = tuple(token_of(f"part {place}") for place in range(len(self.parts)))
        self._shares = tuple(
            1 / sum(hosts[number].weight * slots[number] for number in part.numbers)
            for part in self.parts
        )
        self._sample = tuple(chosen[:: max(1, len(chosen) // _SAMPLE)])
        self._slots = sum(slots[number] for number in self._sample)

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

    __slots__ = ("_contexts", "_levels", "by_host")

    def __init__(self, by_host: Mapping[int, HomeFacts]) -> None:
        self.by_host = by_host
        self._contexts = sorted({home.context for home in by_host.values() if home.context})
        self._levels: dict[tuple[int, int], tuple[Level, ...]] = {}

    def levels_for(self, mask: int, context: int, hosts: Sequence[HostFacts]) -> tuple[Level, ...]:
        """Return the levels of the homes that can do what a request needs, best first."""
        # Two wishes between the same two contexts are of one kind.
        kind = (mask, bisect_left(self._contexts, context))
        levels = self._levels.get(kind)
        if levels is None:
            if len(self._levels) >= _MOST_KINDS:
                self._levels.clear()
            levels = self._levels[kind] = self._made(mask, context, hosts)
        return levels

    def _made(self, mask: int, context: int, hosts: Sequence[HostFacts]) -> tuple[Level, ...]:
        sorted_in: dict[tuple[int, int, int], dict[int, int]] = {}
        for number, home in self.by_host.items():
            if not home.lacks & mask:
                step = _step_of(home, context)
                host = hosts[number]
                slots = sorted_in.setdefault((host.tier, step, home.state), {})
                slots[number] = home.slots or host.slots
        return tuple(
            Level(*place, slots, hosts)
            for place, slots in sorted(sorted_in.items(), key=lambda item: item[0])
        )


def _step_of(home: HomeFacts, context: int) -> int:
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
    held: tuple[int, ...]

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
        return cls(tuple(hosts), made, running, shut_until, tuple(held))

    def with_host(self, number: int, models: Mapping[str, HomeFacts]) -> View:
        """Return the view after a host was asked what it has; this view if nothing has changed."""
        changed: dict[str, HomeFacts | None] = {}
        for model, homes in self.homes.items():
            if homes.by_host.get(number) != models.get(model):
                changed[model] = models.get(model)
        for model, home in models.items():
            if model not in self.homes:
                changed[model] = home
        return self._with(number, changed) if changed else self

    def with_home(self, model: str, number: int, home: HomeFacts | None) -> View:
        """Return the view after one home has changed, or is gone."""
        return self._with(number, {model: home})

    def _with(self, number: int, changed: Mapping[str, HomeFacts | None]) -> View:
        all_homes = dict(self.homes)
        holds = self.held[number]
        for model, home in changed.items():
            homes = all_homes.get(model)
            by_host = {} if homes is None else dict(homes.by_host)
            before = by_host.pop(number, None)
            holds -= before is not None and before.state != UNLOADED
            if home is not None:
                by_host[number] = home
                holds += home.state != UNLOADED
            if by_host:
                all_homes[model] = ModelHomes(by_host)
            else:
                all_homes.pop(model, None)
        held = (*self.held[:number], holds, *self.held[number + 1 :])
        return replace(self, homes=all_homes, held=held)
