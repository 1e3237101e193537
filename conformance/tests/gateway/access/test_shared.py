"""What keys use, counted with a store: how often it is asked, and what happens while it fails."""

from __future__ import annotations

import asyncio

import pytest

from conformance.tests.gateway.support import lines_of, written
from gateway.access.counting import Excess, Taken, Told
from gateway.access.shared import KeyCounts
from gateway.faults import StoreFailure
from gateway.settings.schema import KeySettings

LIMITS = KeySettings(max_running=4)


class PlayedMeter:
    """Grants what it is told to, when it is let go, and notes what it was told."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.came = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.failure: str | None = None
        self.taken: Taken | None = None

    async def take(self, gateway: str, name: str, limits: KeySettings, told: Told) -> Taken:
        """Answer as a store would."""
        self.told.append(told)
        self.came.set()
        await self.go.wait()
        if self.failure is not None:
            raise StoreFailure(self.failure)
        return self.taken or Taken(told.wanted)

    async def until_told(self, *expected: Told) -> None:
        """Wait until nothing but this was told, and forget it."""
        async with asyncio.timeout(20):
            while self.told != [*expected]:
                self.came.clear()
                await self.came.wait()
        self.told.clear()


async def test_a_request_costs_one_call_on_its_way() -> None:
    """Its end is told in the background, with its tokens."""
    meter = PlayedMeter()
    counts = KeyCounts(meter, "a")
    assert None is await counts.begin("alice", LIMITS)
    await meter.until_told(Told(0, 1, 0))
    counts.end("alice", 7)
    assert [] == meter.told
    await meter.until_told(Told(0, 0, 7))
    await counts.aclose()


async def test_an_end_that_changes_no_limit_is_not_told() -> None:
    """A limit on requests alone is about their beginnings."""
    meter = PlayedMeter()
    counts = KeyCounts(meter, "a")
    limits = KeySettings(requests_per_minute=9)
    for running in range(3):
        assert None is await counts.begin("alice", limits)
        await meter.until_told(Told(0, 1, 0))
        counts.end("alice", 7)
        assert running < 9
    await asyncio.sleep(0)
    assert [] == meter.told
    await counts.aclose()


async def test_requests_that_arrive_during_a_call_share_the_next() -> None:
    """One call at a time; the first ones get the room that there is."""
    meter = PlayedMeter()
    meter.go.clear()
    counts = KeyCounts(meter, "a")
    first = asyncio.ensure_future(counts.begin("alice", LIMITS))
    await meter.until_told(Told(0, 1, 0))
    others = [asyncio.ensure_future(counts.begin("alice", LIMITS)) for _ in range(3)]
    await asyncio.sleep(0)
    meter.taken = Taken(2, Excess("max_running", 1))
    meter.go.set()
    assert None is await first
    assert [None, None, Excess("max_running", 1)] == await asyncio.gather(*others)
    assert [Told(1, 3, 0)] == meter.told
    # The one that was refused does not count.
    meter.told.clear()
    meter.taken = None
    assert None is await counts.begin("alice", LIMITS)
    assert [Told(3, 1, 0)] == meter.told
    await counts.aclose()


async def test_what_exceeds_a_limit_here_asks_nobody() -> None:
    """A client that asks again and again costs the store nothing."""
    meter = PlayedMeter()
    counts = KeyCounts(meter, "a")
    limits = KeySettings(requests_per_minute=1)
    assert None is await counts.begin("alice", limits)
    meter.told.clear()
    for _ in range(5):
        excess = await counts.begin("alice", limits)
        assert excess is not None
        assert "requests_per_minute" == excess.limit
    assert [] == meter.told
    await counts.aclose()


async def test_a_request_that_is_given_up_makes_room() -> None:
    """Whether the store has granted it or not."""
    meter = PlayedMeter()
    meter.go.clear()
    counts = KeyCounts(meter, "a")
    limits = KeySettings(max_running=1)
    first = asyncio.ensure_future(counts.begin("alice", limits))
    await meter.until_told(Told(0, 1, 0))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    meter.go.set()
    await meter.until_told(Told(0, 0, 0))
    assert None is await counts.begin("alice", limits)
    await counts.aclose()


async def test_a_process_counts_alone_while_the_store_fails() -> None:
    """It is logged once; what runs is told when the store is back, and counts together again."""
    meter = PlayedMeter()
    counts = KeyCounts(meter, "a")
    limits = KeySettings(max_running=2)
    with written(format="json") as lines:
        assert None is await counts.begin("alice", limits)
        assert None is await counts.begin("bob", limits)
        meter.failure = "gone"
        assert None is await counts.begin("alice", limits)
        assert "gone" == counts.trouble
        meter.told.clear()
        assert Excess("max_running", 1) == await counts.begin("alice", limits)
        assert None is await counts.begin("bob", limits)
        counts.end("bob", 5)
        counts.end("bob", 5)
        meter.failure = None
        async with asyncio.timeout(20):
            while counts.trouble or len(meter.told) < 2:  # noqa: ASYNC110 - `trouble` ends without a call
                await asyncio.sleep(0.01)
    # The tokens of that time were counted here alone.
    assert {Told(2, 0, 0), Told(0, 0, 0)} == set(meter.told)
    (line,) = lines_of(lines, event="each process counts the limits of keys alone")
    assert "gone" == line["reason"]
    assert 1 == len(lines_of(lines, event="limits of keys are counted for all gateways again"))
    await counts.aclose()


async def test_without_a_store_nobody_is_asked() -> None:
    """The limits hold all the same."""
    counts = KeyCounts()
    assert None is await counts.begin("alice", KeySettings(max_running=1))
    assert Excess("max_running", 1) == await counts.begin("alice", KeySettings(max_running=1))
    counts.end("alice", 3)
    assert None is await counts.begin("alice", KeySettings(max_running=1))
    await counts.aclose()
