"""One timer for the limits of many exchanges, and one for the idle connections of a pool."""

import asyncio
from math import inf
from typing import Any

import pytest

from conformance.tests.gateway.upstream.servers import Call, Connect, Serve
from gateway.upstream.watch import Watch


class Patient:
    """Is looked at, and says the given times in turn, and then that it waits for nothing."""

    def __init__(self, *times: float) -> None:
        """Say `times` seconds from each look."""
        self._times = [*times]
        self.looks = 0
        self.has_said_all = asyncio.Event()

    def look(self, now: float) -> float:
        """Note a look."""
        self.looks += 1
        if self._times:
            return now + self._times.pop(0)
        self.has_said_all.set()
        return inf


async def test_each_is_looked_at_in_its_time() -> None:
    """The first one is not the first that was added, and one that was dropped is not looked at."""
    watch, now = Watch(), asyncio.get_running_loop().time()
    late, early, gone = Patient(), Patient(0.01, 0.01), Patient()
    watch.add(late, now + 3600)
    watch.add(gone, now + 0.005)
    watch.add(early, now + 0.01)
    watch.drop(gone)
    watch.drop(gone)
    await early.has_said_all.wait()
    assert (0, 3, 0) == (late.looks, early.looks, gone.looks)
    watch.close()


async def test_a_timer_is_set_for_the_first_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later limit, and one that is over with its request, move no timer."""
    watch, loop = Watch(), asyncio.get_running_loop()
    made: list[float] = []
    real = loop.call_at

    def call_at(when: float, *arguments: Any, **more: Any) -> asyncio.TimerHandle:
        made.append(when)
        return real(when, *arguments, **more)

    monkeypatch.setattr(loop, "call_at", call_at)
    for number in range(50):
        patient = Patient()
        watch.add(patient, loop.time() + 3600 + number)
        watch.drop(patient)
    assert 1 == len(made)
    watch.close()


async def test_requests_one_after_another_set_few_timers(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for the limits of each, nor for the time between them."""

    async def handle(call: Call) -> None:
        await call.answer(b"{}")

    server = await serve(handle)
    upstream = connect(server.url)
    await upstream.fetch("GET", "/")
    loop, made = asyncio.get_running_loop(), 0

    def counting(real: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal made
            made += 1
            return real(*arguments, **more)

        return call

    for name in ("call_at", "call_later"):
        monkeypatch.setattr(loop, name, counting(getattr(loop, name)))
    for _ in range(20):
        assert b"{}" == await upstream.fetch("GET", "/")
    assert 1 == server.connections
    assert 20 > made, "a request sets a timer of its own"
