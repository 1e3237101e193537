"""When a client of the soak counts as hanging: a busy machine is no hang, and hides none."""

from __future__ import annotations

import asyncio

import pytest

from conformance.soak.patience import Patience


class Machine:
    """A machine whose clock, and whose waits for a processor, the test moves."""

    def __init__(self) -> None:
        self.now = self.without_s = 0.0
        self.patience = Patience(10, lambda: self.without_s, lambda: self.now)

    async def go_on(self, seconds: float, without_s: float) -> None:
        """Let time pass, and what is due happen."""
        self.now += seconds
        self.without_s += without_s
        self.patience.look()
        for _ in range(3):
            await asyncio.sleep(0)


async def wait(patience: Patience) -> None:
    """Wait for what never comes."""
    async with patience.limit():
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("without_s", "may_wait"), [(0.0, False), (0.5, False), (2.0, True), (9.0, True)]
)
async def test_only_time_with_a_processor_is_spent(without_s: float, may_wait: bool) -> None:
    """Of each 2 of 20 seconds so many were waited for one, by one thread or by several."""
    machine = Machine()
    hung = asyncio.create_task(wait(machine.patience))
    await asyncio.sleep(0)
    for _ in range(10):
        await machine.go_on(2, without_s)

    assert may_wait is not hung.done()
    if may_wait:
        # Nothing else is to be done any more: what is left, hangs.
        await machine.go_on(11, 0.0)
    with pytest.raises(TimeoutError):
        await hung


async def test_each_wait_has_its_own_beginning() -> None:
    """One that began later may take longer, and one that is over is let be."""
    machine = Machine()
    first = asyncio.create_task(wait(machine.patience))
    await asyncio.sleep(0)
    async with machine.patience.limit():
        await machine.go_on(6, 0.0)
    second = asyncio.create_task(wait(machine.patience))
    await asyncio.sleep(0)
    await machine.go_on(6, 0.0)

    assert (True, False) == (first.done(), second.done())
    assert isinstance(first.exception(), TimeoutError)
    await machine.go_on(6, 0.0)
    with pytest.raises(TimeoutError):
        await second
    assert "18 of 18 s" == machine.patience.told()


async def test_it_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the load runs."""
    monkeypatch.setattr("conformance.soak.patience.LOOKS_S", 0)
    machine = Machine()
    keeping = asyncio.create_task(machine.patience.keep())
    hung = asyncio.create_task(wait(machine.patience))
    await asyncio.sleep(0)
    machine.now = 11
    with pytest.raises(TimeoutError):
        await hung
    keeping.cancel()
