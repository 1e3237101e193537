"""What a store counts of keys for all gateways on it (`access.shared.Meter`), whatever it is."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import pytest
import pytest_asyncio
import redis

from conformance.runner.redis_server import RedisServer
from gateway.access.counting import Excess, Taken, Told, Window, judge
from gateway.access.shared import Meter
from gateway.faults import StoreFailure
from gateway.settings.schema import KeySettings, StoreSettings
from gateway.store.redis import RedisStore
from gateway.store.sqlite import SqliteStore

STORES = ["sqlite", "redis"]
LEASE_S = 0.5

Opening: TypeAlias = Callable[[], SqliteStore | RedisStore]


@pytest_asyncio.fixture(params=STORES, loop_scope="session")
async def opening(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opening]:
    """Open the same store as often as a test calls this, and close all of them at the end."""
    server: RedisServer | None = None
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
    prefix = sha256(str(tmp_path).encode()).hexdigest()[:16]
    async with AsyncExitStack() as stack:

        def open_one() -> SqliteStore | RedisStore:
            store: SqliteStore | RedisStore
            if server is None:
                store = SqliteStore(str(tmp_path / "store.db"))
            else:
                store = RedisStore(StoreSettings(url=server.url, prefix=prefix, lease_s=LEASE_S))
            stack.push_async_callback(store.aclose)
            return store

        yield open_one


def meter_of(store: SqliteStore | RedisStore) -> Meter:
    """Return what counts in a store that can be shared."""
    assert store.meter is not None
    return store.meter


async def test_requests_of_all_gateways_count_together(opening: Opening) -> None:
    """As many as fit begin; the others are told when there is room. Each key has its own count."""
    one, other = meter_of(opening()), meter_of(opening())
    limits = KeySettings(requests_per_minute=3)
    assert Taken(2) == await one.take("a", "alice", limits, Told(0, 2, 0))
    granted, excess = await other.take("b", "alice", limits, Told(0, 2, 0))
    assert 1 == granted
    assert excess is not None
    assert "requests_per_minute" == excess.limit
    assert 1 <= excess.retry_s <= 60
    granted, again = await one.take("a", "alice", limits, Told(2, 5, 0))
    assert 0 == granted
    assert again is not None
    assert "requests_per_minute" == again.limit
    assert Taken(1) == await one.take("a", "bob", limits, Told(0, 1, 0))


async def test_running_requests_of_all_gateways_count_together(opening: Opening) -> None:
    """One that ends makes room for another gateway; what is told replaces what was told before."""
    stores = opening(), opening()
    for store, gateway in zip(stores, "ab", strict=True):
        await store.announce(gateway)
    one, other = map(meter_of, stores)
    limits = KeySettings(max_running=3)
    full = Excess("max_running", 1)
    assert Taken(2) == await one.take("a", "alice", limits, Told(0, 2, 0))
    assert Taken(1, full) == await other.take("b", "alice", limits, Told(0, 2, 0))
    assert Taken(0, full) == await one.take("a", "alice", limits, Told(2, 1, 0))
    assert Taken(0) == await one.take("a", "alice", limits, Told(1, 0, 0))
    assert Taken(1) == await other.take("b", "alice", limits, Told(1, 1, 0))
    assert Taken(0, full) == await one.take("a", "alice", limits, Told(1, 1, 0))
    for store, gateway in zip(stores, "ab", strict=True):
        await store.withdraw(gateway)


@pytest.mark.parametrize("ends", ["withdraws", "dies"])
async def test_a_gateway_that_ends_gives_its_running_requests_back(
    opening: Opening, ends: str
) -> None:
    """However it ends: nobody tells of the end of its requests."""
    first, second = opening(), opening()
    await first.announce("a")
    await second.announce("b")
    one, other = meter_of(first), meter_of(second)
    limits = KeySettings(max_running=1)
    assert Taken(1) == await one.take("a", "alice", limits, Told(0, 1, 0))
    assert 0 == (await other.take("b", "alice", limits, Told(0, 1, 0))).granted
    if ends == "withdraws":
        await first.withdraw("a")
    elif isinstance(first, SqliteStore):
        # The system releases the lock of a process that ends.
        first._alive._own["a"].close()
    else:
        await first._link._stop()
    while not (await other.take("b", "alice", limits, Told(0, 1, 0))).granted:
        pass
    await second.withdraw("b")


async def test_tokens_of_all_gateways_count_together(opening: Opening) -> None:
    """They are told after they were used, so the last request may go beyond the limit."""
    one, other = meter_of(opening()), meter_of(opening())
    limits = KeySettings(tokens_per_minute=100)
    assert Taken(1) == await one.take("a", "alice", limits, Told(0, 1, 0))
    assert Taken(0) == await one.take("a", "alice", limits, Told(0, 0, 90))
    assert Taken(1) == await other.take("b", "alice", limits, Told(0, 1, 0))
    assert Taken(0) == await other.take("b", "alice", limits, Told(0, 0, 20))
    granted, excess = await one.take("a", "alice", limits, Told(0, 3, 0))
    assert 0 == granted
    assert excess is not None
    assert "tokens_per_minute" == excess.limit
    assert 1 <= excess.retry_s <= 60


async def test_what_is_older_than_a_minute_is_forgotten(
    opening: Opening, redis_server: RedisServer
) -> None:
    """By the clock of the store; the wait ends when enough of it is old."""
    store = opening()
    meter = meter_of(store)
    limits = KeySettings(requests_per_minute=2)
    second = int(time.time())
    # 58 and 61 seconds ago; the first wait ends within 2 seconds.
    before = [(second - 61, 9), (second - 58, 1)]
    if isinstance(store, SqliteStore):
        await meter.take("a", "alice", KeySettings(tokens_per_minute=1), Told(0, 0, 0))
        assert store.meter is not None
        db = store.meter._db
        assert db is not None
        for at, number in before:
            db.execute("INSERT INTO used VALUES ('alice', ?, ?, 0)", (at, number))
    else:
        with redis.Redis(port=redis_server.port) as client:
            key = store._link.layout.key("used", "alice")
            client.hset(key, mapping={f"r{at}": number for at, number in before})
    assert 1 == (await meter.take("a", "alice", limits, Told(0, 1, 0))).granted
    granted, excess = await meter.take("a", "alice", limits, Told(1, 1, 0))
    assert 0 == granted
    assert excess is not None
    assert excess.retry_s <= 2


@pytest.mark.parametrize("seed", range(8))
async def test_every_store_judges_by_the_same_rules(opening: Opening, seed: int) -> None:
    """As `judge` does for one process: the script of Redis has them in another language."""
    draw = random.Random(seed)
    store = opening()
    await store.announce("a")
    await store.announce("b")
    meter = meter_of(store)
    requests, tokens = Window(), Window()
    running = {"a": 0, "b": 0}
    for _ in range(40):
        gateway, other = draw.choice([("a", "b"), ("b", "a")])
        limits = KeySettings(
            max_running=draw.choice([0, 3, 5]),
            requests_per_minute=draw.choice([0, 20, 40]),
            tokens_per_minute=draw.choice([0, 300]),
        )
        # A gateway has counted itself what it tells, so it never asks for more than there is.
        running[gateway] = draw.randrange(running[gateway] + 1)
        told = Told(running[gateway], draw.randrange(4), draw.choice([0, 0, 15]))
        now = time.time()
        tokens.add(now, told.tokens)
        expected = judge(limits, told, running[other], requests, tokens, now)
        found = await meter.take(gateway, "alice", limits, told)
        assert (expected.granted, expected.excess and expected.excess.limit) == (
            found.granted,
            found.excess and found.excess.limit,
        )
        if limits.max_running or isinstance(store, SqliteStore):
            running[gateway] += found.granted
        else:
            # Without a limit on them, Redis is not told of running requests.
            await meter.take(gateway, "alice", KeySettings(max_running=99), Told(*told[:1], 0, 0))
    for gateway in "ab":
        await store.withdraw(gateway)


async def test_a_file_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    """And nothing hangs."""
    store = SqliteStore(str(tmp_path / "store.db"))
    (tmp_path / "store.db.limits").mkdir()
    try:
        with pytest.raises(StoreFailure, match=r"store\.db\.limits can't be used"):
            await meter_of(store).take("a", "alice", KeySettings(max_running=1), Told(0, 1, 0))
    finally:
        await store.aclose()


async def test_a_store_in_memory_is_shared_by_nobody() -> None:
    """So each process counts alone, without a call."""
    store = SqliteStore(None)
    assert None is store.meter
    await store.aclose()
