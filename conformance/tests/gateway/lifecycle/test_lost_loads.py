"""
Loads whose end was not seen: nothing is loaded beside them, and what comes of them is the gateway's
own (docs/lifecycle.md#loads-whose-end-is-not-seen).
"""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conformance.tests.gateway.lifecycle.test_keep_alive import lifetime
from conformance.tests.gateway.lifecycle.test_ownership import (
    open_process,
    open_standin,
    rows,
    settings,
    until,
)
from conformance.tests.gateway.support import (
    COLD,
    LOAD,
    UNLOAD,
    Pair,
    chat,
    gather_all,
    open_gateway,
    open_pair,
)

PROXY = "<html><title>504 Gateway Time-out</title></html>"
LOST: dict[str, dict[str, Any]] = {
    "504": {"answer": {"status": 504, "chunks": [[0, PROXY]]}},
    "502": {"answer": {"status": 502, "chunks": [[0, PROXY]]}},
    "closed": {"answer": {"chunks": [], "end": "close"}},
    "cut": {"answer": {"chunks": [[0, "{"]], "end": "close"}},
    "no json": {"answer": {"chunks": [[0, "all is well"]]}},
}
"""What LM Studio or a proxy may answer to a load that goes on."""


async def lose(pair: Pair, kind: str, body: dict[str, Any]) -> None:
    """Have a request whose load ends without a word of its end."""
    pair.script({"match": {"path": LOAD}, "nth": 1, **LOST[kind]})
    answer = await pair.post("/api/chat", body)
    assert answer.status_code in (500, 502, 504), answer.text


@pytest.mark.parametrize("kind", LOST)
async def test_the_next_request_waits_for_a_lost_load(fresh: Pair, kind: str) -> None:
    """It looks until the instance is there; no second load begins, and the instance is own."""
    await lose(fresh, kind, chat(COLD))
    waiting = [asyncio.create_task(fresh.post("/api/chat", chat(COLD))) for _ in range(3)]
    await fresh.let_pass()
    assert not any(one.done() for one in waiting)
    await fresh.change("load", COLD)
    assert [200] * 3 == [answer.status_code for answer in await gather_all(*waiting)]
    assert 1 == len(fresh.asked(LOAD))
    await fresh.post("/api/chat", chat(COLD, keep_alive="10ms"))
    await fresh.until_answered(UNLOAD)
    assert [] == fresh.instances(COLD)


async def test_a_load_that_outlasts_its_time_is_waited_for() -> None:
    """LM Studio goes on with it; what comes of it is used, and goes when it is idle."""
    async with open_pair({"models": {"load_timeout_s": 0.3}}, load_ms=1000) as pair:
        answers = [await pair.post("/api/chat", chat(COLD, keep_alive="10ms"))]
        while answers[-1].status_code == 504 and len(answers) < 20:
            answers.append(await pair.post("/api/chat", chat(COLD, keep_alive="10ms")))
        assert 200 == answers[-1].status_code, answers[-1].text
        assert 504 == answers[0].status_code
        assert 1 == len(pair.asked(LOAD))
        await pair.until_answered(UNLOAD)
        assert [] == pair.instances(COLD)


async def test_nobody_has_to_ask_for_a_lost_load_to_end() -> None:
    """The gateway looks by itself, and the instance goes in its time."""
    async with open_pair({"models": {"keep_alive": "10ms"}}) as pair:
        await lose(pair, "504", chat(COLD))
        await pair.change("load", COLD)
        await pair.until_answered(UNLOAD)
        assert [] == pair.instances(COLD)


async def test_forever_holds_for_a_lost_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keep-alive without an end does not end because the load's end was not seen."""
    monkeypatch.setattr("gateway.lifecycle.keep_alive.RETRY_S", 0.01)
    async with open_pair() as pair:
        await lose(pair, "504", chat(COLD, keep_alive=-1))
        await pair.change("load", COLD)
        assert 200 == (await pair.post("/api/chat", chat(COLD))).status_code
        await pair.let_pass()
        assert timedelta(days=100_000) < lifetime((await pair.running())[f"{COLD}:latest"])
        assert [] == pair.asked(UNLOAD)
        await pair.post("/api/chat", chat(COLD, keep_alive="10ms"))
        await pair.until_answered(UNLOAD)


async def test_forever_holds_across_a_crash_during_the_load(tmp_path: Path) -> None:
    """The next gateway finds the instance, and keeps it."""
    store = tmp_path / "olgate.db"
    async with open_standin(load_ms=400) as standin:
        async with open_process(standin, store) as client:
            body = chat(COLD, keep_alive=-1)
            asking = asyncio.create_task(client.post("/api/chat", json=body))
            assert await standin.log.wait_until(lambda: bool(standin.log.select(LOAD)))
        await asyncio.gather(asking, return_exceptions=True)
        async with open_gateway(standin, settings(store)) as pair:
            await until(lambda: [COLD] == [identifier for identifier, _ in rows(store)])
            assert timedelta(days=100_000) < lifetime((await pair.running())[f"{COLD}:latest"])
            assert [] == pair.asked(UNLOAD)


async def test_a_search_ends_in_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the keep-alive is: a copy that a user loads later is not the gateway's."""
    monkeypatch.setattr("gateway.lifecycle.loader.BROKEN_S", 0.2)
    async with open_pair() as pair:
        await lose(pair, "cut", chat(COLD, keep_alive="1h"))
        assert 200 == (await pair.post("/api/chat", chat(COLD, keep_alive="1h"))).status_code
        assert 2 == len(pair.asked(LOAD))
        await pair.post("/api/chat", {"model": COLD, "keep_alive": 0})
        pair.forget()
        await pair.change("load", COLD)
        await pair.post("/api/chat", chat(COLD, keep_alive="1ms"))
        await pair.let_pass()
        assert [] == pair.asked(UNLOAD)
        assert [COLD] == pair.instances(COLD)
