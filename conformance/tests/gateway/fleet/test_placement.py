"""Placement: the order of homes by tables and by properties, and what a decision costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil, inf
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.placement import BOUND, MOST_HOMES, ROOM, Needs, Spread, rank
from gateway.fleet.view import BITS, LOADED, LOADING, UNLOADED, HomeFacts, HostFacts, View

NOW = 100.0
VISION = BITS["vision"]

FAR = HostFacts("far", tier=2)
A, B, C = HostFacts("a"), HostFacts("b"), HostFacts("c")
BIG = HostFacts("big", slots=8)
HEAVY = HostFacts("heavy", weight=2.0)

UP = HomeFacts(LOADED, 8192)
SMALL = HomeFacts(LOADED, 4096)
WIDE = HomeFacts(LOADED, 8192, slots=8)
NARROW = HomeFacts(LOADED, 8192, slots=2)
COMING = HomeFacts(LOADING, 8192)
COLD = HomeFacts(UNLOADED)
BLIND = HomeFacts(LOADED, 8192, lacks=VISION)


def view_of(
    hosts: Sequence[HostFacts],
    homes: Sequence[HomeFacts | None],
    running: Sequence[int] | None = None,
    shut: Sequence[float] | None = None,
) -> View:
    """Return a view in which host n has homes[n] of the model "m"."""
    by_host = {number: home for number, home in enumerate(homes) if home is not None}
    return View.of(hosts, {"m": by_host}, running or [0] * len(hosts), shut or [0.0] * len(hosts))


TABLE: list[tuple[str, View, Needs, Spread, tuple[int, ...]]] = [
    ("nobody has it", view_of([A], [None]), Needs("m"), "queue", ()),
    ("the lower tier", view_of([FAR, A], [UP, UP]), Needs("m"), "queue", (1, 0)),
    ("the lower tier, even not loaded", view_of([FAR, A], [UP, COLD]), Needs("m"), "queue", (1, 0)),
    ("the lower tier, even full", view_of([FAR, A], [UP, UP], [0, 9]), Needs("m"), "queue", (1, 0)),
    ("the higher tier, if the lower is shut", view_of([FAR, A], [UP, UP], None, [0, inf]),
     Needs("m"), "queue", (0,)),
    ("the higher tier, if the lower cannot", view_of([FAR, A], [UP, BLIND]),
     Needs("m", mask=VISION), "queue", (0,)),
    ("a lack that is not needed", view_of([FAR, A], [UP, BLIND]), Needs("m"), "queue", (1, 0)),
    ("loaded before not loaded", view_of([A, B], [COLD, UP], [0, 3]), Needs("m"), "queue", (1, 0)),
    ("enough context before less", view_of([A, B], [SMALL, UP], [0, 3]),
     Needs("m", context=8000), "queue", (1, 0)),
    ("less context before not loaded", view_of([A, B], [COLD, SMALL], [0, 3]),
     Needs("m", context=8000), "queue", (1, 0)),
    ("loading with enough before loaded with less", view_of([A, B], [SMALL, COMING]),
     Needs("m", context=8000), "queue", (1, 0)),
    ("loading before not loaded", view_of([A, B], [COLD, COMING], [0, 7]), Needs("m"),
     "queue", (1, 0)),
    ("loading before another load, even to grow", view_of([A, B], [COLD, COMING], [0, 7]),
     Needs("m"), "grow", (1, 0)),
    ("loaded before loading", view_of([A, B], [COMING, UP], [0, 3]), Needs("m"), "queue", (1, 0)),
    ("a short queue before a load that runs", view_of([A, B], [COMING, UP], [0, 5]), Needs("m"),
     "queue", (1, 0)),
    ("a load that runs before a long queue", view_of([A, B], [COMING, UP], [0, 13]), Needs("m"),
     "queue", (0, 1)),
    ("the fewest requests", view_of([A, B, C], [UP, UP, UP], [2, 1, 3]), Needs("m"),
     "queue", (1, 0, 2)),
    ("the fewest requests per slot", view_of([A, BIG], [UP, UP], [2, 3]), Needs("m"),
     "queue", (1, 0)),
    ("the fewest requests per slot of the instance", view_of([A, B], [UP, WIDE], [2, 3]),
     Needs("m"), "queue", (1, 0)),
    ("a slot of the instance is free", view_of([A, B], [UP, WIDE], [4, 7]), Needs("m"), "queue",
     (1, 0)),
    ("the instance has fewer slots than its host", view_of([A, B], [UP, NARROW], [3, 2]),
     Needs("m"), "queue", (0, 1)),
    ("the weight, of two alike", view_of([A, HEAVY], [UP, UP], [1, 1]), Needs("m"),
     "queue", (1, 0)),
    ("a free slot before a full home", view_of([A, B], [UP, UP], [4, 3]), Needs("m"),
     "queue", (1, 0)),
    ("a queue before a load", view_of([A, B], [UP, COLD], [9, 0]), Needs("m"), "queue", (0, 1)),
    ("a load before a queue, to grow", view_of([A, B], [UP, COLD], [4, 0]), Needs("m"),
     "grow", (1, 0)),
    ("no load while a slot is free", view_of([A, B], [UP, COLD], [3, 0]), Needs("m"),
     "grow", (0, 1)),
    ("no load on a host that works", view_of([A, B], [UP, COLD], [4, 1]), Needs("m"),
     "grow", (0, 1)),
    ("no second load while one runs", view_of([A, B, C], [UP, COLD, COMING], [4, 0, 0]),
     Needs("m"), "grow", (0, 2, 1)),
    ("a pinned host", view_of([FAR, A], [UP, UP]), Needs("m", pinned=0), "queue", (0,)),
    ("a pinned host that is shut", view_of([FAR, A], [UP, UP], None, [inf, 0]),
     Needs("m", pinned=0), "queue", (0,)),
    ("a pinned host without the model", view_of([A, B], [UP, None]), Needs("m", pinned=1),
     "queue", ()),
    ("a pinned host that has failed", view_of([A, B], [UP, UP]),
     Needs("m", pinned=0, without=frozenset({0})), "queue", ()),
    ("not the ones that have failed", view_of([A, B], [UP, COLD]),
     Needs("m", without=frozenset({0})), "queue", (1,)),
    ("a shut host only when all are", view_of([A, B], [UP, UP], None, [NOW + 9, inf]),
     Needs("m"), "queue", (0, 1)),
    ("a host is open again", view_of([A, B], [UP, UP], [0, 1], [NOW, 0]), Needs("m"),
     "queue", (0, 1)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("view", "needs", "spread", "expected"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_the_order(view: View, needs: Needs, spread: Spread, expected: tuple[int, ...]) -> None:
    """Each rule decides where the ones before it don't."""
    assert expected == rank(needs, view, NOW, spread)


def test_the_host_that_holds_least_loads() -> None:
    """Loads are spread: a host without any model takes the next one."""
    homes = {"m": {0: COLD, 1: COLD}, "other": {0: UP}}
    view = View.of([A, B], homes, [0, 0], [0.0, 0.0])

    assert (1, 0) == rank(Needs("m"), view, NOW)
    assert (0, 1) == rank(
        Needs("m"), view.with_home("other", 0, None).with_home("other", 1, UP), NOW
    )


def test_a_wave_of_first_requests_loads_once() -> None:
    """Whatever they begin with, and with either spread, all follow the load of the first."""
    spreads: tuple[Spread, ...] = ("queue", "grow")
    for spread in spreads:
        hosts = [HostFacts(f"host {number}") for number in range(100)]
        running = [0] * len(hosts)
        view = View.of(hosts, {"m": dict.fromkeys(range(100), COLD)}, running, [0.0] * len(hosts))
        chosen = Counter[int]()
        for key in range(1, 60):
            best = rank(Needs("m", key=key), view, NOW, spread)[0]
            chosen[best] += 1
            running[best] += 1
            if view.homes["m"].by_host[best].state == UNLOADED:
                view = view.with_home("m", best, COMING)
        assert 1 == len(chosen)


def test_two_gateways_choose_one_host_to_load() -> None:
    """The order of hosts in a view does not matter, and neither does a request's beginning."""
    hosts = [HostFacts(f"host {number}") for number in range(9)]
    homes = dict.fromkeys(range(9), COLD)
    there = View.of(hosts, {"m": homes}, [0] * 9, [0.0] * 9)
    other = View.of(hosts[::-1], {"m": homes}, [0] * 9, [0.0] * 9)

    first = hosts[rank(Needs("m", key=1), there, NOW)[0]]
    second = hosts[::-1][rank(Needs("m", key=2), other, NOW)[0]]
    assert first == second


# -- affinity ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 5, 40, 300])
def test_a_beginning_has_a_home(count: int) -> None:
    """Requests that begin alike go to one host, as long as it has room."""
    hosts = [HostFacts(f"host {number}") for number in range(count)]
    view = view_of(hosts, [UP] * count)
    random = Random(1)
    homes = {}
    for key in (random.getrandbits(64) | 1 for _ in range(50)):
        homes[key] = rank(Needs("m", key=key), view, NOW)[0]
        assert homes[key] == rank(Needs("m", key=key), view, NOW + 7)[0]
    assert len(set(homes.values())) > 1


@pytest.mark.parametrize("count", [3, 40, 300])
def test_a_host_that_leaves_moves_only_its_own_beginnings(count: int) -> None:
    """The others keep the hosts whose caches they have filled."""
    hosts = [HostFacts(f"host {number}") for number in range(count)]
    shut = [0.0] * count
    view = view_of(hosts, [UP] * count, None, shut)
    random = Random(2)
    keys = [random.getrandbits(64) | 1 for _ in range(300)]
    before = {key: rank(Needs("m", key=key), view, NOW)[0] for key in keys}
    shut[0] = inf

    moved = {key for key in keys if rank(Needs("m", key=key), view, NOW)[0] != before[key]}
    assert {key for key in keys if before[key] == 0} == moved


def test_beginnings_are_shared_by_weight_and_slots() -> None:
    """A host of twice the slots or twice the weight has twice the beginnings."""
    view = view_of([A, BIG, HEAVY], [UP, UP, UP])
    random = Random(3)
    count = Counter(rank(Needs("m", key=random.getrandbits(64)), view, NOW)[0] for _ in range(5000))
    assert 800 < count[0] < 1200
    assert 1800 < count[1] < 2200
    assert 1800 < count[2] < 2200


@pytest.mark.parametrize("count", [40, 1000])
def test_beginnings_are_shared_evenly(count: int) -> None:
    """No host has far more beginnings than another, in one part and in many."""
    hosts = [HostFacts(f"host {number}") for number in range(count)]
    view = view_of(hosts, [UP] * count)
    random = Random(4)
    found = Counter(
        rank(Needs("m", key=random.getrandbits(64)), view, NOW)[0] for _ in range(count * 20)
    )
    # 20 on average with a standard deviation below 5.
    assert count == len(found)
    assert max(found.values()) < 20 + 6 * 5


def test_one_beginning_of_all_does_not_fill_one_host() -> None:
    """The bound: a host far above the mean load gets no more, and all work is shared in the end."""
    hosts = [HostFacts(f"host {number}", slots=8) for number in range(4)]
    running = [0] * 4
    view = view_of(hosts, [UP] * 4, running)
    for _ in range(28):
        bound = max(BOUND * (sum(running) + 1) / 4, ROOM * 8)
        best = rank(Needs("m", key=77), view, NOW)[0]
        running[best] += 1
        assert running[best] <= ceil(bound)
    assert 4 == sum(count > 0 for count in running)


# -- properties -------------------------------------------------------------------------------

some_homes = st.none() | st.builds(
    HomeFacts,
    st.sampled_from([LOADED, LOADING, UNLOADED]),
    st.sampled_from([0, 4096, 8192]),
    st.sampled_from([0, VISION]),
)
some_hosts = st.tuples(
    st.integers(1, 2),
    st.integers(1, 8),
    st.sampled_from([0.5, 1.0, 3.0]),
    some_homes,
    st.integers(0, 10),
    st.sampled_from([0.0, NOW + 1, inf]),
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[View, Needs, Spread]:
    """Draw hosts, their state and the needs of a request."""
    rows = draw(st.lists(some_hosts, min_size=1, max_size=draw(st.sampled_from([3, 8, 90]))))
    hosts = [
        HostFacts(f"h{n}", tier, slots, weight) for n, (tier, slots, weight, *_) in enumerate(rows)
    ]
    view = view_of(
        hosts,
        [row[3] for row in rows],
        [row[4] for row in rows],
        [row[5] for row in rows],
    )
    needs = Needs(
        "m",
        draw(st.sampled_from([0, 5000, 100_000])),
        draw(st.integers(0, 2**64 - 1)),
        draw(st.sampled_from([0, VISION])),
        None,
        frozenset(draw(st.sets(st.integers(0, len(rows) - 1), max_size=2))),
    )
    return view, needs, draw(st.sampled_from(["queue", "grow"]))


def usable(view: View, needs: Needs) -> dict[int, HomeFacts]:
    """Return the homes that can do what a request needs and have not failed it."""
    homes = view.homes.get("m")
    return {
        number: home
        for number, home in (homes.by_host if homes else {}).items()
        if not home.lacks & needs.mask and number not in needs.without
    }


@given(situations())
def test_only_homes_that_can_and_each_once(situation: tuple[View, Needs, Spread]) -> None:
    """What is named has the model and the capability, and was not tried; shut hosts come alone."""
    view, needs, spread = situation
    can = usable(view, needs)
    ranked = rank(needs, view, NOW, spread)

    assert set(ranked) <= set(can)
    assert len(ranked) == len(set(ranked)) <= MOST_HOMES
    is_open = {number for number in can if view.shut_until[number] <= NOW}
    assert set(ranked) <= (is_open or set(can))
    assert bool(ranked) == bool(can)


@given(situations())
def test_the_best_home_is_of_the_lowest_tier(situation: tuple[View, Needs, Spread]) -> None:
    """No home of a lower tier is passed over while its host is open."""
    view, needs, spread = situation
    can = usable(view, needs)
    tiers = [view.hosts[number].tier for number in can if view.shut_until[number] <= NOW]
    ranked = rank(needs, view, NOW, spread)
    if tiers:
        assert min(tiers) == view.hosts[ranked[0]].tier


@given(situations())
def test_nothing_is_loaded_while_a_loaded_home_has_a_slot(
    situation: tuple[View, Needs, Spread],
) -> None:
    """With either spread; and with "queue" no load at all while any home is loaded or loading."""
    view, needs, spread = situation
    can = usable(view, needs)
    ranked = rank(needs, view, NOW, spread)
    if not ranked or can[ranked[0]].state != UNLOADED or view.shut_until[ranked[0]] > NOW:
        return
    tier = view.hosts[ranked[0]].tier
    others = [
        number
        for number, home in can.items()
        if view.hosts[number].tier == tier
        and home.state != UNLOADED
        and view.shut_until[number] <= NOW
    ]
    if spread == "queue":
        assert not others
    for number in others:
        is_less = 0 < can[number].context < needs.context
        assert is_less or can[number].state == LOADED
        assert is_less or view.running[number] >= view.hosts[number].slots


@given(situations(), st.integers(0, 9))
def test_failing_homes_are_left_one_by_one(
    situation: tuple[View, Needs, Spread], steps: int
) -> None:
    """Ranking again without the failed ones reaches every home that can."""
    view, needs, spread = situation
    tried = set(needs.without)
    can = usable(view, needs)
    while ranked := rank(needs._replace(without=frozenset(tried)), view, NOW, spread):
        assert ranked[0] not in tried
        tried.add(ranked[0])
    reached = tried - needs.without
    is_open = {number for number in can if view.shut_until[number] <= NOW}
    assert is_open <= reached


@given(situations())
def test_a_decision_is_repeatable(situation: tuple[View, Needs, Spread]) -> None:
    """Nothing but the arguments counts, not even what was decided before."""
    view, needs, spread = situation
    first = rank(needs, view, NOW, spread)
    rank(needs._replace(key=5, context=1), view, NOW, "grow")
    assert first == rank(needs, view, NOW, spread)


# -- work -------------------------------------------------------------------------------------


class Counted(list[Any]):
    """A list that counts how often an item is read."""

    reads = 0

    def __getitem__(self, place: Any) -> Any:
        self.reads += 1
        return super().__getitem__(place)


@pytest.mark.parametrize("state", [LOADED, UNLOADED])
@pytest.mark.parametrize("load", [0, 2, 9])
def test_a_decision_looks_at_few_hosts(state: int, load: int) -> None:
    """Of 1,000 hosts that have the model, at most a few parts are read, full or idle."""
    hosts = [HostFacts(f"host {number}") for number in range(1000)]
    running, shut = Counted([load] * 1000), Counted([0.0] * 1000)
    view = View.of(hosts, {"m": dict.fromkeys(range(1000), HomeFacts(state))}, running, shut)
    needs = Needs("m", key=99)
    rank(needs, view, NOW)
    running.reads = shut.reads = 0

    assert rank(needs, view, NOW)
    assert running.reads <= 250
    assert shut.reads <= 250
