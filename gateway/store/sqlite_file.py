"""
One SQLite file: its schema, its connections, and work on it in transactions, on threads.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ..faults import StartProblem, StoreFailure
from . import wal
from .hosts import host_identity

T = TypeVar("T")

MEMORY = ":memory:"
BUSY_S = 5.0
"""
Seconds for which a write waits for another process that writes to the same file, from its call on.
A client waits for it, and gateways write for milliseconds.
"""
LATE_BUSY_S = 0.05
"""Seconds for which a write waits whose time was over before its turn: the lock may be free."""
READ_BUSY_S = 0.5
"""
Seconds for which a read waits. In WAL mode a reader waits for no writer, so this is for the short
time in which a file is opened or checkpointed.
"""

_SCHEMA = (
    """
    CREATE TABLE alias (
        name     TEXT PRIMARY KEY,  -- in the form that names compare in: lower case, with defaults
        document BLOB NOT NULL      -- JSON of aliases.Alias
    ) WITHOUT ROWID;
    CREATE TABLE first_seen (
        host  TEXT NOT NULL,        -- LM Studio's address, as hosts.host_identity names it
        key   TEXT NOT NULL,
        at_ns INTEGER NOT NULL,     -- since the epoch
        PRIMARY KEY (host, key)
    ) WITHOUT ROWID;
    CREATE TABLE instance (
        host     TEXT NOT NULL,     -- as above
        id       TEXT NOT NULL,     -- LM Studio's identifier of the instance
        gateway  TEXT NOT NULL,     -- the name of the process that loaded it
        document BLOB NOT NULL,     -- JSON of ownership.OwnInstance
        PRIMARY KEY (host, id)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE usage (
        host    TEXT NOT NULL,
        id      TEXT NOT NULL,      -- LM Studio's identifier of the instance
        gateway TEXT NOT NULL,      -- the name of the process that uses or unloads it
        state   TEXT NOT NULL,      -- using, used, unloading, or waiting to unload
        at      REAL NOT NULL,      -- seconds since the epoch
        PRIMARY KEY (host, id, gateway)
    ) WITHOUT ROWID;
    CREATE TABLE pulled (
        name     TEXT PRIMARY KEY,  -- in the form that names compare in
        document BLOB NOT NULL      -- JSON of pulled_names.PulledName
    ) WITHOUT ROWID;
    """,
    # Triggers count, so that a change by an olgate of the second version counts too.
    """
    CREATE TABLE alias_count (number INTEGER NOT NULL);  -- one row: the changes so far
    CREATE TABLE alias_change (
        name   TEXT PRIMARY KEY,    -- of an alias
        number INTEGER NOT NULL     -- the change that put it
    ) WITHOUT ROWID;
    INSERT INTO alias_count SELECT count(*) FROM alias;
    INSERT INTO alias_change SELECT name, 1 FROM alias;
    CREATE TRIGGER alias_put AFTER INSERT ON alias BEGIN
        UPDATE alias_count SET number = number + 1;
        REPLACE INTO alias_change SELECT NEW.name, number FROM alias_count;
    END;
    CREATE TRIGGER alias_deleted AFTER DELETE ON alias BEGIN
        UPDATE alias_count SET number = number + 1;
        DELETE FROM alias_change WHERE name = OLD.name;
    END;
    """,
    """
    CREATE TABLE session (
        id       TEXT PRIMARY KEY,  -- the identifier that a host gave an answer
        host     TEXT NOT NULL,     -- that host, in the words of who wrote it
        until_at REAL NOT NULL      -- seconds since the epoch
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE drained (
        host TEXT PRIMARY KEY       -- as above
    ) WITHOUT ROWID;
    """,
)
"""One script for each version of the schema, from an empty file on; `user_version` counts them."""

NEWEST_VERSION = len(_SCHEMA)
"""The version of the schema that this olgate writes."""


class StoreProblem(StartProblem):
    """The store's file can't be used; the text names it and the next step."""


class NewerStore(sqlite3.DatabaseError):
    """The file has a schema that this olgate does not know."""


def _advise(error: sqlite3.Error | OSError) -> str:
    """Return what to do about a file that cannot be opened."""
    name = getattr(error, "sqlite_errorname", "")
    if isinstance(error, NewerStore):
        return "update olgate"
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return (
            "restore a copy of it, or move it away with its -wal and -shm files (derived models "
            "in it are lost then)"
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "stop the program that locks it"
    if name.startswith("SQLITE_FULL"):
        return "make room on its disk"
    return "make it and its folder writable"


class SqliteFile:
    """
    An open file. Work runs on threads, so that the event loop never waits for a disk.

    Reads have a connection and a thread of their own: a list must not wait for a write that another
    process holds up.
    """

    def __init__(self, path: str | None) -> None:
        """Open the file; None is memory only. Raises StoreProblem when that is not possible."""
        self._path = path or MEMORY
        self._is_open = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        # A second connection to a store in memory would be a second store.
        self._read_thread = (
            self._thread
            if self._path == MEMORY
            else ThreadPoolExecutor(1, thread_name_prefix="store-read")
        )
        try:
            self._connection = self._reader = self._thread.submit(self._open).result()
            if self._path != MEMORY:
                self._reader = self._read_thread.submit(
                    wal.connect, self._path, READ_BUSY_S
                ).result()
        except (sqlite3.Error, OSError) as error:
            self._thread.shutdown()
            self._read_thread.shutdown()
            raise StoreProblem(
                f"the store {self._path} can't be used ({error}); {_advise(error)}, or name "
                "another file with OLGATE_STORE_PATH"
            ) from error

        self._is_open = True

    def __del__(self) -> None:
        """Tell whoever runs with warnings of a file that nobody has closed."""
        if getattr(self, "_is_open", False):
            warnings.warn(
                f"unclosed store {self._path}", ResourceWarning, stacklevel=1, source=self
            )

    def close(self) -> None:
        """Finish the work under way and close the file."""
        self._is_open = False
        if self._reader is not self._connection:
            self._read_thread.submit(self._reader.close).result()
            self._read_thread.shutdown()
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()

    # -- inside -------------------------------------------------------------------------------

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` as one transaction, which is on the disk afterwards. Raises StoreFailure."""
        until = time.monotonic() + BUSY_S
        return await self.in_write_thread(lambda: self._transact(work, until))

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work`, which only reads, on one state of the file. Raises StoreFailure."""

        def read() -> T:
            self._reader.execute("BEGIN")
            try:
                return work(self._reader)
            finally:
                self._reader.rollback()

        return await self._on(self._read_thread, read)

    async def in_write_thread(self, work: Callable[[], T]) -> T:
        """Run `work`, which uses other files, in turn with writes. Raises StoreFailure."""
        return await self._on(self._thread, work)

    async def in_read_thread(self, work: Callable[[], T]) -> T:
        """Run `work`, which reads other files, in turn with reads. Raises StoreFailure."""
        return await self._on(self._read_thread, work)

    async def _on(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            future = thread.submit(work)
        except RuntimeError as error:
            raise StoreFailure("the store is closed") from error
        try:
            return await asyncio.wrap_future(future)
        except (sqlite3.Error, OSError) as error:
            raise StoreFailure(str(error)) from error

    def _transact(self, work: Callable[[sqlite3.Connection], T], until: float) -> T:
        connection = self._connection
        # Those in front of it may have waited for the lock, too.
        left_s = max(until - time.monotonic(), LATE_BUSY_S)
        connection.execute(f"PRAGMA busy_timeout = {round(left_s * 1000)}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
        return result

    def _open(self) -> sqlite3.Connection:
        if self._path != MEMORY:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        connection = wal.connect(self._path, BUSY_S)
        try:
            # A file that is up to date needs no lock, which another process may hold.
            if _version(connection) != len(_SCHEMA):
                connection.execute("BEGIN IMMEDIATE")
                _update_schema(connection)
                connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _update_schema(connection: sqlite3.Connection) -> None:
    version = _version(connection)
    if version > len(_SCHEMA):
        raise NewerStore("a newer olgate has written it")
    for script in _SCHEMA[version:]:
        for statement in _statements(script):
            connection.execute(statement)
    if version == 1:
        _rename_hosts(connection)
    connection.execute(f"PRAGMA user_version = {len(_SCHEMA)}")


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; those of a trigger are parts of one."""
    statement = ""
    for part in script.split(";")[:-1]:
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _rename_hosts(connection: sqlite3.Connection) -> None:
    """Give hosts their one name; the first version had them as they were written."""
    for table in ("first_seen", "instance"):
        for (host,) in connection.execute(f"SELECT DISTINCT host FROM {table}").fetchall():
            identity = host_identity(host)
            if identity != host:
                connection.execute(
                    f"UPDATE OR IGNORE {table} SET host = ? WHERE host = ?", (identity, host)
                )
                connection.execute(f"DELETE FROM {table} WHERE host = ?", (host,))
