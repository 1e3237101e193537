"""What every store does, whatever is behind its interface (gateway/store/interface.py)."""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import TypeAlias

import pytest
import pytest_asyncio

from conformance.runner.redis_server import RedisServer
from conformance.tests.gateway.lifecycle.played_store import PlayedStore, Shared
from gateway.faults import StoreFailure
from gateway.settings.schema import StoreSettings
from gateway.store import sqlite_file
from gateway.store.hosts import host_identity
from gateway.store.interface import Store
from gateway.store.redis import RedisStore
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite_file import _SCHEMA, StoreProblem

HOST = "http://127.0.0.1:1234"
OTHER_HOST = "http://127.0.0.1:4321"

Opening: TypeAlias = Callable[[], Store]


def sqlite_store(folder: Path) -> SqliteStore:
    """Open a store in a file, which a second one may share."""
    return SqliteStore(str(folder / "store.db"))


_PLAYED: dict[Path, Shared] = {}


def played_store(folder: Path) -> Store:
    """Open the store in memory with which histories of the lifecycle are played."""
    return PlayedStore(_PLAYED.setdefault(folder, Shared()))


def redis_store(folder: Path, server: RedisServer) -> Store:
    """Open the store of one folder in a server that has those of others, too."""
    prefix = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return RedisStore(StoreSettings(url=server.url, prefix=prefix))


STORES = ["sqlite", "played", "redis"]
"""The kinds of stores; what is opened in one folder is the same store."""


@pytest_asyncio.fixture(params=STORES, loop_scope="session")
async def opening(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opening]:
    """Open the same store as often as a test calls this, and close all of them at the end."""
    kind = request.param
    server = request.getfixturevalue("redis_server") if kind == "redis" else None
    async with AsyncExitStack() as stack:

        def open_one() -> Store:
            if server is not None:
                store = redis_store(tmp_path, server)
            else:
                store = sqlite_store(tmp_path) if kind == "sqlite" else played_store(tmp_path)
            stack.push_async_callback(store.aclose)
            return store

        yield open_one


async def test_an_alias_is_kept_replaced_and_deleted(opening: Opening) -> None:
    """All gateways on the store see the same ones."""
    first, second = opening(), opening()
    await first.put_alias("a", b"1")
    await first.put_alias("b", b"2")
    await second.put_alias("a", b"3")
    assert {"a": b"3", "b": b"2"} == await first.aliases()
    await second.delete_alias("a")
    await second.delete_alias("was never there")
    assert {"b": b"2"} == await first.aliases()


async def test_only_what_changed_is_read_of_the_aliases(opening: Opening) -> None:
    """By any gateway; a deleted one is missing among the names."""
    first, second = opening(), opening()
    assert None is await first.changed_aliases(0)
    await first.put_alias("a", b"1")
    await first.put_alias("b", b"2")
    changes = await second.changed_aliases(0)
    assert changes is not None
    assert (frozenset("ab"), {"a": b"1", "b": b"2"}) == (changes.names, changes.documents)
    assert None is await first.changed_aliases(changes.number)

    await second.put_alias("b", b"3")
    await second.put_alias("c", b"4")
    await second.delete_alias("a")
    later = await first.changed_aliases(changes.number)
    assert later is not None
    assert (frozenset("bc"), {"b": b"3", "c": b"4"}) == (later.names, later.documents)
    await first.delete_alias("c")
    last = await second.changed_aliases(later.number)
    assert last is not None
    assert (frozenset("b"), dict[str, bytes]()) == (last.names, last.documents)
    assert None is await second.changed_aliases(last.number)


async def test_an_older_copy_of_the_store_is_read_anew(opening: Opening) -> None:
    """Its changes have numbers that were seen already."""
    store = opening()
    await store.put_alias("a", b"1")
    changes = await store.changed_aliases(17)
    assert changes is not None
    assert {"a": b"1"} == changes.documents


async def test_a_change_by_an_older_olgate_counts(tmp_path: Path) -> None:
    """It may still run on the file, and knows no numbers; what it left before counts too."""
    file = tmp_path / "store.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as old:
        for script in _SCHEMA[:2]:
            for statement in script.split(";"):
                old.execute(statement)
        old.execute("PRAGMA user_version = 2")
        old.execute("REPLACE INTO alias VALUES ('a', x'31')")
        with closing(sqlite_store(tmp_path)) as store:
            before = await store.changed_aliases(0)
            assert before is not None
            assert {"a": b"1"} == before.documents
            old.execute("REPLACE INTO alias VALUES ('a', x'32')")
            after = await store.changed_aliases(before.number)
            assert after is not None
            assert {"a": b"2"} == after.documents
            old.execute("DELETE FROM alias WHERE name = 'a'")
            last = await store.changed_aliases(after.number)
            assert last is not None
            assert frozenset() == last.names


async def test_a_model_keeps_the_time_when_it_was_first_seen(opening: Opening) -> None:
    """The first gateway that sees it decides, for each host on its own."""
    first, second = opening(), opening()
    assert {"a": 1} == await first.note_first_seen(HOST, ["a"], 1)
    assert {"a": 1, "b": 2} == await second.note_first_seen(HOST, ["a", "b"], 2)
    assert {"a": 3} == await second.note_first_seen(OTHER_HOST, ["a"], 3)


async def test_the_instances_of_a_living_gateway_are_its_own(opening: Opening) -> None:
    """Others learn their identifiers, and can neither take them over nor delete them."""
    first, second = opening(), opening()
    await first.announce("one")
    await second.announce("two")
    await first.update_instances(HOST, "one", {"x": b"1", "y": b"2"})
    await first.update_instances(HOST, "one", {"y": None})
    await second.update_instances(HOST, "two", {"x": None})
    assert {"x"} == await second.instances_of_others(HOST, "two")
    assert set() == await first.instances_of_others(HOST, "one")
    assert set() == await second.instances_of_others(OTHER_HOST, "two")
    assert [] == await second.take_over_instances(HOST, "two")


async def test_the_instances_of_a_dead_gateway_are_taken_over_once(opening: Opening) -> None:
    """By the gateway that asks first; then they are its own."""
    first, second, third = opening(), opening(), opening()
    await first.announce("one")
    await first.update_instances(HOST, "one", {"x": b"1"})
    await first.withdraw("one")
    await second.announce("two")
    await third.announce("three")
    assert set() == await second.instances_of_others(HOST, "two")
    assert [] == await second.take_over_instances(OTHER_HOST, "two")
    assert [b"1"] == await second.take_over_instances(HOST, "two")
    assert [] == await third.take_over_instances(HOST, "three")
    assert {"x"} == await third.instances_of_others(HOST, "three")


async def test_one_gateway_loads_a_model_at_a_time(opening: Opening) -> None:
    """Others can't claim the load until it is over, or they have taken it over."""
    first, second = opening(), opening()
    await first.announce("one")
    await second.announce("two")
    assert await first.claim_load(HOST, "one", "pending x", b"1")
    assert await first.claim_load(HOST, "one", "pending x", b"1")
    assert not await second.claim_load(HOST, "two", "pending x", b"2")
    assert await second.claim_load(OTHER_HOST, "two", "pending x", b"2")
    await first.update_instances(HOST, "one", {"pending x": None, "x": b"1"}, {"x"})
    assert await second.claim_load(HOST, "two", "pending x", b"2")
    await second.withdraw("two")
    assert not await first.claim_load(HOST, "one", "pending x", b"3")
    assert [b"2"] == await first.take_over_instances(HOST, "one")
    assert await first.claim_load(HOST, "one", "pending x", b"3")


async def test_an_instance_that_is_loaded_anew_has_a_new_owner(opening: Opening) -> None:
    """A late word of the old owner changes nothing."""
    first, second = opening(), opening()
    await first.announce("one")
    await second.announce("two")
    await first.update_instances(HOST, "one", {"x": b"1"}, {"x"})
    await second.update_instances(HOST, "two", {"x": b"2"}, {"x"})
    await first.update_instances(HOST, "one", {"x": b"3"})
    assert {"x"} == await first.instances_of_others(HOST, "one")
    assert set() == await second.instances_of_others(HOST, "two")
    assert None is await first.claim_unload(HOST, "one", "x")
    await second.withdraw("two")
    assert [b"2"] == await first.take_over_instances(HOST, "one")


HOUR_S = 3600.0


def at(hour: int) -> float:
    """
    Return a time of one day, which is over.

    A store with a clock of its own counts from there, so hours are told apart, and no seconds.
    """
    return 1_700_000_000.0 + hour * HOUR_S


async def test_an_instance_in_use_is_unloaded_by_nobody_else(opening: Opening) -> None:
    """And nobody begins to use one that is being unloaded."""
    first, second = opening(), opening()
    await first.announce("one")
    await second.announce("two")
    assert set() == await second.use_instances(HOST, "two", {"x": True}, at(5))
    assert None is await first.claim_unload(HOST, "one", "x")
    assert 0.0 == await first.claim_unload(HOST, "one", "y")
    assert 0.0 == await first.claim_unload(OTHER_HOST, "one", "x")
    assert {"y"} == await second.use_instances(HOST, "two", {"x": False, "y": True}, at(7))
    assert await first.claim_unload(HOST, "one", "x") == pytest.approx(at(7), abs=HOUR_S / 2)
    await first.end_unload(HOST, "one", "y")
    assert set() == await second.use_instances(HOST, "two", {"y": True}, at(8))
    assert {"x"} == await second.use_instances(HOST, "two", {"x": True}, at(8))
    await first.withdraw("one")
    assert set() == await second.use_instances(HOST, "two", {"x": True}, at(9))


async def test_a_use_learns_that_an_unload_waits_for_it(opening: Opening) -> None:
    """And that an instance is being unloaded; a dead gateway wants nothing."""
    first, second = opening(), opening()
    await first.announce("one")
    await second.announce("two")
    await second.use_instances(HOST, "two", {"x": True, "z": True}, at(5))
    assert set() == await second.wanted_unloads(HOST, "two")
    assert None is await first.claim_unload(HOST, "one", "x")
    assert 0.0 == await first.claim_unload(HOST, "one", "y")
    assert {"x", "y"} == await second.wanted_unloads(HOST, "two")
    assert set() == await second.wanted_unloads(OTHER_HOST, "two")
    assert set() == await first.wanted_unloads(HOST, "one")
    assert set() == await second.use_instances(HOST, "two", {"x": False}, 0.0)
    never = await first.claim_unload(HOST, "one", "x")
    assert never == pytest.approx(0.0, abs=HOUR_S / 2)
    await first.end_unload(HOST, "one", "x")
    assert {"y"} == await second.wanted_unloads(HOST, "two")
    await first.withdraw("one")
    assert set() == await second.wanted_unloads(HOST, "two")


async def test_a_wish_is_no_use(opening: Opening) -> None:
    """Two gateways that both want to unload an instance don't keep it loaded."""
    first, second, third = opening(), opening(), opening()
    for store, name in ((first, "one"), (second, "two"), (third, "three")):
        await store.announce(name)
    await third.use_instances(HOST, "three", {"x": True}, at(5))
    assert None is await first.claim_unload(HOST, "one", "x")
    assert None is await second.claim_unload(HOST, "two", "x")
    await third.use_instances(HOST, "three", {"x": False}, at(6))
    used_at = await first.claim_unload(HOST, "one", "x")
    assert used_at == pytest.approx(at(6), abs=HOUR_S / 2)


async def test_a_dead_gateway_uses_nothing(opening: Opening) -> None:
    """Its uses are forgotten by the one that takes over what it left."""
    first, second = opening(), opening()
    await first.announce("one")
    await second.announce("two")
    await second.use_instances(HOST, "two", {"x": True}, at(5))
    assert None is await first.claim_unload(HOST, "one", "x")
    await second.withdraw("two")
    assert await first.claim_unload(HOST, "one", "x") == pytest.approx(at(5), abs=HOUR_S / 2)
    assert [] == await first.take_over_instances(HOST, "one")
    assert 0.0 == await first.claim_unload(HOST, "one", "x")


async def test_a_gateway_learns_whether_it_is_alone(opening: Opening) -> None:
    """A dead one is no company."""
    first, second = opening(), opening()
    await first.announce("one")
    assert not await first.others_alive("one")
    await second.announce("two")
    assert await first.others_alive("one")
    assert await second.others_alive("two")
    await second.withdraw("two")
    assert not await first.others_alive("one")


async def test_what_a_pulled_name_became_is_kept(opening: Opening) -> None:
    """The last word counts."""
    first, second = opening(), opening()
    await first.put_pulled("a", b"1")
    await first.put_pulled("a", b"2")
    assert {"a": b"2"} == await second.pulled()


async def test_running_requests_of_all_other_gateways_are_added_up(opening: Opening) -> None:
    """Each model of each host on its own; the last word of a gateway counts."""
    first, second, third = opening(), opening(), opening()
    for store, name in ((first, "one"), (second, "two"), (third, "three")):
        await store.announce(name)
    assert {} == await first.board.exchange_requests("one", {HOST: {"m": 4}})
    assert {HOST: {"m": 4}} == await second.board.exchange_requests("two", {HOST: {"m": 9}})
    assert {HOST: {"m": 4}} == await second.board.exchange_requests("two", {HOST: {"m": 1, "n": 2}})
    expected = {HOST: {"m": 5, "n": 2}}
    assert expected == await third.board.exchange_requests("three", {OTHER_HOST: {"m": 1}})
    await second.withdraw("two")


async def test_a_session_leads_to_its_host_for_a_time(opening: Opening) -> None:
    """All gateways on the store know it."""
    first, second = opening(), opening()
    await first.board.put_session("resp_1", "studio", 60.0)
    await first.board.put_session("resp_2", "tower", 0.001)
    assert "studio" == await second.board.session("resp_1")
    assert None is await second.board.session("resp_3")
    await first.board.put_session("resp_1", "tower", 60.0)
    assert "tower" == await second.board.session("resp_1")
    while await second.board.session("resp_2") is not None:
        await first.board.put_session("resp_2", "tower", 0.0)


async def test_a_drained_host_is_one_for_all_until_it_is_taken_back(opening: Opening) -> None:
    """Twice is like once, and who comes later knows it, too."""
    first, second = opening(), opening()
    assert frozenset() == await first.board.drained()
    for _ in range(2):
        await first.board.put_drained(HOST, is_drained=True)
    await first.board.put_drained(OTHER_HOST, is_drained=True)
    assert {HOST, OTHER_HOST} == await second.board.drained()
    for _ in range(2):
        await second.board.put_drained(HOST, is_drained=False)
    assert {OTHER_HOST} == await opening().board.drained()


async def test_a_store_that_works_has_no_trouble(opening: Opening) -> None:
    """Whoever asks gets an empty sentence."""
    store = opening()
    assert "" == await store.trouble()


async def test_reads_wait_for_no_other_process(tmp_path: Path) -> None:
    """A backup, or an open shell, may hold the lock for long; a new gateway starts all the same."""
    with closing(sqlite_store(tmp_path)) as store:
        await store.put_alias("a", b"1")
        with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.ensure_future(store.put_alias("b", b"2"))
            assert {"a": b"1"} == await store.aliases()
            assert set() == await store.instances_of_others(HOST, "one")
            assert [] == await store.take_over_instances(HOST, "one")
            with closing(sqlite_store(tmp_path)) as second:
                assert {"a": b"1"} == await second.aliases()
            assert not writing.done()
            other.execute("ROLLBACK")
            await writing
        assert {"a": b"1", "b": b"2"} == await store.aliases()


async def test_all_writes_wait_for_a_lock_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the last of many waits for all times together."""
    monkeypatch.setattr(sqlite_file, "BUSY_S", 0.2)
    said: list[str] = []
    with (
        closing(SqliteStore(str(tmp_path / "store.db"))) as store,
        closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other,
    ):
        store._file._connection.set_trace_callback(said.append)
        other.execute("BEGIN IMMEDIATE")
        writes = (store.put_alias(name, b"1") for name in "abcd")
        found = await asyncio.gather(*writes, return_exceptions=True)
        other.execute("ROLLBACK")
        store._file._connection.set_trace_callback(None)
        assert [StoreFailure] * 4 == [type(one) for one in found]
        assert {} == await store.aliases()
        await store.put_alias("e", b"1")
    first, *late = [int(one.rpartition(" ")[2]) for one in said if "busy_timeout" in one]
    assert 200 >= first
    assert [50] * 3 == late


@pytest.mark.parametrize(
    "written",
    [
        "http://localhost:1234",
        "http://127.0.0.1:1234/",
        "HTTP://LocalHost:1234",
        "http://[::1]:1234",
        "http://127.0.0.2:1234",
        "http://[::ffff:127.0.0.1]:1234",
        "http://0.0.0.0:1234",
        "http://localhost.:1234//",
    ],
)
def test_a_host_has_one_name_however_it_is_written(written: str) -> None:
    """Ownership must not end with a change of the setting's spelling."""
    assert "http://localhost:1234" == host_identity(written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("http://Studio.local:80/", "http://studio.local"),
        ("https://studio.local:443/lm/", "https://studio.local/lm"),
        ("https://studio.local:80", "https://studio.local:80"),
        ("http://[FE80::1]:1234", "http://[fe80::1]:1234"),
        ("http://10.0.0.7", "http://10.0.0.7"),
        ("studio", "studio"),
        ("http://x:port", "http://x:port"),
    ],
)
def test_different_hosts_have_different_names(written: str, expected: str) -> None:
    """A path counts, since two hosts may be behind one proxy."""
    assert expected == host_identity(written)


async def test_a_file_of_the_first_version_keeps_what_it_has(tmp_path: Path) -> None:
    """Its hosts get the names that they have now; of two spellings one is left."""
    file = tmp_path / "store.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as old:
        for statement in _SCHEMA[0].split(";"):
            old.execute(statement)
        old.execute("INSERT INTO instance VALUES ('http://127.0.0.1:1234', 'x', 'dead', '1')")
        old.execute("INSERT INTO first_seen VALUES ('http://localhost:1234', 'm', 1)")
        old.execute("INSERT INTO first_seen VALUES ('http://127.0.0.1:1234', 'm', 2)")
        old.execute("PRAGMA user_version = 1")
    with closing(sqlite_store(tmp_path)) as store:
        host = host_identity("http://[::1]:1234")
        assert 1 == len(await store.take_over_instances(host, "one"))
        assert ["m"] == list(await store.note_first_seen(host, [], 3))


async def test_withdrawing_what_was_never_announced_is_fine(opening: Opening) -> None:
    """A gateway that could not announce itself ends like any other."""
    await opening().withdraw("one")


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    """Whoever uses it late can tell that from a fault of its own."""
    store = sqlite_store(tmp_path)
    store.close()
    with pytest.raises(StoreFailure, match="closed"):
        await store.aliases()


async def test_a_file_that_is_broken_meanwhile_fails_as_a_store(tmp_path: Path) -> None:
    """SQLite's own exceptions stay inside; a piece of work is done as a whole or not at all."""
    with closing(sqlite_store(tmp_path)) as store:
        with closing(sqlite3.connect(tmp_path / "store.db")) as other:
            other.execute("DROP TABLE instance")
        with pytest.raises(StoreFailure, match="no such table"):
            await store.update_instances(HOST, "one", {"x": b"1"})
        await store.put_alias("a", b"1")
        assert {"a": b"1"} == await store.aliases()


def test_a_file_that_cannot_be_opened_names_the_setting(tmp_path: Path) -> None:
    """It ends the start with the next step."""
    with pytest.raises(StoreProblem, match="OLGATE_STORE_PATH"):
        SqliteStore(str(tmp_path))


async def test_a_lock_file_that_cannot_be_made_fails_as_a_store(tmp_path: Path) -> None:
    """The gateway then runs on, and others take it for dead."""
    with closing(sqlite_store(tmp_path)) as store:
        (tmp_path / "store.db.one.alive").mkdir()
        with pytest.raises(StoreFailure):
            await store.announce("one")


async def test_the_files_of_dead_gateways_are_cleared(tmp_path: Path) -> None:
    """Each gateway leaves one when it is killed, and nobody else would delete it."""
    dead = [tmp_path / f"store.db.{name}.alive" for name in ("one", "two")]
    for file in dead:
        file.touch()
    with closing(SqliteStore(str(tmp_path / "store.db"))) as store:
        await store.announce("three")

        assert not await store.others_alive("three")

        assert [False, False] == [file.exists() for file in dead]
        await store.withdraw("three")
