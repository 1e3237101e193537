"""What every store does, whatever is behind its interface (gateway/store/interface.py)."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeAlias

import pytest

from gateway.faults import StoreFailure
from gateway.store.interface import Store
from gateway.store.sqlite import SqliteStore, StoreProblem

HOST = "http://127.0.0.1:1234"
OTHER_HOST = "http://127.0.0.1:4321"

Opening: TypeAlias = Callable[[], Store]


def sqlite_store(folder: Path) -> Store:
    """Open a store in a file, which a second one may share."""
    return SqliteStore(str(folder / "store.db"))


STORES = [sqlite_store]
"""One function for each kind of store; what it opens in one folder is the same store."""


@pytest.fixture(params=STORES)
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opening]:
    """Open the same store as often as a test calls this, and close all of them at the end."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(request.param(tmp_path)))


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
