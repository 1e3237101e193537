"""
What a token costs, counted instead of timed: calls of Python functions, and bytes left behind.

Both are the same on every machine for one version of Python, whatever else runs. A limit that is
met exactly may be lowered with the code; raising one means that every token costs more.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType

import pytest

from conformance.bench import wire
from conformance.bench.work import Work, works
from gateway.upstream.sse import SseDecoder

ROUNDS = 50
FRAMES = 40
"""How deep the calls of one work may be for its memory to be told from that of others."""
CALLS = {"framing": 2, "chat": 8, "generate, templated": 8, "generate, raw": 7}
"""The most calls of Python functions per chunk, the work's own included."""


def count_calls(work: Callable[[], object]) -> int:
    """Return how many Python functions one call of `work` enters."""
    entered = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal entered
        entered += event == "call"

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return entered


@pytest.mark.parametrize("name", CALLS)
def test_a_chunk_costs_few_calls(name: str) -> None:
    """The work per chunk enters no more functions than it did; what is cached is warm."""
    work = works()[name]
    work()
    counts = {count_calls(work) for _ in range(ROUNDS)}
    assert CALLS[name] >= min(counts), "every token calls more functions than before"
    assert 0 < min(counts)


@pytest.mark.parametrize("name", CALLS)
def test_a_chunk_leaves_nothing_behind(name: str) -> None:
    """A stream's memory does not grow with its tokens, beyond what its state keeps of them."""
    work = works()[name]
    for _ in range(ROUNDS):
        work()
    gc.collect()
    # What was taken below this file alone: servers of other tests may run in threads of their own.
    ours = tracemalloc.Filter(inclusive=True, filename_pattern=__file__, all_frames=True)
    tracemalloc.start(FRAMES)
    try:
        for _ in range(ROUNDS * 20):
            work()
        gc.collect()
        kept = tracemalloc.take_snapshot().filter_traces([ours])
    finally:
        tracemalloc.stop()
    grown = sum(trace.size for trace in kept.traces)
    assert ROUNDS * 20 > grown, "less than a byte per chunk may stay"


def test_a_chunk_makes_no_garbage_for_the_collector() -> None:
    """Tokens are freed by counting references, so the collector has nothing to do for them."""
    for work in works().values():
        work()
        # Servers of other tests may leave some meanwhile, in threads of their own.
        assert 0 == min(garbage_of(work) for _ in range(5))


def garbage_of(work: Work) -> int:
    """Return how many objects the collector finds after some calls."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            work()
        return gc.collect()
    finally:
        gc.enable()


def test_events_of_one_read_are_cut_in_one_go() -> None:
    """Further events of a read cost no call of a Python function at all."""
    event = wire.event(wire.chunk("chat", " word"))

    def calls(events: int) -> int:
        decoder = SseDecoder()
        decoder.feed(event)
        return count_calls(lambda: decoder.feed(event * events))

    assert calls(2) == calls(100)
