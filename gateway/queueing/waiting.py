"""
Requests that wait for a slot, in the order that `order` says, and the ends of their waits.

A wait ends with a slot, with its client's leaving, after a time, or because somebody else needs its
place. However it ends, no slot is lost: one that was given to a request that has just ended goes on
to the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import count
from math import ceil
from time import perf_counter_ns
from typing import Final, NamedTuple, TypeAlias

import msgspec

from ..faults import GOING_DOWN, Refusal, afresh
from ..settings.schema import QueueSettings
from .order import UNBOUNDED, Bid, Entry, Home, Order, Rules

BUSY: Final = "server busy, please try again.  maximum pending requests exceeded"
"""Ollama's text, two spaces included (docs/facts/ollama.md#queue)."""
LONGEST_RETRY_S: Final = 60
"""The longest time in seconds that a refused client is told to wait."""


class About(NamedTuple):
    """What is shown of a request that waits: its id, its model, and the host it was sent to."""

    id: str = ""
    model: str = ""
    host: str = ""


Find: TypeAlias = Callable[[], Iterable[Home]]
"""Returns the homes that a request may wait for now."""


class Waiting(NamedTuple):
    """A request that waits. `waited_s` is how long it has, in seconds."""

    about: About
    bid: Bid
    waited_s: float


class Waits(msgspec.Struct, frozen=True):
    """How many requests wait for a slot in one process, and how many of them somebody looks at."""

    waiting: int
    interactive: int


class _Waiter(Entry):
    """
    A request that waits, and the future that ends the wait.

    Its result is a home for a slot there, None for going on without one, and a refusal. It is no
    exception: nobody may be left to retrieve it.
    """

    __slots__ = ("about", "ended", "find", "since_ns")

    def __init__(
        self, bid: Bid, homes: Sequence[Home], place: int, about: About, find: Find | None
    ) -> None:
        super().__init__(bid, homes, place)
        self.about = about
        self.find = find
        self.since_ns = perf_counter_ns()
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Home | Refusal | None] = loop.create_future()

    def end(self, how: Home | Refusal | None) -> None:
        """End the wait. One that was cancelled just now ends by itself, and gives its slot back."""
        if not self.ended.done():
            self.ended.set_result(how)


class SlotQueue:
    """The queue of one process, for all homes of all hosts."""

    def __init__(self, settings: QueueSettings) -> None:
        self._settings = settings
        self._order = Order(_rules_of(settings))
        self._place = count()
        self._last_wait_ns = 0
        self._is_closed = False
        self._resize: list[Callable[[], None]] = []

    # -- what waits ---------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._order.entries)

    @property
    def interactive(self) -> int:
        """How many of them are answers that somebody looks at."""
        return sum(entry.bid.is_interactive for entry in self._order.entries)

    def entries(self) -> list[Waiting]:
        """Return the requests that wait, the oldest first."""
        now_ns = perf_counter_ns()
        return [
            Waiting(waiter.about, waiter.bid, (now_ns - waiter.since_ns) / 1e9)
            for waiter in map(_waiter, self._order.entries)
        ]

    # -- waiting ------------------------------------------------------------------------------

    def slots(self, known: int) -> int:
        """Return how many requests a home with so many slots gets at a time; 0 is unknown."""
        return known if known and self._settings.at == "gateway" else UNBOUNDED

    async def wait(
        self, homes: Sequence[Home], bid: Bid, about: About, find: Find | None = None
    ) -> Home | None:
        """
        Wait for a slot of one of some homes, and return the home of which one is taken.

        It may get one of a home that `find` returns later, when `offer` is called.

        Returns None if it has to be tried without a slot: nobody can be waited for. Raises Refusal
        (503) if too many requests wait, if this one has waited for too long or has to make room for
        a better one, and if the gateway ends.
        """
        if self._is_closed:
            raise Refusal(503, GOING_DOWN)
        waiter = _Waiter(bid, homes, next(self._place), about, find)
        is_full = len(self._order.entries) >= self._settings.most
        if is_full and not any(home.taken < home.slots for home in homes):
            self._make_room(bid)
        if self._order.add(waiter):
            return waiter.home
        try:
            async with asyncio.timeout(self._settings.longest_s or None):
                how = await waiter.ended
        except TimeoutError as problem:
            self._leave(waiter)
            # Its frames hold the task.
            problem.with_traceback(None)
            raise self._too_long() from None
        except BaseException:
            self._leave(waiter)
            raise
        finally:
            self._last_wait_ns = perf_counter_ns() - waiter.since_ns
        if isinstance(how, Refusal):
            raise afresh(how)
        return how

    def offer(self) -> None:
        """Let those that wait wait for homes, too, that have come since, in their order."""
        found: dict[Home, list[Entry]] = {}
        for entry in self._order.entries:
            waiter = _waiter(entry)
            for home in () if waiter.find is None else waiter.find():
                if home not in waiter.homes:
                    found.setdefault(home, []).append(waiter)
        for home, entries in found.items():
            for entry in self._order.offer(home, entries):
                _waiter(entry).end(home)

    def give_back(self, home: Home) -> None:
        """Give a slot back; the next request gets it."""
        home.taken -= 1
        self.fill(home)

    def fill(self, home: Home) -> None:
        """Give the free slots of a home to requests that wait for it."""
        if home.lanes:
            for entry in self._order.fill(home):
                _waiter(entry).end(home)

    def resize(self, home: Home, known: int) -> None:
        """Have a home have so many slots from now on; 0 is unknown."""
        home.slots = self.slots(known)
        if home.taken < home.slots:
            self.fill(home)

    # -- changes ------------------------------------------------------------------------------

    def watch(self, resize: Callable[[], None]) -> None:
        """Have a function called that resizes homes, when other settings are in force."""
        self._resize.append(resize)

    def unwatch(self, resize: Callable[[], None]) -> None:
        """Have it called no more."""
        with suppress(ValueError):
            self._resize.remove(resize)

    def use(self, settings: QueueSettings) -> None:
        """Use other settings. Requests that wait keep their class, and their longest wait."""
        self._settings = settings
        self._order.rules = _rules_of(settings)
        for resize in self._resize:
            resize()

    def close_home(self, home: Home) -> None:
        """
        Have nobody wait for a home whose host can't be reached, or is drained.

        Who waits for no other home is let go without a slot, so that the client gets the reason, or
        goes to another host.
        """
        for entry in self._order.close(home):
            _waiter(entry).end(None)

    def close(self) -> None:
        """Have nobody wait any more: the gateway is about to end, and says so."""
        self._is_closed = True
        for entry in list(self._order.entries):
            self._order.remove(entry)
            _waiter(entry).end(Refusal(503, GOING_DOWN))

    # -- inside -------------------------------------------------------------------------------

    def _leave(self, waiter: _Waiter) -> None:
        """End a wait from outside; a slot that was just given goes on to the next."""
        if waiter.home is None:
            self._order.remove(waiter)
        else:
            home, waiter.home = waiter.home, None
            self.give_back(home)

    def _make_room(self, bid: Bid) -> None:
        """Have a worse request give its place. Raises Refusal if there is none."""
        victim = self._order.victim(bid)
        if victim is None:
            raise self._busy()
        self._order.remove(victim)
        _waiter(victim).end(self._busy())

    def _busy(self) -> Refusal:
        return Refusal(503, BUSY, (self._retry(),))

    def _too_long(self) -> Refusal:
        return Refusal(
            503,
            f"all slots of the model were taken for {self._settings.longest_s:g} s "
            "(queue.longest_s): try again later",
            (self._retry(),),
        )

    def _retry(self) -> tuple[str, str]:
        """Tell a client to wait about as long as the last request did that waited."""
        seconds = ceil(self._last_wait_ns / 1e9)
        return "retry-after", str(min(max(seconds, 1), LONGEST_RETRY_S))


def _rules_of(settings: QueueSettings) -> Rules:
    return Rules(settings.batch_every, settings.order == "interactive")


def _waiter(entry: Entry) -> _Waiter:
    assert isinstance(entry, _Waiter), "no others are added"
    return entry
