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


@pytest.mark.parametrize(
    ("to", "models", "hosts"),
    [
        (("all",), ["harbor/*"], {"a", "b", "c"}),
        (("all",), ["!harbor/*"], {"a", "c"}),
        (("all",), ["!lantern*"], {"a", "c"}),
        (("best",), ["other/*"], {"a"}),
    ],
    ids=["it may", "its publisher is left out", "its name is left out", "another model only"],
)
async def test_a_pull_goes_to_hosts_that_are_used_for_the_model(
    to: tuple[str, ...], models: list[str], hosts: set[str]
) -> None:
    """A model that a host is not used for would be on its disk for nothing."""
    settings = {"downloads": {"to": to}}
    of_hosts = {"b": {"models": models, "tier": 1}}
    async with open_fleet(HOST, HOST, HOST, settings=settings, of_hosts=of_hosts) as fleet:
        answer = await fleet.post("/api/pull", {"model": NAME})
        asked = {name for name in "abc" if fleet.asked(name, DOWNLOAD)}

    assert "success" == frames(answer.text)[-1]["status"], answer.text
    assert hosts == asked


@pytest.mark.parametrize(
    ("to", "headers", "told"),
    [
        (("all",), {}, "hosts.a.models and hosts.b.models leave it out"),
        (("b",), {}, "hosts.b.models leaves it out"),
        (("all",), {"x-olgate-host": "b"}, "hosts.b.models leaves it out"),
    ],
    ids=["all", "the one of the setting", "the one of the request"],
)
async def test_a_pull_to_hosts_that_are_not_used_for_the_model_says_so(
    to: tuple[str, ...], headers: dict[str, str], told: str
) -> None:
    """And what to change; nothing is downloaded."""
    models = {"models": ["!harbor/*", "*"]}
    settings = {"downloads": {"to": to}}
    of_hosts = {"a": models, "b": models}
    async with open_fleet(HOST, HOST, settings=settings, of_hosts=of_hosts) as fleet:
        answer = await fleet.post("/api/pull", {"model": NAME, "stream": False}, **headers)
        asked = [name for name in "ab" if fleet.asked(name, DOWNLOAD)]

    assert 400 == answer.status_code
    assert told in answer.text
    assert [] == asked


async def test_a_pull_goes_to_the_pinned_host() -> None:
    """Whatever the setting says."""
    async with open_fleet(HOST, HOST, settings={"downloads": {"to": ("a",)}}) as fleet:
        answer = await fleet.post("/api/pull", {"model": NAME}, **{"x-olgate-host": "b"})
        asked = [name for name in "ab" if fleet.asked(name, DOWNLOAD)]

    assert "success" == frames(answer.text)[-1]["status"], answer.text
    assert ["b"] == asked
