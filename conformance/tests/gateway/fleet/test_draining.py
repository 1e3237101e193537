"""A host that is drained gets nothing new, ends what runs, and keeps what is loaded."""

import asyncio
from hashlib import sha256
from typing import Any

import httpx
import msgspec
import pytest

from conformance.standin.catalogue import EMBEDDING, GRADED, PLAIN
from conformance.tests.gateway.fleet.fleets import Fleet, open_fleet
from conformance.tests.gateway.fleet.test_reload import served
from conformance.tests.gateway.support import CHAT, chat, generate, open_pair
from gateway.app import create_app
from gateway.explain.running import alive
from gateway.settings.schema import Settings

BOTH: dict[str, Any] = {"models": (PLAIN,)}
ONLY_B: dict[str, Any] = {"models": (PLAIN, GRADED, EMBEDDING)}
PIN = "x-olgate-host"


async def drain(fleet: Fleet, name: str, path: str = "/olgate/drain") -> Any:
    """Drain a host, and return what the gateway says."""
    answer = await fleet.client.post(path, headers={PIN: name})
    assert 200 == answer.status_code, answer.text
    return answer.json()


async def served_by(fleet: Fleet, times: int) -> set[str]:
    """Return who answers some requests at once."""
    answers = await asyncio.gather(
        *(fleet.post("/api/chat", chat(PLAIN.key, f"Why {number}?")) for number in range(times))
    )
    assert [200] * times == [answer.status_code for answer in answers]
    return {answer.headers[PIN] for answer in answers}


async def test_nothing_new_goes_there_and_it_is_taken_back() -> None:
    """What is loaded stays, and the state is shown."""
    async with open_fleet(BOTH, BOTH) as fleet:
        assert {"a", "b"} == await served_by(fleet, 12)
        said = await drain(fleet, "b")
        assert {"host": "b", "state": "drained", "running": 0} == said
        assert {"a"} == await served_by(fleet, 12)
        assert "drained" == (await fleet.get("/health"))["hosts"]["b"]["state"]
        assert fleet.instances("b", PLAIN.key)

        said = await drain(fleet, "b", "/olgate/undrain")
        assert ("b", "up") == (said["host"], said["state"])
        assert {"a", "b"} == await served_by(fleet, 12)


async def test_what_runs_there_ends() -> None:
    """Its client gets the whole answer."""
    async with open_fleet(BOTH, ONLY_B) as fleet:
        fleet.script("b", {"match": {"path": CHAT}, "hold": "answer"})
        running = asyncio.create_task(fleet.post("/api/chat", chat(GRADED.key)))
        standin = fleet.standins["b"]
        assert await standin.log.wait_until(lambda: bool(fleet.asked("b", CHAT)))
        assert 1 == (await drain(fleet, "b"))["running"]
        standin.app.script.release("answer")
        answer = await running

    assert (200, "b") == (answer.status_code, answer.headers[PIN])
    assert answer.json()["done"]


async def test_what_only_it_has_is_refused_with_the_reason() -> None:
    """On every kind of route, also if the client names the host; it is no unknown model."""
    asked: tuple[tuple[str, Any, dict[str, str]], ...] = (
        ("/api/chat", chat(GRADED.key), {}),
        ("/api/generate", generate(GRADED.key, ""), {}),
        ("/api/embed", {"model": EMBEDDING.key, "input": "tide"}, {}),
        ("/v1/chat/completions", chat(GRADED.key), {}),
        ("/v1/embeddings", {"model": EMBEDDING.key, "input": "tide"}, {}),
        ("/api/chat", chat(PLAIN.key), {PIN: "b"}),
    )
    async with open_fleet(BOTH, ONLY_B) as fleet:
        await drain(fleet, "b")
        before = len(fleet.standins["b"].seen)
        answers = [await fleet.post(path, body, **headers) for path, body, headers in asked]
        sent = [one.path for one in fleet.standins["b"].seen[before:] if one.method == "POST"]
        shown = await fleet.post("/api/show", {"model": GRADED.key})

    assert [503] * len(asked) == [answer.status_code for answer in answers]
    for answer in answers:
        assert "olgate undrain b" in answer.text
    assert [] == sent
    assert 200 == shown.status_code


async def test_what_is_loaded_there_can_be_unloaded() -> None:
    """On that host alone if the request names it."""
    async with open_fleet(BOTH, BOTH) as fleet:
        await drain(fleet, "b")
        body = {"model": PLAIN.key, "keep_alive": 0}
        answer = await fleet.post("/api/generate", body, **{PIN: "b"})
        there = [fleet.instances(name, PLAIN.key) for name in "ab"]
        await fleet.post("/api/generate", body)
        nowhere = [fleet.instances(name, PLAIN.key) for name in "ab"]

    assert 200 == answer.status_code, answer.text
    assert [True, False] == [bool(each) for each in there]
    assert [[], []] == nowhere


async def test_a_failure_of_the_other_host_is_not_hidden() -> None:
    """It is told, and not that a host is drained."""
    async with open_fleet(BOTH, BOTH) as fleet:
        await drain(fleet, "b")
        fleet.script(
            "a", {"match": {"path": CHAT}, "answer": {"status": 503, "chunks": [[0, "busy"]]}}
        )
        answer = await fleet.post("/api/chat", chat(PLAIN.key))

    assert answer.status_code >= 500
    assert "drained" not in answer.text


async def test_a_pull_goes_past_it() -> None:
    """To the next best host."""
    async with open_fleet(BOTH, BOTH) as fleet:
        await drain(fleet, "a")
        await fleet.post("/api/pull", {"model": "harbor/lantern-8b"})
        asked = [name for name in "ab" if fleet.asked(name, "/api/v1/models/download")]

    assert ["b"] == asked


async def test_it_outlasts_reloads() -> None:
    """Also if its number is another one then, and if it was away: other gateways may have it."""
    async with served("a", "b") as gateway:

        async def state() -> dict[str, str]:
            hosts = (await gateway.client.get("/health")).json()["hosts"]
            return {name: host["state"] for name, host in hosts.items()}

        await gateway.client.post("/olgate/drain", headers={PIN: "b"})
        await gateway.reload(gateway.settings("c", "b", "a"))
        after = await state()
        await gateway.reload(gateway.settings("a", "c"))
        await gateway.reload(gateway.settings("a", "b", "c"))

        assert {"c": "up", "b": "drained", "a": "up"} == after
        assert {"a": "up", "b": "drained", "c": "up"} == await state()


@pytest.mark.parametrize("path", ["/olgate/drain", "/olgate/undrain"])
async def test_a_wrong_order_is_refused_with_a_sentence(path: str) -> None:
    """No name, a name that nothing has, another method, a web page."""
    async with open_fleet(BOTH, BOTH) as fleet:
        none = await fleet.client.post(path)
        unknown = await fleet.client.post(path, headers={PIN: "z" * 500})
        method = await fleet.client.get(path, headers={PIN: "a"})
        foreign = await fleet.client.post(
            path, headers={PIN: "a", "origin": "http://localhost:3000"}
        )
        states = {host["state"] for host in (await fleet.get("/health"))["hosts"].values()}

    assert [400, 404, 405, 403] == [one.status_code for one in (none, unknown, method, foreign)]
    assert "the hosts are: a, b" in unknown.text
    assert "z" * 65 not in unknown.text
    assert {"up"} == states


async def test_the_only_host_is_not_drained() -> None:
    """Nothing would be left to serve."""
    async with open_pair() as pair:
        host = pair.standin.url.removeprefix("http://")
        only = await pair.client.post("/olgate/drain", headers={PIN: host})

    assert 409 == only.status_code
    assert "one host" in only.text


async def test_a_key_must_be_one_that_may() -> None:
    """And without keys the caller must be on this machine."""
    tables = {
        name: {"digest": sha256(name.encode()).hexdigest(), "admin": name == "chief"}
        for name in ("chief", "guest")
    }
    async with open_fleet(BOTH, BOTH, settings={"keys": tables}) as fleet:
        found = [
            (
                await fleet.client.post(
                    "/olgate/drain", headers={PIN: "b", "authorization": f"Bearer {key}"}
                )
            ).status_code
            for key in ("guest", "nobody", "chief")
        ]
    hosts = {name: {"url": f"http://127.0.0.1:{port}"} for name, port in (("a", 9), ("b", 10))}
    app = create_app(msgspec.convert({"hosts": hosts, "listen": {"host": "0.0.0.0"}}, Settings))
    transport = httpx.ASGITransport(app=app, client=("192.0.2.7", 50000))
    async with (
        alive(app),
        httpx.AsyncClient(transport=transport, base_url="http://192.0.2.1") as client,
    ):
        far = await client.post("/olgate/drain", headers={PIN: "b"})

    assert [403, 401, 200] == found
    assert 403 == far.status_code
