"""Hosts that are added, removed and changed while the gateway runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from conformance.standin import StandIn
from conformance.standin.catalogue import GRADED, PLAIN, SWITCHED
from conformance.standin.options import Options
from conformance.standin.script import Rule
from conformance.tests.gateway.support import CHAT, chat, serve, speak_to
from gateway.app import create_app
from gateway.settings.live import LiveSettings
from gateway.settings.schema import Settings


class Served:
    """A gateway whose settings can be changed, and its client."""

    def __init__(self, *standins: StandIn) -> None:
        self.standins = dict(zip("abc", standins, strict=False))
        self.wanted = self.settings("a", "b")
        self.client: httpx.AsyncClient

    def settings(self, *names: str, **of_hosts: Any) -> Settings:
        """Return settings with these hosts."""
        hosts = {name: {"url": self.standins[name].url, **of_hosts.get(name, {})} for name in names}
        more = {"models": {"catalogue_ttl_s": 0}, "log": {"level": "error"}}
        return msgspec.convert({"hosts": hosts, **more}, Settings)

    async def reload(self, wanted: Settings) -> Any:
        """Put settings in force, and return what the gateway says of it."""
        self.wanted = wanted
        return (await self.client.post("/reload")).json()

    async def ask(self, model: str) -> str | None:
        """Return who answers a request for a model."""
        answer = await self.client.post("/api/chat", json=chat(model))
        return answer.headers.get("x-olgate-host") if answer.status_code == 200 else None


@asynccontextmanager
async def served(*names: str) -> AsyncIterator[Served]:
    """Run a gateway with some of three hosts: a has PLAIN, b GRADED, c SWITCHED."""
    async with (
        StandIn(Options(models=(PLAIN,))) as a,
        StandIn(Options(models=(GRADED,))) as b,
        StandIn(Options(models=(SWITCHED,))) as c,
    ):
        running = Served(a, b, c)
        running.wanted = running.settings(*names)
        live = LiveSettings(running.wanted, lambda: running.wanted)
        async with (
            serve(create_app(running.wanted, live)) as url,
            speak_to(url) as client,
        ):
            running.client = client
            await client.get("/health")
            yield running


async def test_hosts_come_and_go() -> None:
    """Without a restart."""
    async with served("a", "b") as gateway:
        assert ("a", "b", None) == (
            await gateway.ask(PLAIN.key),
            await gateway.ask(GRADED.key),
            await gateway.ask(SWITCHED.key),
        )
        said = await gateway.reload(gateway.settings("c", "b"))
        assert "hosts" in said["changed"]
        assert [] == said["needs_restart"]
        assert (None, "b", "c") == (
            await gateway.ask(PLAIN.key),
            await gateway.ask(GRADED.key),
            await gateway.ask(SWITCHED.key),
        )


async def test_one_host_becomes_two_and_one_again() -> None:
    """Answers say who served only where there is a choice."""
    async with served("a") as gateway:
        assert await gateway.ask(PLAIN.key) is None
        await gateway.reload(gateway.settings("a", "b"))
        assert ("a", "b") == (await gateway.ask(PLAIN.key), await gateway.ask(GRADED.key))
        await gateway.reload(gateway.settings("b"))
        answer = await gateway.client.post("/api/chat", json=chat(GRADED.key))
        assert 200 == answer.status_code
        assert "x-olgate-host" not in answer.headers
        tags = (await gateway.client.get("/api/tags")).json()["models"]
        assert 1 == len(tags)


async def test_a_removed_host_ends_its_requests() -> None:
    """What runs there gets its whole answer; nothing new goes there."""
    async with served("a", "b") as gateway:
        standin = gateway.standins["b"]
        rule = {"match": {"path": CHAT}, "hold": "answer"}
        standin.app.script.add([msgspec.convert(rule, Rule)])
        running = asyncio.create_task(gateway.client.post("/api/chat", json=chat(GRADED.key)))
        assert await standin.log.wait_until(lambda: bool(standin.log.select(CHAT)))
        await gateway.reload(gateway.settings("a"))
        standin.app.script.release("answer")
        answer = await running
        assert (200, "b") == (answer.status_code, answer.headers["x-olgate-host"])
        assert answer.json()["done"]
        unknown = await gateway.client.post("/api/chat", json=chat(GRADED.key))
        assert 404 == unknown.status_code


async def test_a_changed_tier_is_in_force_at_once() -> None:
    """The host is the same one."""
    async with served("a", "b") as gateway:
        await gateway.reload(gateway.settings("a", "b", a={"tier": 2}))
        shown = (await gateway.client.get("/health")).json()

    assert (2, 1) == (shown["hosts"]["a"]["tier"], shown["hosts"]["b"]["tier"])


@pytest.mark.parametrize("other", ["a", "b"])
async def test_twins_are_refused_and_nothing_changes(other: str) -> None:
    """With one sentence."""
    async with served("a", "b") as gateway:
        url = gateway.standins[other].url
        said = await gateway.reload(gateway.settings("a", "b", "c", c={"url": url}))
        assert "have one address" in said["error"]
        assert "a" == await gateway.ask(PLAIN.key)
