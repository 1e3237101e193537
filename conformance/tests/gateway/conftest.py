"""
Fixtures: a gateway in front of a stand-in, both in their default state, and real Redis servers.

All tests here run in one loop, so that a pair can outlive a test: making a gateway takes longer
than most of what is asked of it.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from conformance.runner.redis_server import MISSING, RedisServer, Starting, find_redis
from conformance.tests.gateway.support import Pair, caching, open_pair
from gateway.observability.record import current_id

HERE = Path(__file__).parent

LENT = {"lasting_pair", "pair", "lasting_kept", "kept", "fresh"}
"""The fixtures below: they share a loop, and a test that uses one must run in it."""

OWN_LOOPS = {"server", "upstream"}
"""Rooms whose tests start servers of their own, each in the loop of its test."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the tests share a loop, but for those that start servers of their own."""
    for item in items:
        if HERE not in item.path.parents or not pytest_asyncio.is_async_test(item):
            continue
        is_lent = bool(LENT & set(getattr(item, "fixturenames", ())))
        if is_lent or item.path.parent.name not in OWN_LOOPS:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(autouse=True)
def outside_of_requests() -> Iterator[None]:
    """See that a test leaves no request behind: the log lines of later ones would have its id."""
    yield
    assert current_id() is None, "this test has made a record the current one and has not left it"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lasting_pair() -> AsyncIterator[Pair]:
    """Run a pair for all tests that leave nothing in it."""
    async with open_pair() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def pair(lasting_pair: Pair) -> Pair:
    """
    Lend the pair that lasts, its stand-in as at the start.

    The gateway asks for the catalogue with each request. What it knows of models in use and of
    their time stays from test to test: who looks at that needs a `fresh` one.
    """
    await lasting_pair.reset()
    return lasting_pair


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lasting_kept() -> AsyncIterator[Pair]:
    """Run a pair as `kept` lends it."""
    async with open_pair(caching()) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def kept(lasting_kept: Pair) -> Pair:
    """Lend a pair whose gateway keeps the catalogue, and has just seen the stand-in's start."""
    await lasting_kept.reset()
    await lasting_kept.get("/health")
    lasting_kept.forget()
    return lasting_kept


@pytest_asyncio.fixture(loop_scope="session")
async def fresh() -> AsyncIterator[Pair]:
    """Run a pair for one test."""
    async with open_pair() as running:
        yield running


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests that share it by prefixes; they are skipped where there is none."""
    if find_redis() is None:
        pytest.skip(MISSING)
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Starting]:
    """Start servers for one test, which may kill them; they end with it."""
    if find_redis() is None:
        pytest.skip(MISSING)
    servers: list[RedisServer] = []

    def start(*given: str, keeps: bool = True) -> RedisServer:
        folder = tmp_path / f"redis-{len(servers)}"
        folder.mkdir()
        servers.append(RedisServer(folder, *given, keeps=keeps))
        return servers[-1]

    try:
        yield start
    finally:
        for server in servers:
            server.close()
