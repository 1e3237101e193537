"""A pull where there are several hosts."""

from typing import Any

import pytest

from conformance.standin.catalogue import PLAIN
from conformance.tests.gateway.fleet.fleets import open_fleet
from conformance.tests.gateway.support import frames

DOWNLOAD = "/api/v1/models/download"
HOST: dict[str, Any] = {"models": (PLAIN,)}
NAME = "harbor/lantern-8b"


@pytest.mark.parametrize(
    ("to", "hosts"),
    [(("best",), {"a"}), (("all",), {"a", "b", "c"}), (("b", "c"), {"b", "c"})],
)
async def test_a_pull_goes_where_the_setting_says(to: tuple[str, ...], hosts: set[str]) -> None:
    """Its bar is the sum of all."""
    async with open_fleet(HOST, HOST, HOST, settings={"downloads": {"to": to}}) as fleet:
        answer = await fleet.post("/api/pull", {"model": NAME})
        asked = {name for name in "abc" if fleet.asked(name, DOWNLOAD)}
        lines = frames(answer.text)

    assert hosts == asked
    assert "success" == lines[-1]["status"], lines
    bars = [line for line in lines if line.get("total")]
    assert bars[-1]["total"] == bars[-1]["completed"]
    assert [bar.get("completed", 0) for bar in bars] == sorted(
        bar.get("completed", 0) for bar in bars
    )


async def test_a_pull_to_an_unknown_host_says_so() -> None:
    """And what to do."""
    async with open_fleet(HOST, HOST, settings={"downloads": {"to": ("z",)}}) as fleet:
        answer = await fleet.post("/api/pull", {"model": NAME, "stream": False})

    assert 503 == answer.status_code
    assert "downloads.to names z" in answer.text
