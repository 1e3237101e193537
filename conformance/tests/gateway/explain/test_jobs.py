"""Explanations for the page: one process makes many."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from conformance.standin.catalogue import PLAIN
from conformance.tests.gateway.support import Pair
from gateway.explain import jobs as kept
from gateway.explain.jobs import Jobs
from gateway.settings.schema import Settings, UpstreamSettings


@asynccontextmanager
async def jobs() -> AsyncIterator[Jobs]:
    """Run jobs, and end their process."""
    one = Jobs()
    try:
        yield one
    finally:
        await one.aclose()


def settings_of(url: str) -> Settings:
    """Return settings with a host."""
    return Settings(upstream=UpstreamSettings(url=url))


def pid_of(one: Jobs) -> int:
    """Return the process that waits for a job."""
    assert one._process is not None
    return one._process._process.pid


async def test_a_process_makes_many_explanations(fresh: Pair) -> None:
    """Starting it takes longer than any of them; a problem is an answer as well."""
    settings = settings_of(fresh.standin.url)
    async with jobs() as one:
        first = await one.view(settings, PLAIN.key)
        pid = pid_of(one)
        wrong = await one.explain(settings, "no JSON", "/api/chat")
        second = await one.view(settings, PLAIN.key)
        assert pid == pid_of(one)

    assert first.routes
    assert first == second
    assert wrong.problem
    assert one._process is None


async def test_a_process_that_has_ended_is_replaced(fresh: Pair) -> None:
    """Whoever asks next notices nothing."""
    settings = settings_of(fresh.standin.url)
    async with jobs() as one:
        await one.explain(settings, "no JSON", "/api/chat")
        assert one._process is not None
        one._process.kill()
        one._process._process.wait()
        again = await one.view(settings, PLAIN.key)

    assert again.routes


async def test_an_idle_process_ends(fresh: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of it; the next job starts another one."""
    monkeypatch.setattr(kept, "IDLE_S", 0.0)
    settings = settings_of(fresh.standin.url)
    async with jobs() as one:
        await one.explain(settings, "no JSON", "/api/chat")
        async with asyncio.timeout(60):
            while one._process is not None:  # noqa: ASYNC110 - a timer is what is waited for
                await asyncio.sleep(0.01)
        assert (await one.view(settings, PLAIN.key)).routes


async def test_a_job_that_takes_too_long_is_given_up(
    fresh: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer says so, and the next job gets a process of its own."""
    settings = settings_of(fresh.standin.url)
    async with jobs() as one:
        with monkeypatch.context() as short:
            short.setattr(kept, "LIMIT_S", 0.0)
            late = await one.view(settings, PLAIN.key)
        assert "was given up" in late.problem
        assert (await one.view(settings, PLAIN.key)).routes


async def test_one_that_has_left_keeps_the_process_busy(fresh: Pair) -> None:
    """Two answers are never mixed up; at the gateway's end a job ends as well."""
    settings = settings_of(fresh.standin.url)
    async with jobs() as one:
        leaving = asyncio.create_task(one.view(settings, PLAIN.key))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert "Another explanation" in (await one.view(settings, PLAIN.key)).problem


async def test_the_gateway_ends_with_its_process(fresh: Pair) -> None:
    """Also in the middle of a job."""
    one = Jobs()
    asking = asyncio.create_task(one.view(settings_of(fresh.standin.url), PLAIN.key))
    async with asyncio.timeout(60):
        while one._process is None:  # noqa: ASYNC110 - a thread makes it
            await asyncio.sleep(0.01)
    process = one._process._process
    await one.aclose()
    assert process.returncode is not None
    assert (await asking).problem or (await asking).routes
