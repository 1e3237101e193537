"""
The store in one SQLite file: its schema, and one transaction for each call.

What a document means is known to the module that writes it: `aliases` and `ownership`. Nothing of a
request is stored.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.faults import StartProblem, StoreFailure
from gateway.store.alive import AliveFiles

T = TypeVar("T")

MEMORY = ":memory:"
BUSY_S = 5.0
"""Seconds to wait for another gateway that writes to the same file."""

_SCHEMA = (
    """
    CREATE TABLE alias (
        name     TEXT PRIMARY KEY,  -- in the form that names compare in: lower case, with defaults
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
        id       TEXT NOT NULL,     -- LM Studio's identifier of the instance
        gateway  TEXT NOT NULL,     -- the name of the process that loaded it
        document BLOB NOT NULL,     -- JSON of ownership.OwnInstance
        PRIMARY KEY (host, id)
    ) WITHOUT ROWID;
    """,
)
"""One script for each version of the schema, from an empty file on; `user_version` counts them."""


class StoreProblem(StartProblem):
    """The store's file can't be used; the text names it and the next step."""


class SqliteStore:
    """
    An open store in a file. Work runs on one thread, so that the event loop never waits for a disk.

    Several gateways on one machine may share a file: each call is one transaction.
    """

    def __init__(self, path: str | None) -> None:
        """Open the file; None is memory only. Raises StoreProblem when that is not possible."""
        self._path = path or MEMORY
        self._alive = AliveFiles(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            self._connection = self._thread.submit(self._open).result()
        except (sqlite3.Error, OSError) as error:
            self._thread.shutdown()
            raise StoreProblem(
                f"the store {self._path} can't be used ({error}); "
                "make it writable, or name another file with OLGATE_STORE_PATH"
            ) from error

    def close(self) -> None:
        """Finish the work under way and close the file."""
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()

    # -- aliases ------------------------------------------------------------------------------

    async def aliases(self) -> dict[str, bytes]:
        """Return the document of every alias by its name."""
        return await self._run(lambda db: dict(db.execute("SELECT name, document FROM alias")))

    async def put_alias(self, name: str, document: bytes) -> None:
        """Keep an alias, in place of one with the same name."""
        await self._run(lambda db: db.execute("REPLACE INTO alias VALUES (?, ?)", (name, document)))

    async def delete_alias(self, name: str) -> None:
        """Delete an alias; a missing name is not an error."""
        await self._run(lambda db: db.execute("DELETE FROM alias WHERE name = ?", (name,)))

    # -- first sightings ----------------------------------------------------------------------

    async def note_first_seen(self, host: str, keys: Iterable[str], at_ns: int) -> dict[str, int]:
        """Keep a time for each key that has none yet, and return the times of all of them."""
        new = [(host, key, at_ns) for key in keys]

        def work(db: sqlite3.Connection) -> dict[str, int]:
            db.executemany("INSERT OR IGNORE INTO first_seen VALUES (?, ?, ?)", new)
            return dict(db.execute("SELECT key, at_ns FROM first_seen WHERE host = ?", (host,)))

        return await self._run(work)

    # -- instances ----------------------------------------------------------------------------

    async def announce(self, gateway: str) -> None:
        """Lock the gateway's file next to the store's, until its process ends."""
        await self._in_thread(lambda: self._alive.lock(gateway))

    async def withdraw(self, gateway: str) -> None:
        """Release and delete the gateway's file."""
        await self._in_thread(lambda: self._alive.release(gateway))

    async def update_instances(
        self, host: str, gateway: str, changed: Mapping[str, bytes | None]
    ) -> None:
        """Keep instances as the gateway's own; None deletes one, if it is the gateway's."""

        def work(db: sqlite3.Connection) -> None:
            for identifier, document in changed.items():
                if document is None:
                    db.execute(
                        "DELETE FROM instance WHERE host = ? AND id = ? AND gateway = ?",
                        (host, identifier, gateway),
                    )
                else:
                    db.execute(
                        "INSERT OR REPLACE INTO instance (host, id, gateway, document)"
                        " VALUES (?, ?, ?, ?)",
                        (host, identifier, gateway, document),
                    )

        await self._run(work)

    async def take_over_instances(self, host: str, gateway: str) -> list[bytes]:
        """Give the instances of all dead gateways to this one, and return their documents."""

        def work(db: sqlite3.Connection) -> list[bytes]:
            others = db.execute(
                "SELECT DISTINCT gateway FROM instance WHERE host = ? AND gateway <> ?",
                (host, gateway),
            ).fetchall()
            documents: list[bytes] = []
            for (dead,) in others:
                if self._alive.is_alive(dead):
                    continue
                found = db.execute(
                    "SELECT document FROM instance WHERE host = ? AND gateway = ?", (host, dead)
                )
                documents += [document for (document,) in found]
                db.execute(
                    "UPDATE instance SET gateway = ? WHERE host = ? AND gateway = ?",
                    (gateway, host, dead),
                )
            return documents

        return await self._run(work)

    async def instances_of_others(self, host: str, gateway: str) -> set[str]:
        """Return the identifiers of instances of all other gateways that are alive."""

        def work(db: sqlite3.Connection) -> set[str]:
            rows = db.execute(
                "SELECT id, gateway FROM instance WHERE host = ? AND gateway <> ?", (host, gateway)
            ).fetchall()
            alive = {other: self._alive.is_alive(other) for other in {row[1] for row in rows}}
            return {identifier for identifier, other in rows if alive[other]}

        return await self._run(work)

    # -- inside -------------------------------------------------------------------------------

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` as one transaction, which is on the disk afterwards. Raises StoreFailure."""
        return await self._in_thread(lambda: self._transact(work))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            future = self._thread.submit(work)
        except RuntimeError as error:
            raise StoreFailure("the store is closed") from error
        try:
            return await asyncio.wrap_future(future)
        except (sqlite3.Error, OSError) as error:
            raise StoreFailure(str(error)) from error

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
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
        # With isolation_level None, transactions begin and end where this module says so.
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
