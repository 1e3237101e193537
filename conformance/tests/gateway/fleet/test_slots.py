"""How many requests a home runs at once: what the operator sets, else what its host states."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.standin.catalogue import GRADED, PLAIN
from conformance.tests.gateway.fleet.fleets import Fleet, open_fleet
from conformance.tests.gateway.support import chat

A: dict[str, Any] = {"models": (PLAIN, GRADED), "parallel": 8}
B: dict[str, Any] = {"models": (PLAIN,), "parallel": 2}


async def shown_slots(fleet: Fleet) -> dict[str, int]:
    """Return the slots of each host that `/health` shows, which `/metrics` must show, too."""
    shown = {name: host["slots"] for name, host in (await fleet.get("/health"))["hosts"].items()}
    lines = (await fleet.client.get("/metrics")).text.splitlines()
    samples = [line.split() for line in lines if line.startswith("olgate_slots{")]
    assert samples == [
        [f'olgate_slots{{host="{name}"}}', f"{count:.1f}"] for name, count in shown.items()
    ]
    return shown


@pytest.mark.parametrize(
    ("of_hosts", "expected"),
    [
        ({}, {"a": 8, "b": 2}),
        ({"a": {"slots": 3}}, {"a": 3, "b": 2}),
    ],
    ids=["stated by the hosts", "set for one"],
)
async def test_slots_are_set_or_stated(
    of_hosts: dict[str, dict[str, Any]], expected: dict[str, int]
) -> None:
    """What the operator says counts more; a host with nothing loaded has no slots."""
    async with open_fleet(A, B, of_hosts=of_hosts) as fleet:
        assert expected == await shown_slots(fleet)
        for standin in fleet.standins.values():
            standin.app.host.table.instances.clear()
        assert {"a": 0, "b": 0} == await shown_slots(fleet)


async def test_slots_of_all_loaded_models_are_summed() -> None:
    """Each loaded model has its own, and one model has them once."""
    async with open_fleet(A, B) as fleet:
        assert 200 == (await fleet.post("/api/chat", chat(GRADED.key))).status_code
        assert {"a": 16, "b": 2} == await shown_slots(fleet)


async def test_the_page_shows_the_slots_of_a_loaded_model() -> None:
    """Beside its context."""
    async with open_fleet({"models": (GRADED,)}, B) as fleet:
        page = (await fleet.client.get("/olgate/")).text
    assert "2 slots" in page
    assert "4 slots" not in page
