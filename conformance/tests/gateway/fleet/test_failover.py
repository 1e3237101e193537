"""Failover: a host that fails a request before the client has seen anything is replaced."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from conformance.standin import StandIn
from conformance.standin.catalogue import PLAIN
from conformance.tests.gateway.fleet.fleets import Fleet, open_fleet
from conformance.tests.gateway.support import CHAT, chat, frames
from gateway.wire.reading import AT_ONCE

BOTH: dict[str, Any] = {"models": (PLAIN,)}
TRUSTING = {"models": {"catalogue_ttl_s": 1000}}
"""The lists of models are not asked for again, so only requests find out that a host is dead."""
PATHS = ("/api/chat", "/v1/chat/completions", "/api/v0/chat/completions")
BUSY = {"answer": {"status": 503, "chunks": [[0, '{"error": {"message": "no room"}}']]}}
MANY = {"answer": {"status": 429, "chunks": [[0, '{"error": {"message": "too many"}}']]}}


def other(name: str) -> str:
    """Return the host that is not the named one."""
    return "b" if name == "a" else "a"


@asynccontextmanager
async def two_hosts(
    settings: dict[str, Any] | None = None, of_hosts: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Fleet, str]]:
    """Run two hosts that have the model loaded, and say which of them `ask` prefers."""
    merged = {**TRUSTING, **(settings or {})}
    async with open_fleet(BOTH, BOTH, settings=merged, of_hosts=of_hosts) as fleet:
        for name in ("a", "b"):
            answer = await fleet.post("/api/chat", chat(PLAIN.key), **{"x-olgate-host": name})
            assert 200 == answer.status_code
        # The lists that show both as loaded.
        await fleet.get("/api/ps")
        first = (await fleet.post("/api/chat", chat(PLAIN.key))).headers["x-olgate-host"]
        again = (await fleet.post("/api/chat", chat(PLAIN.key))).headers["x-olgate-host"]
        assert first == again
        yield fleet, first


def generations(fleet: Fleet, name: str) -> int:
    """Return how many answers a host was asked for."""
    return len(fleet.asked(name, CHAT))


@pytest.mark.parametrize("path", PATHS)
async def test_a_dead_host_costs_nobody_an_answer(path: str) -> None:
    """The first request finds out and goes on to another host; no later one asks the dead one."""
    async with two_hosts() as (fleet, first):
        await fleet.standins[first].stop()
        for _ in range(5):
            answer = await fleet.post(path, chat(PLAIN.key))
            assert (200, other(first)) == (answer.status_code, answer.headers["x-olgate-host"])


async def test_a_dead_host_is_not_connected_to_once_it_is_known() -> None:
    """Its address then only sees probes of the list, and no request of a client waits for it."""
    async with two_hosts() as (fleet, first):
        dead = fleet.standins[first]
        await dead.stop()
        asked: list[bytes] = []

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readline())
            writer.close()

        assert 200 == (await fleet.post("/api/chat", chat(PLAIN.key))).status_code
        listener = await asyncio.start_server(note, "127.0.0.1", dead.port)
        try:
            answers = [await fleet.post("/api/chat", chat(PLAIN.key)) for _ in range(20)]
        finally:
            listener.close()
            await listener.wait_closed()

    assert {200} == {answer.status_code for answer in answers}
    assert [] == [line for line in asked if b"completions" in line]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rule", [BUSY, MANY, {"fault": "closed_before_headers"}])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_moves_a_request(path: str, rule: dict[str, Any], stream: bool) -> None:
    """A host that says it is busy, or hangs up before it says anything."""
    async with two_hosts() as (fleet, first):
        before = generations(fleet, other(first))
        fleet.script(first, {"match": {"path": "*completions"}, **rule})
        answer = await fleet.post(path, chat(PLAIN.key, stream=stream))

        assert (200, other(first)) == (answer.status_code, answer.headers["x-olgate-host"])
        assert "no room" not in answer.text
        assert path == PATHS[2] or 1 == generations(fleet, other(first)) - before


@pytest.mark.parametrize("path", PATHS[:2])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_large_request_moves_whole(path: str, stream: bool) -> None:
    """Nothing of it is gone when the next host is asked."""
    text = "x" * (2 * AT_ONCE)
    async with two_hosts() as (fleet, _):
        both = {"match": {"path": "*completions"}, "times": 1, **BUSY}
        # Which host it is for depends on the hash of its beginning.
        home = (await fleet.post(path, chat(PLAIN.key, text))).headers["x-olgate-host"]
        for name in ("a", "b"):
            fleet.standins[name].log.clear()
        fleet.script(home, both)
        answer = await fleet.post(path, chat(PLAIN.key, text, stream=stream))
        fleet.script(other(home), both)
        again = await fleet.post(path, chat(PLAIN.key, text, stream=stream))

        assert (200, 200) == (answer.status_code, again.status_code)
        asked = [one for name in ("a", "b") for one in fleet.asked(name, CHAT)]
        assert 3 <= len(asked)
        for one in asked:
            content = one.body["messages"][-1]["content"]
            shown = content if isinstance(content, str) else content[0]["text"]
            assert len(text) == len(shown)


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_of_all_hosts_reaches_the_client(path: str) -> None:
    """When every home is busy, the client is told what the last one said, once."""
    async with two_hosts() as (fleet, first):
        for name in ("a", "b"):
            fleet.script(name, {"match": {"path": "*completions"}, **BUSY})
        answer = await fleet.post(path, chat(PLAIN.key))

        assert 503 == answer.status_code
        assert "no room" in answer.text
        assert other(first) == answer.headers["x-olgate-host"]


@pytest.mark.parametrize("path", PATHS)
async def test_an_error_of_the_request_stays_where_it_is(path: str) -> None:
    """Another host would say the same."""
    async with two_hosts() as (fleet, first):
        asked = generations(fleet, other(first))
        fleet.script(first, {"match": {"path": "*completions"}, "error": "template"})
        answer = await fleet.post(path, chat(PLAIN.key))

        assert first == answer.headers["x-olgate-host"]
        assert answer.status_code >= 400
        assert asked == generations(fleet, other(first))


async def test_a_host_that_dies_in_a_stream() -> None:
    """The client has seen a frame: it is told an error, and nothing runs twice."""
    async with two_hosts() as (fleet, first):
        asked = generations(fleet, other(first))
        fleet.script(first, {"match": {"path": "*completions"}, "fault": "closed_mid_stream"})
        answer = await fleet.post("/api/chat", chat(PLAIN.key, stream=True))

        lines = frames(answer.text)
        assert 200 == answer.status_code
        assert "message" in lines[0]
        assert "error" in lines[-1]
        assert "done" not in lines[-1]
        assert asked == generations(fleet, other(first))


async def test_a_host_that_hangs_is_an_error_and_not_another_generation() -> None:
    """It may be working on the request, so no other host gets it."""
    slow = {"first_byte_timeout_s": 3}
    async with two_hosts(of_hosts={"a": slow, "b": slow}) as (fleet, first):
        asked = generations(fleet, other(first))
        fleet.script(first, {"match": {"path": "*completions"}, "fault": "first_byte_timeout"})
        answer = await fleet.post("/api/chat", chat(PLAIN.key))

        assert 504 == answer.status_code
        assert asked == generations(fleet, other(first))


@pytest.mark.parametrize("path", PATHS)
async def test_a_pinned_request_does_not_move(path: str) -> None:
    """Its sender wants that host's answer."""
    async with two_hosts() as (fleet, first):
        fleet.script(first, {"match": {"path": "*completions"}, **BUSY})
        answer = await fleet.post(path, chat(PLAIN.key), **{"x-olgate-host": first})
        assert (503, first) == (answer.status_code, answer.headers["x-olgate-host"])


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_budget_nothing_moves(path: str) -> None:
    """A flood of retries would only spread the trouble."""
    none = {"placement": {"retry_percent": 0, "retry_least": 0}}
    async with two_hosts(none) as (fleet, first):
        fleet.script(first, {"match": {"path": "*completions"}, **BUSY})
        answer = await fleet.post(path, chat(PLAIN.key))
        assert (503, first) == (answer.status_code, answer.headers["x-olgate-host"])


@pytest.mark.parametrize("path", PATHS)
async def test_a_request_that_reached_no_host_needs_no_budget(path: str) -> None:
    """Many at a time find out that a host is gone, and none of them ran anywhere."""
    none = {"placement": {"retry_percent": 0, "retry_least": 0}}
    async with two_hosts(none) as (fleet, first):
        await fleet.standins[first].stop()
        answers = await asyncio.gather(*(fleet.post(path, chat(PLAIN.key)) for _ in range(6)))
        await fleet.standins[first].start()
        assert {(200, other(first))} == {
            (each.status_code, each.headers["x-olgate-host"]) for each in answers
        }


async def test_the_budget_is_given_back() -> None:
    """Each request may move, however many have moved before."""
    one = {"placement": {"retry_percent": 0, "retry_least": 1}}
    async with two_hosts(one) as (fleet, first):
        fleet.script(first, {"match": {"path": "*completions"}, "times": 2, **MANY})
        for _ in range(2):
            answer = await fleet.post("/api/chat", chat(PLAIN.key))
            assert (200, other(first)) == (answer.status_code, answer.headers["x-olgate-host"])


async def test_hosts_may_know_the_model_by_other_keys() -> None:
    """The request is made anew for each host, so each is asked for its own key."""
    async with two_hosts() as (fleet, first):
        fleet.script(first, {"match": {"path": "*completions"}, **BUSY})
        await fleet.post("/v1/chat/completions", chat(f"{PLAIN.key}:latest"))
        asked = fleet.asked(other(first), CHAT)[-1]
        assert PLAIN.key == asked.body["model"]


async def test_a_host_that_is_back_is_used_again() -> None:
    """A probe finds it; requests that begin as before go to it as before."""
    async with two_hosts() as (fleet, first):
        dead = fleet.standins[first]
        await dead.stop()
        moved = await fleet.post("/api/chat", chat(PLAIN.key))
        assert other(first) == moved.headers["x-olgate-host"]
        async with StandIn(msgspec.structs.replace(dead.options, port=dead.port)) as back:
            assert await back.log.wait_until(
                lambda: bool(back.log.select("/api/v1/models")), timeout_s=60
            )
            async with asyncio.timeout(60):
                host = ""
                while host != first:
                    answer = await fleet.post("/api/chat", chat(PLAIN.key))
                    assert 200 == answer.status_code
                    host = answer.headers["x-olgate-host"]


@pytest.mark.parametrize("version", ["0.3", "openai"])
async def test_a_route_that_a_host_lacks_is_asked_of_another(version: str) -> None:
    """Nothing runs on the host without it; a request that names that host is told so."""
    of_a = {**BOTH, "host_version": version}
    body = {**chat(PLAIN.key), "max_tokens": 5}
    async with open_fleet(of_a, BOTH, of_hosts={"b": {"tier": 2}}) as fleet:
        for path in ("/v1/messages", "/v1/responses"):
            answer = await fleet.post(path, {**body, "input": "Why?"})
            assert (200, "b") == (answer.status_code, answer.headers["x-olgate-host"])
            assert 1 == len(fleet.asked("a", path))
            pinned = await fleet.post(path, body, **{"x-olgate-host": "a"})
            assert pinned.status_code in (404, 501)
        assert "a" == (await fleet.post("/api/chat", chat(PLAIN.key))).headers["x-olgate-host"]


async def test_a_route_that_all_hosts_lack_is_missing() -> None:
    """The client gets the last one's words."""
    async with two_hosts() as (fleet, _):
        answer = await fleet.post("/v1/nothing", {"model": PLAIN.key})
        assert 404 == answer.status_code
        assert ["/v1/nothing"] * 2 == [
            one.path for name in ("a", "b") for one in fleet.asked(name, "/v1/nothing")
        ]
