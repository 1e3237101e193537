"""Hosts that go, come, hang or are twice there: what requests, lists and `/health` then say."""

from pathlib import Path
from typing import Any

import pytest

from conformance.runner.runner import make_gateway
from conformance.standin import StandIn
from conformance.standin.catalogue import GRADED, PLAIN, SWITCHED
from conformance.tests.gateway.fleet.fleets import open_fleet
from conformance.tests.gateway.support import LIST, caching, chat, lines_of, written
from gateway.faults import StartProblem
from gateway.store.sqlite import SqliteStore

A: dict[str, Any] = {"models": (PLAIN, GRADED)}
B: dict[str, Any] = {"models": (PLAIN, SWITCHED)}


async def test_health_shows_each_host() -> None:
    """One that is away makes the whole degraded, and all of them make it unavailable."""
    async with open_fleet(A, B) as fleet:
        url = fleet.standins["b"].url
        well = await fleet.get("/health")
        await fleet.standins["a"].stop()
        ill = await fleet.get("/health")
        await fleet.standins["b"].stop()
        away = await fleet.client.get("/health")
        for standin in fleet.standins.values():
            await standin.start()

    assert ("ok", {"a", "b"}) == (well["status"], {*well["hosts"]})
    assert url == well["hosts"]["b"]["url"]
    assert ("up", "up") == (well["hosts"]["a"]["state"], well["hosts"]["b"]["state"])
    assert "degraded" == ill["status"]
    assert ("down", "up") == (ill["hosts"]["a"]["state"], ill["hosts"]["b"]["state"])
    assert ill["hosts"]["b"]["url"] == ill["upstream"]["url"]
    assert (503, "unavailable") == (away.status_code, away.json()["status"])


async def test_a_host_that_is_gone_is_not_asked() -> None:
    """Once it is known; what only it has stays listed, and is refused with the reason."""
    async with open_fleet(A, B) as fleet:
        assert 3 == len(await fleet.names())
        gone = fleet.standins["b"].url
        await fleet.standins["b"].stop()
        await fleet.names()
        for _ in range(3):
            answer = await fleet.post("/api/chat", chat(PLAIN.key))
            assert (200, "a") == (answer.status_code, answer.headers["x-olgate-host"])
        assert 3 == len(await fleet.names())
        own = await fleet.post("/api/chat", chat(SWITCHED.key))
        await fleet.standins["b"].start()

    assert 503 == own.status_code
    assert gone in own.text


async def test_a_host_that_is_back_serves_again() -> None:
    """The first request for what only it has finds it."""
    async with open_fleet(A, B) as fleet:
        await fleet.names()
        await fleet.standins["b"].stop()
        await fleet.names()
        port = fleet.standins["b"].port
        async with StandIn(**B, port=port):
            answer = await fleet.post("/api/chat", chat(SWITCHED.key))
        await fleet.standins["b"].start()

    assert (200, "b") == (answer.status_code, answer.headers["x-olgate-host"])


async def test_what_a_host_had_is_forgotten() -> None:
    """After its time nothing says that it was there."""
    async with open_fleet(A, B, settings={"fleet": {"forget_s": 0}}) as fleet:
        assert 3 == len(await fleet.names())
        await fleet.standins["b"].stop()
        # The list that finds it away may still be made of what was known before.
        await fleet.names()
        assert 2 == len(await fleet.names())
        answer = await fleet.post("/api/chat", chat(SWITCHED.key))
        await fleet.standins["b"].start()

    assert 404 == answer.status_code


async def test_a_silent_host_holds_up_nothing() -> None:
    """It is waited for once, and counts as it was last seen."""
    silent = {"match": {"path": LIST}, "fault": "first_byte_timeout", "times": 1000}
    async with open_fleet(A, B, settings={"fleet": {"list_wait_s": 0.5}}) as fleet:
        assert 3 == len(await fleet.names())
        fleet.script("b", silent)
        for _ in range(3):
            assert 3 == len(await fleet.names())
            answer = await fleet.post("/api/chat", chat(PLAIN.key))
            # Not by "a": on a busy machine that list may be late, too.
            assert 200 == answer.status_code


async def test_all_hosts_away_is_an_error_with_the_reason() -> None:
    """As with one host, once what they had is forgotten."""
    async with open_fleet(A, B, settings={"fleet": {"forget_s": 0}}) as fleet:
        for standin in fleet.standins.values():
            await standin.stop()
        # Hosts that were there a moment ago are still listed once.
        await fleet.client.get("/health")
        listed = await fleet.client.get("/api/tags")
        asked = await fleet.post("/api/chat", chat(PLAIN.key))
        for standin in fleet.standins.values():
            await standin.start()

    assert (503, 503) == (listed.status_code, asked.status_code)
    assert "cannot reach LM Studio" in asked.text


async def test_the_gateway_is_shown_once_to_others(tmp_path: Path) -> None:
    """Its hosts share the store, and none of them takes it for another gateway's."""
    path = tmp_path / "olgate.sqlite3"
    with written(format="json") as log:
        async with open_fleet(A, B, settings={"store": {"path": str(path)}, "log": {}}):
            other = SqliteStore(str(path))
            assert await other.others_alive("other")
            other.close()

    assert "could not show" not in log.getvalue()


async def test_the_line_of_a_request_names_its_host() -> None:
    """As the answer does."""
    with written(format="json") as log:
        async with open_fleet(A, B, settings={"log": {"level": "info"}}) as fleet:
            await fleet.post("/api/chat", chat(SWITCHED.key))

    (line,) = lines_of(log, path="/api/chat")
    assert "b" == line["host"]


async def test_no_host_is_asked_for_a_loaded_model() -> None:
    """While the lists are fresh, a request costs one call."""
    async with open_fleet(A, B, settings=caching()) as fleet:
        await fleet.names()
        for standin in fleet.standins.values():
            standin.log.clear()
        for _ in range(4):
            assert 200 == (await fleet.post("/api/chat", chat(PLAIN.key))).status_code
        asked = [one.path for standin in fleet.standins.values() for one in standin.seen]

    assert 4 == len(asked)


@pytest.mark.parametrize("other", ["http://localhost:1234", "http://[::1]:1234/"])
def test_two_hosts_with_one_address_are_refused(other: str) -> None:
    """However it is written."""
    hosts = {"a": {"url": "http://127.0.0.1:1234"}, "b": {"url": other}}
    with pytest.raises(StartProblem, match="the hosts a and b have one address"):
        make_gateway("http://127.0.0.1:1", {"hosts": hosts})
