"""`olgate status`, `models`, `ps` and `doctor` where there are several hosts."""

from typing import Any

import msgspec

from conformance.standin import StandIn
from conformance.standin.catalogue import GRADED, PLAIN, SWITCHED
from conformance.tests.gateway.cli.test_asking_commands import port_of
from conformance.tests.gateway.cli.test_doctor import run
from conformance.tests.gateway.fleet.fleets import open_fleet
from conformance.tests.gateway.support import generate
from gateway.cli.checks import OF_A_HOST, Scene, run_checks
from gateway.settings.schema import Settings

A: dict[str, Any] = {"models": (PLAIN, GRADED)}
B: dict[str, Any] = {"models": (PLAIN, SWITCHED)}


async def test_status_shows_each_host() -> None:
    """One that is away, with the reason; the exit code is 0 while any answers."""
    async with open_fleet(A, B) as fleet:
        url = fleet.standins["a"].url
        await fleet.standins["b"].stop()
        code, said, _ = await run("status", *port_of(fleet.url))
        await fleet.standins["b"].start()

    assert 0 == code
    of_a = f"host a   up at {url}, tier 1: lmstudio, dialect v1, 2 models, 1 loaded"
    assert f"{of_a}, 0 of 4 slots used\n" in said
    assert "host b   down at " in said
    assert "can't connect to" in said


async def test_models_and_ps_say_where() -> None:
    """A model has one row, an instance one for each host."""
    async with open_fleet(A, B) as fleet:
        await fleet.post("/api/generate", generate(GRADED.key), **{"x-olgate-host": "a"})
        _, models, _ = await run("models", *port_of(fleet.url))
        _, loaded, _ = await run("ps", *port_of(fleet.url))

    def row(table: str, key: str) -> list[str]:
        (line,) = [line for line in table.splitlines() if key in line]
        return line.split()

    assert ["a,", "b"] == row(models, PLAIN.key)[-2:]
    assert "b" == row(models, SWITCHED.key)[-1]
    assert "a" == row(loaded, GRADED.key)[-1]
    assert 2 == sum(PLAIN.key in line for line in loaded.splitlines())


async def test_the_doctor_looks_at_each_host() -> None:
    """And at what they have in common once."""
    async with StandIn() as standin:
        hosts = {"a": {"url": standin.url}, "b": {"url": "http://127.0.0.1:9"}}
        settings = msgspec.convert({"listen": {"port": 0}, "hosts": hosts}, Settings)
        found = {one.check: one for one in await run_checks(Scene(settings, None))}

    assert "2 hosts in tiers 1" == found["hosts"].found
    assert "ok" == found["a: upstream"].verdict
    assert "wrong" == found["b: upstream"].verdict
    assert {f"{name}: {check.name}" for name in "ab" for check in OF_A_HOST} <= {*found}
    assert "ok" == found["store"].verdict or "hint" == found["store"].verdict


async def test_the_doctor_finds_twins() -> None:
    """Before the gateway refuses to start."""
    hosts = {"a": {"url": "http://127.0.0.1:9"}, "b": {"url": "http://localhost:9"}}
    settings = msgspec.convert({"listen": {"port": 0}, "hosts": hosts}, Settings)
    found = {one.check: one for one in await run_checks(Scene(settings, None))}

    assert ("wrong", "remove one of them") == (found["hosts"].verdict, found["hosts"].do)
