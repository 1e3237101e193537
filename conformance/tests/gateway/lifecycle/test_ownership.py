"""What a gateway loaded is its own across crashes, and never another's (docs/lifecycle.md)."""

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from conformance.standin import StandIn
from conformance.standin.options import Options
from conformance.tests.gateway.lifecycle.played_store import PlayedStore, Shared
from conformance.tests.gateway.lifecycle.test_keep_alive import lifetime
from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    COLD_TOO,
    LOAD,
    LOADED,
    UNLOAD,
    VARIED,
    chat,
    open_gateway,
    open_pair,
    speak_to,
)
from gateway.faults import StoreFailure
from gateway.lifecycle.ownership import Ownership, OwnInstance
from gateway.store.sqlite import SqliteStore


@asynccontextmanager
async def open_standin(**options: Any) -> AsyncIterator[StandIn]:
    """Run a stand-in that several gateways stand before."""
    async with StandIn(Options(**options)) as standin:
        yield standin


@asynccontextmanager
async def open_process(standin: StandIn, store: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Run a gateway in a process of its own that is killed at the end, as by a crash."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OLGATE_", "OLLAMA_", "LM_API_", "LMSTUDIO_"))
    }
    environment |= {
        "OLGATE_STORE_PATH": str(store),
        "OLGATE_LISTEN_PORT": "0",
        "OLGATE_UPSTREAM_URL": standin.url,
        "OLGATE_LIMITS_DRAIN_S": "0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", stderr=asyncio.subprocess.PIPE, env=environment
    )
    try:
        assert process.stderr is not None
        url = None
        while url is None:
            line = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
            assert line, "the gateway ended before it listened"
            if "listening on " in line:
                url = line.rsplit("listening on ", 1)[1].split()[0]
        async with speak_to(url) as client:
            yield client
    finally:
        process.kill()
        await process.wait()


def settings(store: Path, **models: Any) -> dict[str, Any]:
    """Return the settings of a gateway with a store."""
    return {"store": {"path": str(store)}, "models": models}


def rows(store: Path) -> list[tuple[str, bytes]]:
    """Return the rows of all instances in the store."""
    connection = sqlite3.connect(store)
    try:
        return connection.execute("SELECT id, document FROM instance").fetchall()
    finally:
        connection.close()


def first_seen(store: Path) -> list[str]:
    """Return the keys whose first sighting is in the store."""
    connection = sqlite3.connect(store)
    try:
        return [key for (key,) in connection.execute("SELECT key FROM first_seen")]
    finally:
        connection.close()


def owners(store: Path) -> list[str]:
    """Return the names of the gateways that own an instance in the store."""
    connection = sqlite3.connect(store)
    try:
        return [name for (name,) in connection.execute("SELECT gateway FROM instance")]
    finally:
        connection.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something is so, which nothing tells of."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - the file of another process tells nobody
            await asyncio.sleep(0.01)


async def test_what_a_killed_gateway_loaded_goes_in_time(tmp_path: Path) -> None:
    """The next one takes up its timers: one is due at once, one is not, one is for ever."""
    store = tmp_path / "olgate.db"
    async with open_standin() as standin:
        async with open_process(standin, store) as client:
            for key, keep_alive in ((COLD, "300ms"), (COLD_TOO, "1h"), (VARIED, -1)):
                body = chat(key, keep_alive=keep_alive)
                answer = await client.post("/api/chat", json=body)
                assert 200 == answer.status_code, answer.text
            assert COLD in [identifier for identifier, _ in rows(store)] or [] == [
                one for one in standin.app.host.table.instances if one.model.key == COLD
            ]
        async with open_gateway(standin, settings(store)) as pair:
            await pair.until_answered(UNLOAD)
            running = await pair.running()
            assert [] == pair.instances(COLD)
            left = lifetime(running[f"{COLD_TOO}:latest"])
            assert timedelta(minutes=58) < left <= timedelta(hours=1)
            assert timedelta(days=100_000) < lifetime(running[f"{VARIED}:latest"])
            assert [LOADED] == pair.instances(LOADED)


async def test_a_gateway_killed_while_loading_forgets_nothing(tmp_path: Path) -> None:
    """The instance is loaded after its gateway has died; the next gateway knows it as its own."""
    store = tmp_path / "olgate.db"
    async with open_standin(load_ms=500) as standin:
        async with open_process(standin, store) as client:
            asking = asyncio.create_task(client.post("/api/chat", json=chat(COLD)))
            assert await standin.log.wait_until(lambda: bool(standin.log.select(LOAD)))
        with pytest.raises(httpx.HTTPError):
            await asking
        async with open_gateway(standin, settings(store)) as pair:
            await pair.post("/api/chat", chat(COLD, keep_alive="10ms"))
            await pair.until_answered(UNLOAD)
            assert [] == pair.instances(COLD)


async def test_a_gateway_that_ends_well_is_taken_up_too(tmp_path: Path) -> None:
    """Ending unloads nothing, and forgets nothing."""
    store = tmp_path / "olgate.db"
    async with open_standin() as standin:
        async with open_gateway(standin, settings(store)) as pair:
            await pair.post("/api/chat", chat(COLD, keep_alive="1h"))
        assert [COLD] == [identifier for identifier, _ in rows(store)]
        async with open_gateway(standin, settings(store)) as pair:
            await pair.post("/api/chat", chat(COLD, keep_alive="10ms"))
            await pair.until_answered(UNLOAD)
            assert 1 == len(pair.asked(LOAD))
        assert [] == rows(store)


async def test_instances_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    """Whoever unloaded them meanwhile; nothing is unloaded in their place."""
    store = tmp_path / "olgate.db"
    async with open_standin() as standin:
        async with open_gateway(standin, settings(store)) as pair:
            await pair.post("/api/chat", chat(COLD, keep_alive="1h"))
        async with open_gateway(standin, settings(store)) as pair:
            await pair.change("unload", COLD)
            await pair.change("load", COLD, ttl_s=3600)
            await pair.running()
            await until(lambda: rows(store) == [])
            await pair.post("/api/chat", chat(COLD, keep_alive="10ms"))
            await pair.let_pass()
            assert [] == pair.asked(UNLOAD)


async def test_of_two_gateways_each_unloads_its_own(tmp_path: Path) -> None:
    """Also when a client asks the other one, as long as the first one lives."""
    store = tmp_path / "olgate.db"
    async with (
        open_standin() as standin,
        open_gateway(standin, settings(store)) as first,
        open_gateway(standin, settings(store)) as second,
    ):
        await first.post("/api/chat", chat(COLD, keep_alive="1h"))
        await second.post("/api/chat", chat(COLD, keep_alive="10ms"))
        answer = await second.post("/api/chat", {"model": COLD, "keep_alive": 0})
        assert (200, "unload") == (answer.status_code, answer.json()["done_reason"])
        assert [] == second.asked(UNLOAD)
        await first.post("/api/chat", chat(COLD, keep_alive="10ms"))
        await first.until_answered(UNLOAD)
        assert [] == first.instances(COLD)


async def test_a_living_gateway_takes_up_what_a_dead_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to start for it: the living look from time to time."""
    monkeypatch.setattr("gateway.lifecycle.lifecycle.SWEEP_S", 0.05)
    store = tmp_path / "olgate.db"
    async with open_standin() as standin, open_gateway(standin, settings(store)) as pair:
        async with open_process(standin, store) as client:
            await client.post("/api/chat", json=chat(COLD, keep_alive="1h"))
            (before,) = owners(store)
            await pair.let_pass()
            assert [before] == owners(store)
        await until(lambda: [before] != owners(store))
        await pair.post("/api/chat", chat(COLD, keep_alive="10ms"))
        await pair.until_answered(UNLOAD)
        assert [] == pair.instances(COLD)


async def test_a_store_that_fails_fails_no_request(tmp_path: Path) -> None:
    """It is for the log; what was loaded goes in its time all the same."""
    store = tmp_path / "olgate.db"
    async with open_standin() as standin, open_gateway(standin, settings(store)) as pair:
        connection = sqlite3.connect(store)
        connection.execute("DROP TABLE instance")
        connection.close()
        answer = await pair.post("/api/chat", chat(COLD, keep_alive="10ms"))
        assert 200 == answer.status_code
        await pair.until_answered(UNLOAD)
        assert [] == pair.instances(COLD)


async def test_a_store_that_somebody_locks_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists, health and answers come while the lock is held; what was not written comes later."""
    monkeypatch.setattr("gateway.lifecycle.ownership.WRITE_WAIT_S", 0.05)
    monkeypatch.setattr("gateway.lifecycle.ownership.WRITE_RETRY_S", 0.05)
    monkeypatch.setattr("gateway.catalogue.first_seen.WRITE_WAIT_S", 0.05)
    monkeypatch.setattr("gateway.store.sqlite_file.BUSY_S", 0.1)
    store = tmp_path / "olgate.db"
    async with open_standin() as standin, open_gateway(standin, settings(store)) as pair:
        connection = sqlite3.connect(store, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        assert 200 == (await pair.client.get("/health")).status_code
        shown = await pair.get("/api/tags")
        assert COLD in [model["name"].removesuffix(":latest") for model in shown["models"]]
        answer = await pair.post("/api/chat", chat(COLD, keep_alive="1h"))
        assert 200 == answer.status_code, answer.text
        assert [] == rows(store)
        connection.execute("ROLLBACK")
        connection.close()
        await until(lambda: [COLD] == [identifier for identifier, _ in rows(store)])
        await pair.get("/api/tags")
        await until(lambda: bool(first_seen(store)))


async def test_a_host_is_the_same_however_its_address_is_written(tmp_path: Path) -> None:
    """What was loaded at 127.0.0.1 is adopted at localhost."""
    store = tmp_path / "olgate.db"
    async with open_standin() as standin:
        async with open_gateway(standin, settings(store)) as pair:
            await pair.post("/api/chat", chat(COLD, keep_alive="1h"))
        standin.url = standin.url.replace("127.0.0.1", "LOCALHOST") + "/"
        async with open_gateway(standin, settings(store)) as pair:
            await pair.post("/api/chat", chat(COLD, keep_alive="10ms"))
            await pair.until_answered(UNLOAD)
            assert [] == pair.instances(COLD)


async def test_a_host_that_is_away_when_time_is_up_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing stays for ever because one unload failed."""
    monkeypatch.setattr("gateway.lifecycle.keep_alive.RETRY_S", 0.05)
    async with open_pair() as pair:
        refusal = {"status": 500, "chunks": [[0, '{"error":{"message":"Not now."}}']]}
        pair.script({"match": {"path": UNLOAD}, "nth": 1, "times": 2, "answer": refusal})
        await pair.post("/api/chat", chat(COLD, keep_alive="10ms"))
        await pair.until_answered(UNLOAD, 3)
        assert [] == pair.instances(COLD)


async def test_a_client_that_leaves_during_a_load_leaves_nothing_behind() -> None:
    """The load goes on, nothing is asked of the model, and it goes in its time."""
    async with open_pair({"models": {"keep_alive": "10ms"}}) as pair:
        pair.script({"match": {"path": LOAD}, "hold": "load"})
        asking = asyncio.create_task(pair.post("/api/chat", chat(COLD, stream=True)))
        await pair.until_asked(LOAD)
        asking.cancel()
        await pair.let_pass()
        pair.release("load")
        await pair.until_answered(UNLOAD)
        assert ([], []) == (pair.asked(CHAT), pair.instances(COLD))


async def test_a_host_that_was_restarted_is_loaded_anew() -> None:
    """Nothing of before counts: neither the instance nor the time that a client gave it."""
    async with open_pair() as pair:
        await pair.post("/api/chat", chat(COLD, keep_alive=-1))
        await pair.reset()
        answer = await pair.post("/api/chat", chat(COLD))
        assert 200 == answer.status_code
        assert 1 == len(pair.asked(LOAD))
        assert lifetime((await pair.running())[f"{COLD}:latest"]) < timedelta(minutes=6)


class LateStore(PlayedStore):
    """A store that gets a claim late."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self.may_claim, self.has_claimed = asyncio.Event(), asyncio.Event()

    async def claim_load(self, host: str, gateway: str, identifier: str, document: bytes) -> bool:
        """Claim when it may."""
        await self.may_claim.wait()
        try:
            return await super().claim_load(host, gateway, identifier, document)
        finally:
            self.has_claimed.set()


async def test_a_claim_that_comes_after_the_end_of_its_load_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else no other gateway could load the model while this one lives."""
    monkeypatch.setattr("gateway.lifecycle.ownership.WRITE_WAIT_S", 0.05)
    store = LateStore(Shared())
    ownership = Ownership(store, "http://studio", "one")
    await ownership.start()
    pending = OwnInstance(
        id="pending x",
        state="x",
        key="x",
        request_key="x",
        keep_alive_s=None,
        expires_at=None,
        begun_at=0.0,
        is_pending=True,
    )
    assert await ownership.claim_load(pending)
    ownership.forget(pending.id)
    await ownership.written()
    store.may_claim.set()
    await store.has_claimed.wait()
    await asyncio.sleep(0)
    await ownership.aclose()
    assert {} == store.shared.instances


async def test_who_waits_in_vain_for_another_gateways_load_is_told_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody loads the model: LM Studio is not to blame, and is asked for no load."""

    async def fail(*_: object) -> bool:
        raise StoreFailure("it is away")

    async def no(*_: object) -> bool:
        return False

    async def trouble(_: object) -> str:
        return "the store is away"

    async with open_pair({"models": {"load_timeout_s": 0.3}}) as pair:
        monkeypatch.setattr(SqliteStore, "claim_load", fail)
        monkeypatch.setattr(SqliteStore, "may_load_unclaimed", no)
        monkeypatch.setattr(SqliteStore, "trouble", trouble)
        answer = await pair.client.post("/api/chat", json=chat(COLD))
        assert 504 == answer.status_code
        assert "another gateway was to load it" in answer.text
        assert "the store is away" in answer.text
        assert not pair.asked(LOAD)
