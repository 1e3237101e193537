"""Files with a write-ahead log: opened while another process opens or writes them."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from gateway.store import wal


@pytest.fixture(params=["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "BEGIN; SELECT * FROM it"])
def busy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Hold a file that has no log yet in a transaction, as one that opens it does."""
    file = tmp_path / "it.db"
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as db:
        db.execute("CREATE TABLE it (it)")
        for statement in request.param.split("; "):
            db.execute(statement).fetchall()
        yield db


def test_a_file_that_another_one_holds_is_waited_for(
    busy: sqlite3.Connection, tmp_path: Path
) -> None:
    """SQLite itself refuses at once to begin the log; two processes that start may meet so."""
    with ThreadPoolExecutor(1) as threads:
        opening = threads.submit(wal.connect, tmp_path / "it.db", 60.0)
        time.sleep(5 * wal.PAUSE_S)
        busy.rollback()
        with closing(opening.result()) as opened:
            assert [("wal",)] == opened.execute("PRAGMA journal_mode").fetchall()


def test_a_file_that_stays_held_is_not_waited_for_longer(
    busy: sqlite3.Connection, tmp_path: Path
) -> None:
    """The error is SQLite's own, which the store explains."""
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        wal.connect(tmp_path / "it.db", 0.05)


def test_another_error_is_not_tried_again(tmp_path: Path) -> None:
    """A file that is none of SQLite's never becomes one."""
    (tmp_path / "it.db").write_bytes(b"a text that is no database" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        wal.connect(tmp_path / "it.db", 60.0)
