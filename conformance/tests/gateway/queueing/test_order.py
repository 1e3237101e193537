"""The order of the queue: classes, turns of owners, ages, and that nobody starves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.queueing.order import UNBOUNDED, Bid, Entry, Home, Order, Rules

CHAT = Bid(is_interactive=True)
BATCH = Bid()


class Line:
    """One home whose slots are given one by one, and what was given."""

    def __init__(self, rules: Rules | None = None, slots: int = 1) -> None:
        self.home = Home(slots)
        self.order = Order(rules or Rules())
        self.home.taken = slots
        self._place = count()

    def add(self, *bids: Bid) -> list[Entry]:
        """Let requests wait."""
        entries = [Entry(bid, [self.home], next(self._place)) for bid in bids]
        for entry in entries:
            assert not self.order.add(entry)
        return entries

    def serve(self, times: int) -> list[Entry]:
        """Give a slot back so many times; return who got it."""
        return [entry for _ in range(times) for entry in self.order.give_back(self.home)]


def owners(entries: Iterable[Entry]) -> str:
    """Return the owners of requests as one text."""
    return "".join(entry.bid.owner for entry in entries)


def test_the_oldest_of_one_owner_is_first() -> None:
    """Also if it was added later, because it waited elsewhere before."""
    line = Line()
    first, *rest = [Entry(BATCH, [line.home], place) for place in range(4)]
    for entry in (*rest, first):
        line.order.add(entry)
    assert [first, *rest] == line.serve(4)
    assert not line.order.entries
    assert not line.home.lanes


def test_a_streamed_answer_comes_before_others() -> None:
    """It is the next one, however many others wait."""
    line = Line()
    batch = line.add(*[BATCH] * 500)
    (chat,) = line.add(CHAT)
    assert [chat, batch[0]] == line.serve(2)


def test_by_arrival_it_does_not() -> None:
    """With that setting the older one is first."""
    line = Line(Rules(interactive_first=False))
    entries = line.add(BATCH, CHAT, BATCH)
    assert entries == line.serve(3)


@pytest.mark.parametrize(("every", "batch"), [(8, 10), (2, 40), (1, 40), (0, 0)])
def test_others_get_their_share(every: int, batch: int) -> None:
    """Of `every` slots one goes to who is not preferred; with 0 none."""
    line = Line(Rules(every=every))
    line.add(*[BATCH] * 80, *[CHAT] * 80)
    served = line.serve(80)
    assert batch == sum(not entry.bid.is_interactive for entry in served)


def test_a_higher_priority_comes_first() -> None:
    """Before a streamed answer of a lower one, and the lower ones get their share."""
    line = Line(Rules(every=4))
    low, high = Bid("l", priority=-1, is_interactive=True), Bid("h", priority=3)
    line.add(*[low] * 6, *[high] * 6)
    assert "hhhlhhhlllll"[:8] == owners(line.serve(8))


@pytest.mark.parametrize("is_interactive", [True, False])
def test_two_keys_share_by_weight(is_interactive: bool) -> None:
    """With weights 1 and 3 the second gets three of four slots, whoever asks more or first."""
    line = Line()
    one = Bid("a", 1.0, 0, is_interactive)
    three = Bid("b", 3.0, 0, is_interactive)
    line.add(*[one] * 90, *[three] * 60)
    assert {"a": 20, "b": 60} == Counter(owners(line.serve(80)))


def test_who_comes_late_makes_up_for_nothing() -> None:
    """An owner that asked nothing before shares from now on, and does not get it all."""
    line = Line()
    line.add(*[Bid("a")] * 50)
    line.serve(30)
    line.add(*[Bid("b")] * 10)
    assert 5 == owners(line.serve(10)).count("b")


def test_who_comes_and_goes_gets_no_more() -> None:
    """An owner with one request at a time can't be first each time."""
    line = Line()
    line.add(*[Bid("a")] * 50)
    got = ""
    for _ in range(10):
        line.add(Bid("b"))
        got += owners(line.serve(2))
    assert 10 == got.count("b")


def test_a_request_gets_the_first_slot_of_its_homes() -> None:
    """And waits for the others no more."""
    one, other = Home(1), Home(1)
    one.taken = other.taken = 1
    order = Order(Rules())
    entry, next_one = Entry(BATCH, [one, other], 0), Entry(BATCH, [one], 1)
    assert not order.add(entry)
    assert not order.add(next_one)
    assert [entry] == order.give_back(other)
    assert other is entry.home
    assert not other.lanes
    assert [next_one] == order.give_back(one)


def test_a_free_slot_elsewhere_is_taken_at_once() -> None:
    """Nobody waits where a home has room."""
    one, other = Home(1), Home(2)
    one.taken = 1
    order, entry = Order(Rules()), Entry(BATCH, [one, other], 0)
    assert order.add(entry)
    assert (other, 1) == (entry.home, other.taken)


def test_a_closed_home_is_waited_for_no_more() -> None:
    """Who waits for another one as well stays there."""
    one, other = Home(1), Home(1)
    one.taken = other.taken = 1
    order = Order(Rules())
    both, only = Entry(BATCH, [one, other], 0), Entry(BATCH, [one], 1)
    for entry in (both, only):
        order.add(entry)
    assert [only] == order.close(one)
    assert [both] == list(order.entries)
    assert [both] == order.give_back(other)


def test_nobody_waits_for_a_home_of_unknown_size() -> None:
    """It has room for any number."""
    home, order = Home(), Order(Rules())
    assert UNBOUNDED == home.slots
    assert all(order.add(Entry(BATCH, [home], place)) for place in range(1000))


@pytest.mark.parametrize(
    ("waiting", "new", "gone"),
    [
        ([BATCH, BATCH], BATCH, None),
        ([CHAT, BATCH, BATCH, CHAT], CHAT, 2),
        ([CHAT, CHAT], BATCH, None),
        ([Bid("a"), Bid("b"), Bid("a"), Bid("a")], Bid("b"), 3),
        ([Bid("a"), Bid("b"), Bid("a")], Bid("b"), None),
        ([Bid("a", 3.0)] * 3, Bid("b"), None),
        ([Bid("a", 3.0)] * 4, Bid("b"), 3),
        ([Bid("a"), Bid("b", priority=-1)], Bid("a"), 1),
        ([Bid("a"), Bid("b", priority=1)], Bid("a"), None),
        ([], BATCH, None),
    ],
)
def test_who_makes_room(waiting: list[Bid], new: Bid, gone: int | None) -> None:
    """The newest request of who has most in the last class, if the new one is better."""
    line = Line()
    entries = line.add(*waiting)
    victim = line.order.victim(new)
    assert (None if gone is None else entries[gone]) is victim


BIDS = st.builds(
    Bid,
    st.sampled_from("abc"),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.sampled_from([-1, 0, 2]),
    st.booleans(),
)


@settings(deadline=None)
@given(st.lists(BIDS, max_size=120), st.integers(0, 9), st.booleans())
def test_everybody_is_served_once(bids: list[Bid], every: int, first: bool) -> None:
    """All that wait get a slot, each one time, and nothing is left behind."""
    line = Line(Rules(every, first))
    entries = line.add(*bids)
    served = line.serve(len(bids) + 1)
    assert len(entries) == len(served)
    assert set(entries) == set(served)
    assert (0, {}) == (line.home.taken, line.home.lanes)


@settings(deadline=None)
@given(
    st.lists(BIDS, min_size=1, max_size=60),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_no_class_starves(bids: list[Bid], every: int, random: Random) -> None:
    """While others come without an end, a class waits for a bounded number of slots."""
    line = Line(Rules(every))
    line.add(*bids)
    since: dict[tuple[int, int], int] = {}
    for _ in range(100):
        line.add(random.choice(bids))
        lanes = set(line.home.lanes)
        (entry,) = line.serve(1)
        since = {rank: since.get(rank, 0) + 1 for rank in lanes}
        since[entry.rank] = 0
        # Of several classes that are due one is served after the other, and there were at most six.
        assert all(passed < max(every, 2) + 6 for passed in since.values())


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 4)), max_size=40),
    st.sampled_from([1.0, 2.0, 3.0]),
)
def test_shares_stay_near_weights(steps: list[tuple[str, int]], weight: float) -> None:
    """Of two owners that always wait, no one is ahead by more than one slot of its weight."""
    line = Line()
    weights = {"a": 1.0, "b": weight}
    had = Counter[str]()
    line.add(*[Bid(owner, weights[owner]) for owner in "ab"] * 200)
    for owner, times in steps:
        line.add(*[Bid(owner, weights[owner])] * times)
        had.update(owners(line.serve(times)))
        apart = abs(had["a"] / weights["a"] - had["b"] / weights["b"])
        assert apart <= 1 / weights["a"] + 1 / weights["b"]


def test_a_home_that_comes_later_is_offered_in_the_order_of_the_queue() -> None:
    """Its free slots go to those who are next, and the others wait for it, too."""
    line, late = Line(), Home(2)
    batch, chats = line.add(BATCH, BATCH), line.add(CHAT)
    assert [chats[0], batch[0]] == line.order.offer(late, [*batch, *chats])
    assert (late, late) == (chats[0].home, batch[0].home)
    assert 2 == late.taken
    assert [batch[1]] == list(line.order.entries)
    assert [] == line.order.offer(late, batch)
    assert [batch[1]] == line.order.give_back(late)
    assert late is batch[1].home
    assert not line.home.lanes
    assert not late.lanes


def test_a_request_that_has_a_slot_is_offered_nothing() -> None:
    """It would get two."""
    line, late = Line(), Home(1)
    (entry,) = line.add(CHAT)
    assert [entry] == line.serve(1)
    assert [] == line.order.offer(late, [entry])
    assert (0, {}) == (late.taken, late.lanes)
