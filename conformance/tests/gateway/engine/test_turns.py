"""Work in turns: bounded slices, in turn with others, given up with its request."""

import asyncio
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from gateway.engine import turns
from gateway.engine.turns import Turns


class Clock:
    """A clock that only the work moves: a step takes a millisecond."""

    def __init__(self) -> None:
        """Start at 0."""
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


@contextmanager
def clocked() -> Iterator[Clock]:
    """Let the turns see a clock of our own."""
    clock = Clock()
    with patch.object(turns, "perf_counter", clock):
        yield clock


def work(number: int, clock: Clock, log: list[str], name: str = "a") -> Generator[None, None, str]:
    """Work of so many steps."""
    try:
        for _ in range(number):
            log.append(name)
            clock.now += 0.001
            yield
        return name
    finally:
        log.append(f"{name} over")


async def test_a_slice_ends_and_others_run() -> None:
    """Between two slices the event loop comes round."""
    with clocked() as clock:
        log: list[str] = []

        async def others() -> None:
            while "a over" not in log:
                log.append("-")
                await asyncio.sleep(0)

        running = asyncio.ensure_future(others())
        assert "a" == await Turns().run(work(100, clock, log))
        await running
        longest = max(len(part) for part in "".join(log).split("-"))
        assert turns.SLICE_S / 0.001 >= longest - len("a over")
        assert 100 == log.count("a")


async def test_large_bodies_take_turns() -> None:
    """One slice of one request runs in a step of the loop, however many have such work."""
    with clocked() as clock:
        log: list[str] = []
        shared = Turns()
        names = "abcd"
        found = await asyncio.gather(*(shared.run(work(20, clock, log, name)) for name in names))
        assert [*names] == found
        # Nobody is over before all others have nearly been through.
        first_over = log.index("a over")
        assert all(log[:first_over].count(name) >= 16 for name in names), log
        assert 0 == shared.waiting


async def test_work_is_given_up_with_its_request() -> None:
    """A client that leaves ends the work, in the middle."""
    with clocked() as clock:
        log: list[str] = []
        shared = Turns()
        request = asyncio.ensure_future(shared.run(work(10_000, clock, log)))
        for _ in range(10):
            await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert "a over" == log[-1]
        assert 0 == shared.waiting
        assert "b" == await shared.run(work(3, clock, [], "b"))


async def test_what_work_raises_is_raised() -> None:
    """A refusal ends the work like any function's."""

    def broken() -> Generator[None, None, None]:
        yield
        raise ValueError("no")

    shared = Turns()
    with pytest.raises(ValueError, match="no"):
        await shared.run(broken())
    with pytest.raises(ValueError, match="no"):
        await shared.apart(int, "no")
    shared.close()


async def test_a_translation_runs_apart() -> None:
    """The event loop runs on while a thread translates."""
    shared = Turns()
    go_on = threading.Event()

    def translate(word: str) -> str:
        assert go_on.wait(30)
        return word.upper()

    translated = asyncio.ensure_future(shared.apart(translate, "a"))
    await asyncio.sleep(0)
    assert not translated.done()
    go_on.set()
    assert "A" == await translated
    shared.close()


async def test_bodies_are_held_twice_within_a_limit() -> None:
    """Later ones begin in their order, once there is room; one alone may be larger."""
    with clocked() as clock, patch.object(turns, "TWICE_BYTES", 100):
        log: list[str] = []
        shared = Turns()
        sizes = {"a": 60, "b": 40, "c": 10, "d": 500, "e": 1}
        running = {
            name: asyncio.ensure_future(shared.run(work(20, clock, log, name), size))
            for name, size in sizes.items()
        }
        assert "f" == await shared.run(work(3, clock, log, "f"))
        assert {"a", "b", "f", "f over"} == {*log}
        running["c"].cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)
        begins = [log.index(name) for name in "abde"]
        assert sorted(begins) == begins
        assert max(log.index("a over"), log.index("b over")) < log.index("d")
        assert log.index("d over") < log.index("e")
        assert "c" not in log
        assert 0 == shared.waiting
        assert "g" == await shared.run(work(3, clock, log, "g"), 1000)


async def test_who_leaves_gives_its_room_back() -> None:
    """Before its work has begun, and in the middle of it."""
    with clocked() as clock, patch.object(turns, "TWICE_BYTES", 100):
        log: list[str] = []
        shared = Turns()
        running = asyncio.ensure_future(shared.run(work(10_000, clock, log), 100))
        waiting = asyncio.ensure_future(shared.run(work(1, clock, log, "b"), 100))
        for _ in range(10):
            await asyncio.sleep(0)
        assert "a" in log
        for one in (waiting, running):
            one.cancel()
            with pytest.raises(asyncio.CancelledError):
                await one
        assert "c" == await shared.run(work(1, clock, log, "c"), 100)
