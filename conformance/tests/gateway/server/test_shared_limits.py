"""Limits of keys over several gateways on one store, and of each alone while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from conformance.runner.redis_server import RedisServer, Starting
from conformance.runner.restartable import gateway, running, wait_until
from conformance.standin import StandIn
from conformance.standin.script import Match, Rule
from conformance.tests.gateway.support import (
    CERTIFICATES,
    CHAT,
    Pair,
    chat,
    lines_of,
    open_gateway,
    written,
)
from gateway.store.sqlite_meter import SqliteMeter

STORES = ["sqlite", "redis"]
PATIENCE_S = 60.0


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return the settings of a store that gateways can share."""
    if request.param == "sqlite":
        return {"path": str(tmp_path / "store.db")}
    server: RedisServer = request.getfixturevalue("redis_server")
    prefix = sha256(str(tmp_path).encode()).hexdigest()[:16]
    return {"url": server.url, "prefix": prefix, "lease_s": 1.0}


def settings_of(store: dict[str, Any], **limits: Any) -> dict[str, Any]:
    """Return settings with a key that has limits, and one without any."""
    digests = {name: sha256(name.encode()).hexdigest() for name in ("sesame", "free")}
    return {
        "store": store,
        "keys": {
            "alice": {"digest": digests["sesame"], **limits},
            "bob": {"digest": digests["free"]},
        },
    }


def bearer(secret: str = "sesame") -> dict[str, str]:
    """Return the header that carries a key."""
    return {"authorization": f"Bearer {secret}"}


@asynccontextmanager
async def two(settings: dict[str, Any]) -> AsyncIterator[tuple[Pair, Pair]]:
    """Run two gateways on one store, in front of one stand-in."""
    async with AsyncExitStack() as stack:
        standin = await stack.enter_async_context(StandIn())
        first = await stack.enter_async_context(open_gateway(standin, settings))
        yield first, await stack.enter_async_context(open_gateway(standin, settings))


@pytest.mark.parametrize(
    ("path", "text_of"),
    [
        ("/api/chat", lambda error: error),
        (CHAT, lambda error: error["message"]),
        ("/v1/messages", lambda error: error["message"]),
    ],
)
async def test_requests_in_a_minute_count_together(
    path: str, text_of: Callable[[Any], str], store: dict[str, Any]
) -> None:
    """The 429 of the second gateway is in the dialect, with the time to wait."""
    async with two(settings_of(store, requests_per_minute=1)) as (first, second):
        body = chat(max_tokens=5)
        answer = await first.client.post(path, json=body, headers=bearer())
        refused = await second.client.post(path, json=body, headers=bearer())
        other = await second.client.post(path, json=body, headers=bearer("free"))
    assert (200, 429, 200) == (answer.status_code, refused.status_code, other.status_code)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "limit of 1 (keys.NAME.requests_per_minute)" in text_of(refused.json()["error"])


async def test_running_requests_count_together(store: dict[str, Any]) -> None:
    """Those of the other gateway as well; the end of one makes room for both."""
    async with two(settings_of(store, max_running=1)) as (first, second):
        first.script({"match": {"path": CHAT}, "hold": "it", "nth": 1})
        ask: dict[str, Any] = {"json": chat(), "headers": bearer()}
        held = asyncio.create_task(first.client.post("/api/chat", **ask))
        await first.until_asked(CHAT)
        refused = await second.client.post("/api/chat", **ask)
        first.release("it")
        assert 200 == (await held).status_code
        async with asyncio.timeout(PATIENCE_S):
            # The end is told in the background.
            while 429 == (await second.client.post("/api/chat", **ask)).status_code:
                pass
    assert (429, "1") == (refused.status_code, refused.headers["retry-after"])


async def test_tokens_count_together(store: dict[str, Any]) -> None:
    """Once the first gateway has told them."""
    async with two(settings_of(store, tokens_per_minute=1)) as (first, second):
        ask: dict[str, Any] = {"json": chat(), "headers": bearer()}
        assert 200 == (await first.client.post("/api/chat", **ask)).status_code
        async with asyncio.timeout(PATIENCE_S):
            while 200 == (refused := await second.client.post("/api/chat", **ask)).status_code:
                pass
    assert 429 == refused.status_code
    assert "tokens_per_minute" in refused.text


async def test_a_key_without_limits_asks_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one with limits asks it once on the way of a request that is served."""
    asked: list[str] = []
    take = SqliteMeter.take

    async def note(self: SqliteMeter, gateway: str, name: str, *rest: Any) -> Any:
        asked.append(name)
        return await take(self, gateway, name, *rest)

    monkeypatch.setattr(SqliteMeter, "take", note)
    limited = settings_of({"path": str(tmp_path / "store.db")}, requests_per_minute=100)
    async with two(limited) as (first, _):
        for path in ("/api/chat", "/nosuch", "/api/tags"):
            await first.client.post(path, json=chat(), headers=bearer("free"))
        assert [] == asked
        for path, status in (("/api/chat", 200), ("/nosuch", 404), ("/api/tags", 405)):
            answer = await first.client.post(path, json=chat(), headers=bearer())
            assert status == answer.status_code
    assert ["alice"] == asked


async def test_each_counts_alone_while_the_store_is_away(
    starting: Starting,
) -> None:
    """It serves, logs it once, and `/health` says it; then they count together again."""
    server = starting()
    store = {"url": server.url, "lease_s": 0.5, "timeout_s": 0.5}
    ask: dict[str, Any] = {"json": chat(), "headers": bearer()}
    async with two(settings_of(store, requests_per_minute=2)) as (first, second):
        server.kill()
        with written(format="json") as lines:
            for gateway_ in (first, second):
                found = [
                    (await gateway_.client.post("/api/chat", **ask)).status_code for _ in range(3)
                ]
                assert [200, 200, 429] == found
            health = (await first.client.get("/health")).json()
        events = lines_of(lines, event="each process counts the limits of keys alone")
        assert 2 == len(events)
        assert "degraded" == health["status"]
        assert "each process counts the limits of keys alone" == health["store"]["limits"]
        server.start()
        async with asyncio.timeout(PATIENCE_S):
            while "store" in (await first.client.get("/health")).json():
                pass


def test_a_gateway_that_is_killed_gives_its_running_requests_back(
    store: dict[str, Any], tmp_path: Path
) -> None:
    """As processes: nobody tells of the end of its requests."""
    variables = {f"OLGATE_STORE_{key.upper()}": str(value) for key, value in store.items()}
    environment = {"OLGATE_STORE_PATH": "", **variables}
    file = tmp_path / "olgate.toml"
    digest = sha256(b"sesame").hexdigest()
    file.write_text(f'[keys.alice]\ndigest = "{digest}"\nmax_running = 1\n')

    async def play() -> None:
        async with StandIn() as standin:
            standin.app.script.add([Rule(match=Match(path=CHAT), hold="it", nth=1)])
            flags = ("--config", str(file), "--upstream", standin.url)
            one, other = (
                gateway(name, tmp_path, *flags, environment=environment)
                for name in ("one", "other")
            )
            with running(one), running(other):
                async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
                    ask: dict[str, Any] = {"json": chat(), "headers": bearer()}
                    held = asyncio.create_task(client.post(f"{one.url}/api/chat", **ask))
                    assert await standin.log.wait_until(lambda: bool(standin.log.select(CHAT)))
                    refused = await client.post(f"{other.url}/api/chat", **ask)
                    assert 429 == refused.status_code
                    one.kill()
                    await asyncio.gather(held, return_exceptions=True)
                    async with asyncio.timeout(PATIENCE_S):
                        while True:
                            answer = await client.post(f"{other.url}/api/chat", **ask)
                            if answer.status_code == 200:
                                break
                            assert 429 == answer.status_code

    asyncio.run(play())


def test_workers_of_one_gateway_count_together(tmp_path: Path) -> None:
    """They share a store, so a key has its limit once and not once for each process."""
    file = tmp_path / "olgate.toml"
    digest = sha256(b"sesame").hexdigest()
    file.write_text(f'[keys.alice]\ndigest = "{digest}"\nrequests_per_minute = 3\n')
    environment = {"OLGATE_STORE_PATH": str(tmp_path / "store.db")}
    flags = ("--workers", "2", "--config", str(file), "--upstream", "http://127.0.0.1:1")
    with running(gateway("olgate", tmp_path, *flags, environment=environment)) as server:
        wait_until(
            lambda: server.log.read_text().count("listening on") == 2, "both listen", PATIENCE_S
        )
        found = []
        for _ in range(12):
            # A connection of its own, which either process may take.
            url = f"{server.url}/api/version"
            answer = httpx.get(url, headers=bearer(), timeout=PATIENCE_S, verify=CERTIFICATES)
            found.append(answer.status_code)
    assert [200] * 3 + [429] * 9 == found
