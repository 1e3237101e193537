"""Names on their way between a SQLite file and a Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest_asyncio
from click.testing import CliRunner, Result

from conformance.runner.redis_server import RedisServer
from gateway.cli.main import cli
from gateway.settings.schema import StoreSettings
from gateway.store.redis import RedisStore
from gateway.store.sqlite import SqliteStore

HOST = "http://studio"


def olgate(server: RedisServer, prefix: str, *words: str) -> Result:
    """Run a command with the Redis as the store."""
    environment = {"OLGATE_STORE_URL": server.url, "OLGATE_STORE_PREFIX": prefix}
    return CliRunner().invoke(cli, [*words], env=environment)


@pytest_asyncio.fixture(loop_scope="session")
async def file(tmp_path: Path) -> Path:
    """Return a SQLite store with a name of each kind."""
    path = tmp_path / "store.db"
    store = SqliteStore(str(path))
    await store.put_alias("mine", b"1")
    await store.put_pulled("fetched", b"2")
    await store.note_first_seen(HOST, ["m"], 17)
    store.close()
    return path


def opened(server: RedisServer, prefix: str) -> RedisStore:
    """Open the Redis like a gateway."""
    return RedisStore(StoreSettings(url=server.url, prefix=prefix))


async def test_a_file_moves_into_a_redis(redis_server: RedisServer, file: Path) -> None:
    """What is there already stays, and so does the file."""
    store = opened(redis_server, "moved")
    await store.put_alias("mine", b"theirs")
    await store.put_alias("other", b"3")

    result = await asyncio.to_thread(olgate, redis_server, "moved", "store", "migrate", str(file))

    assert (0, True) == (result.exit_code, "has the 2 names of" in result.output), result.output
    assert {"mine": b"theirs", "other": b"3"} == await store.aliases()
    assert {"fetched": b"2"} == await store.pulled()
    assert {"m": 17} == await store.note_first_seen(HOST, ["m"], 99)
    await store.aclose()


async def test_a_backup_of_a_redis_is_restored(
    redis_server: RedisServer, file: Path, tmp_path: Path
) -> None:
    """It is a file like that of a SQLite store, and takes the place of what is there."""
    backup = tmp_path / "backup.db"
    await asyncio.to_thread(olgate, redis_server, "kept", "store", "migrate", str(file))

    made = await asyncio.to_thread(olgate, redis_server, "kept", "store", "backup", str(backup))
    assert 0 == made.exit_code, made.output

    store = opened(redis_server, "kept")
    await store.put_alias("later", b"4")
    done = await asyncio.to_thread(olgate, redis_server, "kept", "store", "restore", str(backup))
    assert 0 == done.exit_code, done.output
    assert {"mine": b"1"} == await store.aliases()
    assert {"m": 17} == await store.note_first_seen(HOST, ["m"], 99)
    await store.aclose()


def test_what_is_missing_is_said(redis_server: RedisServer, tmp_path: Path) -> None:
    """A file that is not there, and a store that is no Redis."""
    missing = olgate(redis_server, "none", "store", "migrate", str(tmp_path / "none.db"))
    assert "there is no file" in str(missing.output) + str(missing.exception)
    environment = {"OLGATE_STORE_PATH": str(tmp_path / "store.db")}
    result = CliRunner().invoke(cli, ["store", "migrate"], env=environment)
    assert "set store.url" in str(result.output) + str(result.exception)
