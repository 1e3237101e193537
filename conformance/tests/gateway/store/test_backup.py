"""A backup is whole at one moment, and brings back what was made, not what was loaded."""

from __future__ import annotations

import re
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.main import cli
from gateway.faults import StoreFailure
from gateway.store import backup, sqlite_file
from gateway.store.sqlite import SqliteStore

HOST = "http://127.0.0.1:1234"


async def fill(store: SqliteStore) -> None:
    """Put one thing of each kind into a store."""
    await store.put_alias("mine", b"one")
    await store.put_pulled("fetched", b"key")
    await store.note_first_seen(HOST, ["key"], 1)
    await store.announce("gateway")
    await store.use_instances(HOST, "gateway", {"loaded-then": True}, 1.0)
    await store.update_instances(HOST, "gateway", {"loaded-then": b"{}"})


async def test_a_backup_of_a_running_store_has_its_latest_change(tmp_path: Path) -> None:
    """The file alone lacks it: it is still in SQLite's second file."""
    path, target = tmp_path / "store.db", tmp_path / "backup.db"
    with closing(SqliteStore(str(path))) as running:
        await fill(running)
        backup.back_up(path, target)

        assert ["backup.db"] == [name for name in files(tmp_path) if name.startswith("backup")]
    with closing(SqliteStore(str(target))) as copy:
        assert {"mine": b"one"} == await copy.aliases()


async def test_restoring_brings_back_models_and_leaves_instances(tmp_path: Path) -> None:
    """An instance of then may have another owner by now: it would be unloaded under them."""
    path, target = tmp_path / "store.db", tmp_path / "backup.db"
    with closing(SqliteStore(str(path))) as running:
        await fill(running)
        backup.back_up(path, target)
        await running.delete_alias("mine")
        await running.put_alias("later", b"two")
        before = await running.changed_aliases(0)
        await running.put_pulled("fetched", b"other")
        await running.put_pulled("later", b"two")
        await running.update_instances(HOST, "gateway", {"loaded-then": None, "loaded-now": b"{}"})
        await running.use_instances(
            HOST, "gateway", {"loaded-then": False, "loaded-now": True}, 2.0
        )

        backup.restore(target, path)

        assert {"mine": b"one"} == await running.aliases()
        assert before is not None
        after = await running.changed_aliases(before.number)
        assert after is not None
        assert (frozenset({"mine"}), {"mine": b"one"}) == (after.names, after.documents)
        assert {"fetched": b"key"} == await running.pulled()
        assert {"key": 1} == await running.note_first_seen(HOST, ["key"], 2)
        assert {"loaded-now"} == await running.instances_of_others(HOST, "other")
        assert await running.claim_unload(HOST, "other", "loaded-now") is None
        assert 2.0 == await running.claim_unload(HOST, "other", "loaded-then")
        await running.withdraw("gateway")


async def test_a_backup_can_be_restored_where_there_is_no_store(tmp_path: Path) -> None:
    """On a new machine."""
    path, target = tmp_path / "store.db", tmp_path / "new" / "store.db"
    with closing(SqliteStore(str(path))) as store:
        await store.put_alias("mine", b"one")

    backup.restore(path, target)

    with closing(SqliteStore(str(target))) as restored:
        assert {"mine": b"one"} == await restored.aliases()


def files(folder: Path) -> list[str]:
    """Return the names of a folder's files."""
    return sorted(file.name for file in folder.iterdir())


def test_a_backup_is_private(tmp_path: Path) -> None:
    """System texts of models may be somebody's own."""
    path, target = tmp_path / "store.db", tmp_path / "backup.db"
    SqliteStore(str(path)).close()

    backup.back_up(path, target)

    assert not stat.S_IMODE(target.stat().st_mode) & 0o077


def test_every_table_is_restored_or_left() -> None:
    """A new table needs a decision."""
    tables = re.findall(r"CREATE TABLE (\w+)", "".join(sqlite_file._SCHEMA))

    assert sorted({*backup.RESTORED, *backup.LEFT}) == sorted(set(tables))


def no_file(path: Path) -> None:
    """Leave it missing."""


def words(path: Path) -> None:
    """Make a file that is no database."""
    path.write_text("hello " * 1000, "utf-8")


def foreign(path: Path) -> None:
    """Make somebody else's database."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE other (a)")


def newer(path: Path) -> None:
    """Make a store of a later version."""
    SqliteStore(str(path)).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def cut(path: Path) -> None:
    """Make a backup of which the end is missing."""
    SqliteStore(str(path)).close()
    with closing(sqlite3.connect(path)) as db:
        db.executemany("INSERT INTO alias VALUES (?, ?)", [(str(n), b"x" * 999) for n in range(99)])
        db.commit()
        db.execute("PRAGMA journal_mode = DELETE")
    path.write_bytes(path.read_bytes()[:20_000])


@pytest.mark.parametrize("make", [no_file, words, foreign, newer, cut])
async def test_what_is_no_backup_changes_nothing(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """Each ends with a sentence, and the store is as it was."""
    path, source = tmp_path / "store.db", tmp_path / "backup.db"
    make(source)
    with closing(SqliteStore(str(path))) as store:
        await store.put_alias("mine", b"one")

        with pytest.raises(StoreFailure, match=re.escape(str(source))):
            backup.restore(source, path)

        assert {"mine": b"one"} == await store.aliases()
    assert {"backup.db", "store.db"} >= set(files(tmp_path))


def test_a_target_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """And a store that is not there."""
    path = tmp_path / "store.db"
    with pytest.raises(StoreFailure, match="nothing to back up"):
        backup.back_up(path, tmp_path / "backup.db")
    SqliteStore(str(path)).close()
    (tmp_path / "file").touch()
    with pytest.raises(StoreFailure, match="can't be backed up"):
        backup.back_up(path, tmp_path / "file" / "backup.db")


def test_the_commands_back_up_and_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the store of the settings; one in memory has a sentence of its own."""
    monkeypatch.setenv("OLGATE_STORE_PATH", str(tmp_path / "store.db"))
    SqliteStore(str(tmp_path / "store.db")).close()
    target = str(tmp_path / "backup.db")

    for command in ("backup", "restore"):
        assert 0 == CliRunner().invoke(cli, ["store", command, target]).exit_code
    monkeypatch.setenv("OLGATE_STORE_PATH", ":memory:")
    result = CliRunner().invoke(cli, ["store", "backup", target])
    assert 1 == result.exit_code
    assert "in memory" in result.output
