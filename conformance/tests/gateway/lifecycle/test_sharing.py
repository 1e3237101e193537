"""
Several gateways on one store: none loads or unloads what another one uses
(docs/lifecycle.md#several-gateways).
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from conformance.runner.redis_server import RedisServer, Starting
from conformance.tests.gateway.lifecycle.test_ownership import open_standin, settings
from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    COLD_TOO,
    LOAD,
    LOADED,
    UNLOAD,
    Pair,
    chat,
    frames,
    gather_all,
    open_gateway,
)
from gateway.observability.record import current_id
from gateway.store.interface import Store
from gateway.store.sqlite import SqliteStore


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have unloads be tried again at once."""
    monkeypatch.setattr("gateway.lifecycle.changes.ELSEWHERE_S", 0.05)


LONG_S = 60.0
"""How long a test waits for what must come; no test is about how soon."""

STREAM: dict[str, Any] = {"match": {"path": CHAT, "body_contains": "slow"}, "hold": "rest"}


@asynccontextmanager
async def two_on(store: dict[str, Any]) -> AsyncIterator[tuple[Pair, Pair]]:
    """Run two gateways with the settings of one store, in front of one stand-in."""
    async with (
        open_standin() as standin,
        open_gateway(standin, store) as first,
        open_gateway(standin, store) as second,
    ):
        yield first, second


async def test_a_timer_waits_for_an_answer_through_another_gateway(tmp_path: Path) -> None:
    """The keep-alive counts from the end of that answer, whose frames are all there."""
    async with two_on(settings(tmp_path / "olgate.db")) as (first, second):
        await first.post("/api/chat", chat(COLD, keep_alive="1h"))
        first.script({**STREAM, "after": 3})
        async with second.client.stream(
            "POST", "/api/chat", json=chat(COLD, "slow", stream=True)
        ) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            await first.post("/api/chat", chat(COLD, keep_alive="1ms"))
            for _ in range(5):
                await first.let_pass()
            assert [] == first.asked(UNLOAD)
            first.release("rest")
            rest = [line async for line in lines]
        assert '"done":true' in rest[-1]
        await first.until_answered(UNLOAD)
        assert [] == first.instances(COLD)


async def test_an_unload_that_a_client_wants_waits_too(tmp_path: Path) -> None:
    """Also of a model that somebody loaded by hand."""
    async with two_on(settings(tmp_path / "olgate.db")) as (first, second):
        await first.running()
        first.script(STREAM)
        slow = asyncio.create_task(second.post("/api/chat", chat(LOADED, "slow")))
        await first.until_asked(CHAT)
        answer = await first.post("/api/chat", {"model": LOADED, "keep_alive": 0})
        assert (200, "unload") == (answer.status_code, answer.json()["done_reason"])
        await first.let_pass()
        assert [] == first.asked(UNLOAD)
        first.release("rest")
        assert frames((await slow).text)[-1]["done"] is True
        await first.until_answered(UNLOAD)
        assert [] == first.instances(LOADED)


async def test_growing_waits_for_an_answer_through_another_gateway(tmp_path: Path) -> None:
    """A reload is an unload, too."""
    async with two_on(settings(tmp_path / "olgate.db")) as (first, second):
        await first.post("/api/chat", chat(COLD, options={"num_ctx": 4096}))
        first.script(STREAM)
        slow = asyncio.create_task(second.post("/api/chat", chat(COLD, "slow")))
        await first.until_asked(CHAT, 2)
        grower = asyncio.create_task(
            first.post("/api/chat", chat(COLD, "more", options={"num_ctx": 8192}))
        )
        await second.let_pass()
        assert [] == first.asked(UNLOAD)
        first.release("rest")
        assert [200, 200] == [one.status_code for one in await gather_all(slow, grower)]
        assert [4096, 8192] == [body["context_length"] for body in first.bodies(LOAD)]


@pytest.fixture(params=["sqlite", "redis"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return the settings of gateways on one store, of each kind."""
    if request.param == "sqlite":
        return settings(tmp_path / "olgate.db")
    server: RedisServer = request.getfixturevalue("redis_server")
    store = {"url": server.url, "prefix": tmp_path.name, "path": str(tmp_path / "olgate.db")}
    return {"store": store, "models": {}}


async def test_two_gateways_load_a_model_once(shared: dict[str, Any]) -> None:
    """The other one waits for the instance, which is not its own."""
    async with two_on(shared) as (first, second):
        first.script({"match": {"path": LOAD}, "hold": "load"})
        asking = [asyncio.create_task(first.post("/api/chat", chat(COLD)))]
        await first.until_asked(LOAD)
        asking.append(asyncio.create_task(second.post("/api/chat", chat(COLD))))
        await second.let_pass()
        first.release("load")
        assert [200, 200] == [one.status_code for one in await gather_all(*asking)]
        assert 1 == len(first.asked(LOAD))
        assert [COLD] == first.instances(COLD)


@pytest.mark.parametrize("has_asked", [True, False], ids=["asked before", "asks afterwards"])
async def test_a_load_under_way_is_waited_for_when_the_store_dies(
    starting: Starting, monkeypatch: pytest.MonkeyPatch, *, has_asked: bool
) -> None:
    """By all other gateways, also by the one that loads what nobody has claimed."""
    monkeypatch.setattr("gateway.lifecycle.loads.FIRST_LOOK_S", 0.01)
    monkeypatch.setattr("gateway.lifecycle.loads.LONGEST_LOOK_S", 0.01)
    server = starting()
    store = {"store": {"url": server.url}, "models": {}}
    async with AsyncExitStack() as stack:
        standin = await stack.enter_async_context(open_standin())
        first, *others = [
            await stack.enter_async_context(open_gateway(standin, store)) for _ in range(6)
        ]
        with redis.Redis(port=server.port) as client:
            async with asyncio.timeout(LONG_S):
                while client.pubsub_numsub("{olgate}:news") != [(b"{olgate}:news", 6)]:  # noqa: ASYNC110 - Redis tells nobody
                    await asyncio.sleep(0.02)
        first.script({"match": {"path": LOAD}, "hold": "load"})
        asking = [asyncio.create_task(first.post("/api/chat", chat(COLD)))]
        await first.until_asked(LOAD)

        async def ask_others() -> None:
            asking.extend(
                asyncio.create_task(each.post("/api/chat", chat(COLD))) for each in others
            )
            for each in others:
                await each.let_pass()

        if has_asked:
            await ask_others()
        server.kill()
        if not has_asked:
            await ask_others()
        for each in others:
            while "store" not in (await each.client.get("/health")).json():
                await each.let_pass()
            await each.let_pass()
        assert 1 == len(first.asked(LOAD))
        first.release("load")
        assert [200] * 6 == [one.status_code for one in await gather_all(*asking)]
        assert [COLD] == first.instances(COLD)


async def test_a_model_that_another_gateway_unloads_is_loaded_anew(tmp_path: Path) -> None:
    """A request that comes meanwhile is not sent to the instance that goes."""
    async with two_on(settings(tmp_path / "olgate.db")) as (first, second):
        await first.post("/api/chat", chat(COLD_TOO, keep_alive="1h"))
        await second.running()
        first.script({"match": {"path": UNLOAD}, "hold": "unload"})
        going = asyncio.create_task(first.post("/api/chat", {"model": COLD_TOO, "keep_alive": 0}))
        await first.until_asked(UNLOAD)
        late = asyncio.create_task(second.post("/api/chat", chat(COLD_TOO, "late")))
        await second.let_pass()
        assert 1 == len(first.asked(CHAT))
        first.release("unload")
        assert [200, 200] == [one.status_code for one in await gather_all(going, late)]
        assert 2 == len(first.asked(LOAD))


async def test_a_model_that_another_gateway_has_unloaded_is_loaded_by_an_order(
    tmp_path: Path,
) -> None:
    """Sent to an instance that is gone, the request would make LM Studio load it on its own."""
    store = tmp_path / "olgate.db"
    async with (
        open_standin() as standin,
        open_gateway(standin, settings(store)) as first,
        open_gateway(standin, settings(store, catalogue_ttl_s=60)) as second,
    ):
        await first.post("/api/chat", chat(COLD_TOO, keep_alive="1h"))
        await second.running()
        assert 1 == len(first.asked(LOAD))
        await first.post("/api/chat", {"model": COLD_TOO, "keep_alive": 0})
        assert [] == first.instances(COLD_TOO)
        answer = await second.post("/api/chat", chat(COLD_TOO))
        assert 200 == answer.status_code
        assert 2 == len(first.asked(LOAD))


async def test_an_instance_that_another_gateway_loaded_anew_is_not_unloaded(
    tmp_path: Path,
) -> None:
    """Under the same identifier: it was unloaded by hand, and nobody told its first owner."""
    async with two_on(settings(tmp_path / "olgate.db")) as (first, second):
        await first.post("/api/chat", chat(COLD, keep_alive="1h"))
        await first.change("unload", COLD)
        await second.post("/api/chat", chat(COLD, keep_alive="1h"))
        await first.post("/api/chat", chat(COLD, keep_alive="1ms"))
        for _ in range(3):
            await first.let_pass()
        assert [] == first.asked(UNLOAD)
        await second.post("/api/chat", chat(COLD, keep_alive="1ms"))
        await second.until_answered(UNLOAD)


class Calls(list[str]):
    """The names of calls of the store, as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._came = asyncio.Event()

    def note(self, name: str) -> None:
        """Add a call."""
        self.append(name)
        self._came.set()

    async def until(self, name: str, more: int) -> None:
        """Wait until the store was called so many times more."""
        wanted = self.count(name) + more
        async with asyncio.timeout(60):
            while self.count(name) < wanted:
                self._came.clear()
                await self._came.wait()


@pytest.fixture
def store_calls(monkeypatch: pytest.MonkeyPatch) -> tuple[Calls, Calls]:
    """Return the calls of the store on the way of requests, and those in the background."""
    of_requests, others = Calls(), Calls()

    def noting(name: str, method: Callable[..., Awaitable[object]]) -> Callable[..., object]:
        async def call(*given: object, **named: object) -> object:
            (of_requests if current_id() else others).note(name)
            return await method(*given, **named)

        return call

    for name in dir(Store):
        method = getattr(SqliteStore, name, None)
        if not name.startswith("_") and inspect.iscoroutinefunction(method):
            monkeypatch.setattr(SqliteStore, name, noting(name, method))
    return of_requests, others


async def test_a_request_on_another_gateways_instance_asks_the_store_nothing(
    tmp_path: Path, store_calls: tuple[Calls, Calls]
) -> None:
    """However long after the last one: its use stays shown, which is seen to in the background."""
    of_requests, others = store_calls
    store = tmp_path / "olgate.db"
    async with (
        open_standin() as standin,
        open_gateway(standin, settings(store, catalogue_ttl_s=60)) as first,
        open_gateway(standin, settings(store, catalogue_ttl_s=60)) as second,
    ):
        await first.post("/api/chat", chat(COLD, keep_alive="1h"))
        await second.running()
        await others.until("wanted_unloads", more=3)
        shown = others.count("use_instances")
        for _ in range(3):
            of_requests.clear()
            assert 200 == (await second.post("/api/chat", chat(COLD))).status_code
            assert [] == of_requests
            await others.until("wanted_unloads", more=3)
        assert shown == others.count("use_instances")
        assert 1 == len(first.asked(LOAD))


async def test_an_idle_use_is_taken_back_for_an_unload(
    tmp_path: Path, store_calls: tuple[Calls, Calls]
) -> None:
    """By the gateways that have shown theirs, and the unload does not wait for a second try."""
    store = tmp_path / "olgate.db"
    async with (
        open_standin() as standin,
        open_gateway(standin, settings(store, catalogue_ttl_s=60)) as first,
        open_gateway(standin, settings(store, catalogue_ttl_s=60)) as second,
        open_gateway(standin, settings(store, catalogue_ttl_s=60)) as third,
    ):
        await first.post("/api/chat", chat(COLD, keep_alive="1h"))
        for one in (second, third):
            await one.post("/api/chat", chat(COLD))
        await first.post("/api/chat", {"model": COLD, "keep_alive": 0})
        await first.until_answered(UNLOAD)
        assert [] == first.instances(COLD)
        # Each of them loads it by an order, and not by a request to an instance that is gone.
        assert 200 == (await third.post("/api/chat", chat(COLD))).status_code
        assert 2 == len(first.asked(LOAD))


async def test_a_load_that_one_gateway_has_lost_is_no_load_for_another(
    shared: dict[str, Any],
) -> None:
    """What became of it is not known: the other one waits for what appears, and loads nothing."""
    async with (
        open_standin() as standin,
        open_gateway(standin, {**shared, "models": {"load_timeout_s": 0.3}}) as first,
        open_gateway(standin, shared) as second,
    ):
        first.script({"match": {"path": LOAD}, "hold": "load"})
        lost = await first.post("/api/chat", chat(COLD))
        assert 504 == lost.status_code
        asking = asyncio.create_task(second.post("/api/chat", chat(COLD)))
        await second.let_pass()
        assert not asking.done()
        await first.change("load", COLD)
        first.release("load")
        assert 200 == (await asking).status_code
        assert 1 == len(first.asked(LOAD))
