"""Work that is begun in a callback: done at once, or waited for by whoever awaits the rest."""

import asyncio

import pytest

from gateway.server.eager_start import start_now


async def test_what_need_not_wait_is_done_at_once() -> None:
    """Nothing is left to be awaited."""
    done: list[int] = []

    async def work() -> None:
        done.append(1)

    assert start_now(work()) is None
    assert [1] == done


async def test_what_waits_goes_on_when_it_is_awaited() -> None:
    """The rest waits as often as it has to, in the task that awaits it."""
    gates = [asyncio.Event(), asyncio.Event()]
    passed: list[int] = []

    async def work() -> None:
        for number, gate in enumerate(gates):
            await gate.wait()
            passed.append(number)

    rest = start_now(work())
    assert rest is not None

    async def wait() -> None:
        await rest

    waiting = asyncio.create_task(wait())
    for number, gate in enumerate(gates):
        await asyncio.sleep(0)
        assert number == len(passed)
        gate.set()
    await waiting

    assert [0, 1] == passed


async def test_cancelling_the_wait_cancels_the_work() -> None:
    """The work is told, may still tidy up with a wait of its own, and leaves nothing running."""
    told: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            told.append("cancelled")
            raise

    rest = start_now(work())
    assert rest is not None

    async def wait() -> None:
        await rest

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert ["cancelled"] == told


@pytest.mark.parametrize("waits", [False, True])
async def test_what_the_work_raises_comes_out(waits: bool) -> None:
    """At once when it fails at once, from the rest otherwise."""

    async def work() -> None:
        if waits:
            await asyncio.sleep(0)
        raise LookupError

    async def run() -> None:
        rest = start_now(work())
        assert waits
        assert rest is not None
        await rest

    with pytest.raises(LookupError):
        await run()
