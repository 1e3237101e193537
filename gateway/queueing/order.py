"""
The order in which requests get the slots of their homes: who is next when one is free.

This is pure: it has no clock and no event loop, so that tables, properties and a simulation can
test it. A home is one model on one host. Its waiting requests are in lanes, one for each class:

1. The lane of the highest priority is first, and of two with one priority that of streamed answers.
2. A lane that others were preferred to often enough in a row is next, so that none starves.
3. In a lane, owners take turns by their weights: who has had the least of it, measured in slots by
   weight, is next. An owner that comes anew has had as much as the one that was served last.
4. Of one owner the oldest request is next.

A request may wait for several homes, and gets the first slot that is free in one of them. So a home
with a free slot has nobody that waits for it.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, insort
from collections.abc import Iterable
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

UNBOUNDED: Final = sys.maxsize
"""The slots of a home of which nobody knows how many it has: nobody waits for it here."""

Rank: TypeAlias = tuple[int, int]
"""What a lane is sorted by: minus its priority, and 1 for what is not streamed."""

_place_of: attrgetter[int] = attrgetter("place")


class Bid(NamedTuple):
    """
    What a request's place in the order depends on.

    `owner` is who it is counted for. `weight` is above 0: twice the weight, twice the slots.
    """

    owner: str = ""
    weight: float = 1.0
    priority: int = 0
    is_interactive: bool = False


class Rules(NamedTuple):
    """
    What the order depends on beyond the requests.

    Of `every` slots in a row that a home gives while a lane waits, one goes to that lane; 0 is
    never. `interactive_first` has streamed answers come before others of their priority.
    """

    every: int = 8
    interactive_first: bool = True


class Entry:
    """A request that waits; it is for one use. `place` orders requests by their age."""

    __slots__ = ("bid", "home", "homes", "place", "rank")

    def __init__(self, bid: Bid, homes: Iterable[Home], place: int) -> None:
        """Wait for a slot of one of `homes`, the first of them if several are free."""
        self.bid = bid
        self.place = place
        self.homes = list(homes)
        self.home: Home | None = None
        """The home of which it has got a slot."""
        self.rank: Rank = (0, 0)


class Lane:
    """The waiting requests of one class at one home, by their owners."""

    __slots__ = ("_had", "_last", "by_owner", "passed")

    def __init__(self) -> None:
        self.by_owner: dict[str, list[Entry]] = {}
        """The requests of each owner that has some, the oldest first."""
        self.passed = 0
        """How many slots in a row went to other lanes while this one waited."""
        self._had: dict[str, float] = {}
        """How many slots each owner has had here, divided by its weight."""
        self._last = 0.0
        """What the owner had had that was served last."""

    def add(self, entry: Entry) -> None:
        """Let a request wait."""
        owner = entry.bid.owner
        waiting = self.by_owner.get(owner)
        if waiting is None:
            self.by_owner[owner] = [entry]
            self._had[owner] = max(self._had.get(owner, 0.0), self._last)
        else:
            insort(waiting, entry, key=_place_of)

    def remove(self, entry: Entry) -> None:
        """Let a request wait no more."""
        waiting = self.by_owner[entry.bid.owner]
        at = bisect_left(waiting, entry.place, key=_place_of)
        assert waiting[at] is entry, "places differ"
        del waiting[at]
        if not waiting:
            del self.by_owner[entry.bid.owner]

    def first(self) -> Entry:
        """Return the request that is next in this lane."""
        had, by_owner = self._had, self.by_owner
        owner = min(by_owner, key=lambda each: (had[each], by_owner[each][0].place))
        return by_owner[owner][0]

    def charge(self, bid: Bid) -> None:
        """Count a slot for an owner."""
        self.passed = 0
        self._last = self._had[bid.owner]
        self._had[bid.owner] += 1 / bid.weight


class Home:
    """
    The slots of one model on one host, and the requests that wait for them.

    Whoever finds `taken < slots` may take one by itself, by counting it in `taken`.
    """

    __slots__ = ("lanes", "slots", "taken")

    def __init__(self, slots: int = UNBOUNDED) -> None:
        self.slots = slots
        self.taken = 0
        self.lanes: dict[Rank, Lane] = {}
        """The lanes in which somebody waits."""

    def next(self, every: int) -> Entry | None:
        """Return the request that is next here, None if nobody waits."""
        if not self.lanes:
            return None
        rank = min(self.lanes)
        if every and len(self.lanes) > 1:
            passed = max(lane.passed for lane in self.lanes.values())
            if passed >= max(every, 2) - 1:
                rank = min(each for each, lane in self.lanes.items() if lane.passed == passed)
        return self.lanes[rank].first()

    def give(self, entry: Entry) -> None:
        """Give a slot to a request that waits here, and count that for its owner and its lane."""
        self.taken += 1
        for rank, lane in self.lanes.items():
            if rank == entry.rank:
                lane.charge(entry.bid)
            else:
                lane.passed += 1


class Order:
    """All requests that wait, and the homes that they wait for."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        """They may be replaced; requests that wait already keep their lane."""
        self.entries: dict[Entry, None] = {}
        """All that wait, in the order in which they were added."""

    def add(self, entry: Entry) -> bool:
        """Let a request wait, unless a slot is free: return whether it has got one."""
        for home in entry.homes:
            if home.taken < home.slots:
                home.taken += 1
                entry.home = home
                return True
        bid = entry.bid
        entry.rank = self._rank_of(bid)
        self.entries[entry] = None
        for home in entry.homes:
            self._lane_of(home, entry).add(entry)
        return False

    def remove(self, entry: Entry) -> None:
        """Let a request wait no more, wherever it does."""
        if entry in self.entries:
            del self.entries[entry]
            for home in entry.homes:
                _leave(home, entry)

    def give_back(self, home: Home) -> list[Entry]:
        """Take a slot back, and return the requests that get it."""
        home.taken -= 1
        return self.fill(home)

    def fill(self, home: Home) -> list[Entry]:
        """Give the free slots of a home to those who wait for them; return who has got one."""
        filled: list[Entry] = []
        while home.taken < home.slots and (entry := home.next(self.rules.every)) is not None:
            home.give(entry)
            self.remove(entry)
            entry.home = home
            filled.append(entry)
        return filled

    def offer(self, home: Home, entries: Iterable[Entry]) -> list[Entry]:
        """Let requests wait for one more home; return who has got a slot of it at once."""
        for entry in entries:
            if entry in self.entries and home not in entry.homes:
                entry.homes.append(home)
                self._lane_of(home, entry).add(entry)
        return self.fill(home)

    def close(self, home: Home) -> list[Entry]:
        """Have nobody wait for a home; return who waited for no other one, the oldest first."""
        left: list[Entry] = []
        for entry in [entry for entry in self.entries if home in entry.homes]:
            _leave(home, entry)
            entry.homes.remove(home)
            if not entry.homes:
                del self.entries[entry]
                left.append(entry)
        return sorted(left, key=_place_of)

    def victim(self, bid: Bid) -> Entry | None:
        """
        Return the request that has to go if one more may wait only in place of another.

        It is of the last class that waits, of the owner who has most there by weight, and the
        newest of them. None if the new one itself is no better: then it is the one to go.
        """
        if not self.entries:
            return None
        last = max(entry.rank for entry in self.entries)
        waiting: dict[str, list[Entry]] = {}
        for entry in self.entries:
            if entry.rank == last:
                waiting.setdefault(entry.bid.owner, []).append(entry)
        most = max(waiting.values(), key=lambda entries: len(entries) / entries[-1].bid.weight)
        newest = max(most, key=_place_of)
        rank = self._rank_of(bid)
        if rank == last:
            own = len(waiting.get(bid.owner, ())) + 1
            is_better = own / bid.weight < len(most) / newest.bid.weight
        else:
            is_better = rank < last
        return newest if is_better else None

    @staticmethod
    def _lane_of(home: Home, entry: Entry) -> Lane:
        lane = home.lanes.get(entry.rank)
        if lane is None:
            lane = home.lanes[entry.rank] = Lane()
        return lane

    def _rank_of(self, bid: Bid) -> Rank:
        is_later = self.rules.interactive_first and not bid.is_interactive
        return -bid.priority, int(is_later)


def _leave(home: Home, entry: Entry) -> None:
    lane = home.lanes[entry.rank]
    lane.remove(entry)
    if not lane.by_owner:
        # What its owners have had is forgotten with it: whoever comes next is as new as the others.
        del home.lanes[entry.rank]
