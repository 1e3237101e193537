"""
The SQLite file of the store: aliases, first-seen times, and the instances that this gateway loaded.

This module has the file, its schema, and the one way to access it. The modules that read a table
(`aliases`, `first_seen`, `ownership`) interpret its rows. Nothing from a request is stored.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.faults import StartProblem

T = TypeVar("T")

MEMORY = ":memory:"
BUSY_S = 5.0
"""Seconds to wait for another gateway that writes to the same file."""

_SCHEMA = (
    """
    CREATE TABLE alias (
        name     TEXT PRIMARY KEY,  -- as compared: in lower case, with its defaults
        document BLOB NOT NULL      -- JSON of aliases.Alias
    ) WITHOUT ROWID;
    CREATE TABLE first_seen (
        host  TEXT NOT NULL,        -- LM Studio's address
        key   TEXT NOT NULL,
        at_ns INTEGER NOT NULL,     -- since the epoch
        PRIMARY KEY (host, key)
    ) WITHOUT ROWID;
    CREATE TABLE instance (
        host     TEXT NOT NULL,     -- LM Studio's address
        id       TEXT NOT NULL,     -- LM Studio's name of the loaded copy
        gateway  TEXT NOT NULL,     -- who loaded it, by the name of one process
        document BLOB NOT NULL,     -- JSON of ownership.Owned
        PRIMARY KEY (host, id)
    ) WITHOUT ROWID;
    """,
)
"""One script for each version of the schema, from an empty file on; `user_version` counts them."""


class StoreProblem(StartProblem):
    """The file cannot be used; one sentence names it and the next step."""


class Store:
    """
    An open store. All work runs on one separate thread, so the event loop never waits for the disk.

    Several gateways may share a file: each call is one transaction.
    """

    def __init__(self, path: str | None) -> None:
        """Open the file; None is memory only. Raises StoreProblem."""
        self._path = path or MEMORY
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            self._connection = self._thread.submit(self._open).result()
        except (sqlite3.Error, OSError) as error:
            self._thread.shutdown()
            raise StoreProblem(
                f"the store {self._path} can't be used ({error}); "
                "make it writable, or name another file with OLGATE_STORE_PATH"
            ) from error

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` as one transaction, which is on the disk on return. Raises sqlite3.Error."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self.run_now, work)

    def run_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` as one transaction in this thread; for the start, before the loop runs."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
        return result

    def close(self) -> None:
        """Finish the running work and close the file."""
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()

    def _open(self) -> sqlite3.Connection:
        if self._path != MEMORY:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        # This class manages transactions (isolation_level None); the connection has its own thread.
        connection = sqlite3.connect(
            self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(_SCHEMA):
                raise sqlite3.DatabaseError("a newer olgate has written it")
            for script in _SCHEMA[version:]:
                for statement in script.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(_SCHEMA)}")
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection
