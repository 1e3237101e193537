"""A real Redis for the tests of stores."""

from collections.abc import Iterator

import pytest

from conformance.runner.redis_server import MISSING, RedisServer, find_redis


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests that share it by prefixes; they are skipped where there is none."""
    if find_redis() is None:
        pytest.skip(MISSING)
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        yield server
    finally:
        server.kill()
