"""Waiting for slots: however a wait ends, no slot is lost and nobody waits where one is free."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.faults import GOING_DOWN, Refusal
from gateway.queueing.order import Bid, Home
from gateway.queueing.waiting import BUSY, About, SlotQueue
from gateway.settings.schema import QueueSettings

CHAT = Bid(is_interactive=True)
ABOUT = About("1", "m", "h")


def full_home(slots: int = 1) -> Home:
    """Return a home whose slots are taken."""
    home = Home(slots)
    home.taken = slots
    return home


def waiting(queue: SlotQueue, *homes: Home, bid: Bid = CHAT) -> asyncio.Task[Home | None]:
    """Begin to wait."""
    return asyncio.ensure_future(queue.wait(homes, bid, ABOUT))


async def turn() -> None:
    """Let everything run that can."""
    for _ in range(4):
        await asyncio.sleep(0)


async def test_a_free_slot_is_taken_without_waiting() -> None:
    """Nothing waits, and nothing is left behind."""
    queue, home = SlotQueue(QueueSettings()), Home(2)
    assert home is await queue.wait([home], CHAT, ABOUT)
    assert (1, 0) == (home.taken, queue.waiting)


async def test_a_slot_that_is_given_back_is_got() -> None:
    """By who waits; meanwhile it is shown."""
    queue, home = SlotQueue(QueueSettings()), full_home()
    task = waiting(queue, home)
    await turn()
    (shown,) = queue.entries()
    assert (ABOUT, CHAT) == (shown.about, shown.bid)
    assert shown.waited_s >= 0
    queue.give_back(home)
    assert home is await task
    assert (1, 0, []) == (home.taken, queue.waiting, queue.entries())


@pytest.mark.parametrize("is_granted", [False, True])
async def test_who_leaves_hands_the_slot_on(is_granted: bool) -> None:
    """Also in the turn in which it was given."""
    queue, home = SlotQueue(QueueSettings()), full_home()
    first, second = waiting(queue, home), waiting(queue, home)
    await turn()
    if is_granted:
        queue.give_back(home)
    first.cancel()
    if not is_granted:
        queue.give_back(home)
    with pytest.raises(asyncio.CancelledError):
        await first
    assert home is await second
    assert (1, {}) == (home.taken, home.lanes)


async def test_too_long_a_wait_is_refused() -> None:
    """With the time to try again; the next one is not held up."""
    queue, home = SlotQueue(QueueSettings(longest_s=0.001)), full_home()
    with pytest.raises(Refusal) as refused:
        await queue.wait([home], CHAT, ABOUT)
    assert 503 == refused.value.status
    assert "queue.longest_s" in refused.value.error
    assert (("retry-after", "1"),) == refused.value.headers
    assert (0, {}) == (queue.waiting, home.lanes)


async def test_a_full_queue_refuses() -> None:
    """In Ollama's words."""
    queue, home = SlotQueue(QueueSettings(most=1)), full_home()
    first = waiting(queue, home)
    await turn()
    with pytest.raises(Refusal) as refused:
        await queue.wait([home], CHAT, ABOUT)
    assert (503, BUSY) == (refused.value.status, refused.value.error)
    assert "retry-after" == refused.value.headers[0][0]
    queue.give_back(home)
    assert home is await first


async def test_a_full_queue_has_a_place_for_a_better_one() -> None:
    """The worst one has to go, and is told."""
    queue, home = SlotQueue(QueueSettings(most=1)), full_home()
    worse = waiting(queue, home, bid=Bid())
    await turn()
    better = waiting(queue, home)
    with pytest.raises(Refusal, match="server busy"):
        await worse
    queue.give_back(home)
    assert home is await better


async def test_with_no_place_a_free_slot_is_still_taken() -> None:
    """With `most = 0` nobody waits, and who need not wait is served."""
    queue, home = SlotQueue(QueueSettings(most=0)), Home(1)
    assert home is await queue.wait([home], CHAT, ABOUT)
    with pytest.raises(Refusal):
        await queue.wait([home], CHAT, ABOUT)


async def test_the_end_is_told_to_all() -> None:
    """Those that wait, and those that come later."""
    queue, home = SlotQueue(QueueSettings()), full_home()
    tasks = [waiting(queue, home) for _ in range(3)]
    await turn()
    queue.close()
    tasks.append(waiting(queue, home))
    for task in tasks:
        with pytest.raises(Refusal, match=GOING_DOWN):
            await task
    assert (1, 0) == (home.taken, queue.waiting)


async def test_a_host_that_is_away_is_waited_for_no_more() -> None:
    """Who waits for nothing else goes on without a slot, and meets the host's failure itself."""
    queue, away, other = SlotQueue(QueueSettings()), full_home(), full_home()
    only, both = waiting(queue, away), waiting(queue, away, other)
    await turn()
    queue.close_home(away)
    assert await only is None
    queue.give_back(other)
    assert other is await both
    assert (1, 1) == (away.taken, other.taken)


async def test_more_slots_let_more_go() -> None:
    """And fewer let nobody go until enough have ended."""
    queue, home = SlotQueue(QueueSettings()), full_home()
    tasks = [waiting(queue, home) for _ in range(4)]
    await turn()
    queue.resize(home, 3)
    await turn()
    assert [True, True, False, False] == [task.done() for task in tasks]
    queue.resize(home, 1)
    for _ in range(2):
        queue.give_back(home)
    await turn()
    assert [True, True, False, False] == [task.done() for task in tasks]
    queue.give_back(home)
    await turn()
    assert tasks[2].done()
    queue.close()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_without_the_queue_nobody_waits() -> None:
    """A reload that has requests wait at their hosts lets all of them go, and back."""
    queue, home = SlotQueue(QueueSettings()), full_home()

    def resize() -> None:
        queue.resize(home, 1)

    queue.watch(resize)
    tasks = [waiting(queue, home) for _ in range(3)]
    await turn()
    queue.use(QueueSettings(at="host"))
    assert [home] * 3 == await asyncio.gather(*tasks)
    queue.use(QueueSettings())
    assert 1 == home.slots
    late = waiting(queue, home)
    await turn()
    assert not late.done()
    for _ in range(4):
        queue.give_back(home)
    assert home is await late
    queue.unwatch(resize)
    queue.unwatch(resize)


class Machine(RuleBasedStateMachine):
    """Any history of arrivals, grants, departures and changes, with turns of the loop between."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.homes = [Home(1), Home(2), Home(3)]
        self.queue = SlotQueue(QueueSettings(most=6))
        self.tasks: list[asyncio.Task[Home | None]] = []
        self.held: list[Home] = []
        self.is_settled = True
        self._bids = count()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Do something as a callback of the loop would; nothing else runs meanwhile."""
        asyncio.events._set_running_loop(self.loop)
        try:
            yield
        finally:
            asyncio.events._set_running_loop(None)
        self.is_settled = False

    @initialize(most=st.integers(0, 8), every=st.integers(0, 4))
    def configure(self, most: int, every: int) -> None:
        """Use some settings."""
        with self.inside():
            self.queue.use(QueueSettings(most=most, batch_every=every, longest_s=0))

    @rule(
        owner=st.sampled_from("ab"),
        weight=st.sampled_from([1.0, 3.0]),
        priority=st.integers(-1, 1),
        is_interactive=st.booleans(),
        places=st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True),
    )
    def arrive(
        self, owner: str, weight: float, priority: int, is_interactive: bool, places: list[int]
    ) -> None:
        """Let a request come."""
        homes = [self.homes[place] for place in places]
        bid = Bid(owner, weight, priority, is_interactive)
        with self.inside():
            self.tasks.append(self.loop.create_task(self.queue.wait(homes, bid, ABOUT)))

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Let a client leave, whatever has become of its request."""
        with self.inside():
            data.draw(st.sampled_from(self.tasks)).cancel()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """Let a request end."""
        home = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        with self.inside():
            self.queue.give_back(home)

    @precondition(lambda self: self.held and self.tasks)
    @rule(data=st.data())
    def leave_as_a_slot_is_given(self, data: st.DataObject) -> None:
        """Let a request end and a client leave in one turn, perhaps the one that gets the slot."""
        self.give_back(data)
        self.leave(data)

    @rule(place=st.integers(0, 2), slots=st.integers(1, 4))
    def resize(self, place: int, slots: int) -> None:
        """Have a host say that it has more slots, or fewer."""
        with self.inside():
            self.queue.resize(self.homes[place], slots)

    @rule(place=st.integers(0, 2))
    def lose_host(self, place: int) -> None:
        """Let a host be away."""
        with self.inside():
            self.queue.close_home(self.homes[place])

    @rule()
    def settle(self) -> None:
        """Let the loop run until nothing more happens."""
        self.loop.run_until_complete(turn())
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.remove(task)
            if not task.cancelled() and task.exception() is None:
                home = task.result()
                if home is not None:
                    self.held.append(home)
            elif not task.cancelled():
                assert isinstance(task.exception(), Refusal)
        self.is_settled = True

    @invariant()
    def no_slot_is_lost(self) -> None:
        """What is taken is held, and where one waits nothing is free."""
        for home in self.homes:
            assert not (home.lanes and home.taken < home.slots)
            if self.is_settled:
                assert self.held.count(home) == home.taken

    @invariant()
    def nobody_is_lost(self) -> None:
        """Who is not done waits, in a lane of each of its homes."""
        if self.is_settled:
            assert len(self.tasks) == self.queue.waiting == len(self.queue.entries())
        in_lanes: set[Any] = {
            entry
            for home in self.homes
            for lane in home.lanes.values()
            for entries in lane.by_owner.values()
            for entry in entries
        }
        assert len(in_lanes) == self.queue.waiting

    def teardown(self) -> None:
        """End all requests: then nothing is taken, and nobody waits."""
        self.settle()
        while self.held:
            home = self.held.pop()
            with self.inside():
                self.queue.give_back(home)
            self.settle()
        assert ([], 0) == (self.tasks, self.queue.waiting)
        assert [0, 0, 0] == [home.taken for home in self.homes]
        self.loop.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


async def test_who_waits_is_offered_homes_that_come() -> None:
    """As long as there is nothing new, it waits for what it knows."""
    queue, home, late = SlotQueue(QueueSettings()), full_home(), Home(1)
    found = [home]
    task = asyncio.ensure_future(queue.wait([home], CHAT, ABOUT, lambda: found))
    plain = waiting(queue, home)
    await turn()
    queue.offer()
    await turn()
    assert (2, False) == (queue.waiting, task.done())
    found.append(late)
    queue.offer()
    assert late is await task
    assert (1, 1) == (late.taken, queue.waiting)
    queue.give_back(home)
    assert home is await plain
