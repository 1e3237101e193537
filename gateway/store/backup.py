"""
Backup and restore of a store's file, also while gateways use it.

A copy of the file alone is no backup: recent changes are in a second file next to it until SQLite
moves them. Restoring puts back what was made (derived models, pulled names, the times when models
were first seen) and leaves what is true now: which instances are loaded or in use, and by whom.
Running gateways read the store anew with every list of models, so they need not be told.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..faults import StoreFailure
from .sqlite import SqliteStore
from .sqlite_file import StoreProblem

RESTORED = ("alias", "first_seen", "pulled")
"""The tables that a backup brings back."""

LEFT = ("instance", "usage", "session", "drained", "alias_change", "alias_count")
"""
The tables that tell what is loaded and in use now, for which a backup's would be out of date, and
those that count the changes of this store, of which a restored alias is one.
"""

BUSY_S = 5.0
"""Seconds to wait for a gateway that is writing."""


def back_up(store: Path, target: Path) -> None:
    """
    Write a whole copy of the store at one moment, in one file that only the user may read.

    A file that is there already is replaced once the copy is whole. Raises StoreFailure when the
    store is missing or can't be read, or the target can't be written.
    """
    if not store.exists():
        raise StoreFailure(f"there is no store at {store} yet, so there is nothing to back up")
    try:
        with _beside(target) as unfinished:
            unfinished.touch(0o600)
            with closing(_open(store)) as source, closing(sqlite3.connect(unfinished)) as copy:
                source.backup(copy)
                # One file, whatever the mode of the store: it is to be copied and mailed as one.
                copy.execute("PRAGMA journal_mode = DELETE")
            os.replace(unfinished, target)
    except (sqlite3.Error, OSError) as error:
        raise StoreFailure(f"the store {store} can't be backed up to {target} ({error})") from error


def restore(source: Path, store: Path) -> None:
    """
    Put a backup's content into the store, in one transaction.

    A backup of an older version is brought up to date first, in a copy. Raises StoreFailure when
    the backup is none, is damaged or of a newer version, or the store can't be written.
    """
    if not source.exists():
        raise StoreFailure(f"there is no file {source}")
    try:
        with _beside(store) as copy:
            _copy_whole(source, copy)
            # Opening brings the schema up to date, of the copy and of the store.
            for file in (copy, store):
                SqliteStore(str(file)).close()
            with closing(_open(store)) as db:
                db.execute("ATTACH ? AS backup", (str(copy),))
                with db:
                    db.execute("BEGIN IMMEDIATE")
                    for table in RESTORED:
                        db.execute(f"DELETE FROM main.{table}")
                        db.execute(f"INSERT INTO main.{table} SELECT * FROM backup.{table}")
    except (sqlite3.Error, OSError, StoreProblem) as error:
        raise StoreFailure(f"{source} can't be restored to {store} ({error})") from error


def _copy_whole(source: Path, copy: Path) -> None:
    """Copy a backup, if it is a store and is not damaged. Raises sqlite3.Error otherwise."""
    with closing(_open(source)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if not {*RESTORED, *LEFT} & tables:
            raise sqlite3.DatabaseError("it is not a backup of a store")
        (found,) = db.execute("PRAGMA quick_check").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(f"it is damaged: {found}")
        with closing(sqlite3.connect(copy)) as target:
            db.backup(target)


def _open(path: Path) -> sqlite3.Connection:
    """Open a file that exists; a missing one is an error, and not a new one."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a private file in the target's folder, and delete it in the end if it is still there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".olgate-") as folder:
        yield Path(folder, "copy.sqlite3")
