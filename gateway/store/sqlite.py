"""
The store in one SQLite file: its schema, and one transaction for each call.

What a document means is known to the module that writes it: `aliases` and `ownership`. Nothing of a
request is stored.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ..faults import StartProblem, StoreFailure
from .alive import AliveFiles
from .hosts import host_identity
from .interface import AliasChanges

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
        state   TEXT NOT NULL,      -- using, used, or unloading
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


class SqliteStore:
    """
    An open store in a file. Work runs on threads, so that the event loop never waits for a disk.

    Several gateways on one machine may share a file: each call is one transaction. Reads have a
    connection and a thread of their own: a list must not wait for a write that another process
    holds up.
    """

    def __init__(self, path: str | None) -> None:
        """Open the file; None is memory only. Raises StoreProblem when that is not possible."""
        self._path = path or MEMORY
        self._alive = AliveFiles(path)
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
                self._reader = self._read_thread.submit(self._connect, READ_BUSY_S).result()
        except (sqlite3.Error, OSError) as error:
            self._thread.shutdown()
            self._read_thread.shutdown()
            raise StoreProblem(
                f"the store {self._path} can't be used ({error}); {_advise(error)}, or name "
                "another file with OLGATE_STORE_PATH"
            ) from error

    def close(self) -> None:
        """Finish the work under way and close the file."""
        if self._reader is not self._connection:
            self._read_thread.submit(self._reader.close).result()
            self._read_thread.shutdown()
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()

    # -- aliases ------------------------------------------------------------------------------

    async def aliases(self) -> dict[str, bytes]:
        """Return the document of every alias by its name."""
        return await self._read(lambda db: dict(db.execute("SELECT name, document FROM alias")))

    async def changed_aliases(self, since: int) -> AliasChanges | None:
        """Return what has changed since a change; only documents that were put since are read."""

        def work(db: sqlite3.Connection) -> AliasChanges | None:
            (number,) = db.execute("SELECT number FROM alias_count").fetchone()
            if number == since:
                return None
            after = since if since < number else 0
            documents = db.execute(
                "SELECT name, document FROM alias_change JOIN alias USING (name) WHERE number > ?",
                (after,),
            )
            names = db.execute("SELECT name FROM alias_change")
            return AliasChanges(number, frozenset(name for (name,) in names), dict(documents))

        return await self._read(work)

    async def put_alias(self, name: str, document: bytes) -> None:
        """Keep an alias, in place of one with the same name."""
        await self._run(lambda db: db.execute("REPLACE INTO alias VALUES (?, ?)", (name, document)))

    async def delete_alias(self, name: str) -> None:
        """Delete an alias; a missing name is not an error."""
        await self._run(lambda db: db.execute("DELETE FROM alias WHERE name = ?", (name,)))

    # -- names of downloads -------------------------------------------------------------------

    async def pulled(self) -> dict[str, bytes]:
        """Return the document of every pulled name."""
        return await self._read(lambda db: dict(db.execute("SELECT name, document FROM pulled")))

    async def put_pulled(self, name: str, document: bytes) -> None:
        """Keep what a pulled name became, in place of what it was before."""
        await self._run(
            lambda db: db.execute("REPLACE INTO pulled VALUES (?, ?)", (name, document))
        )

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
        await self._on(self._thread, lambda: self._alive.lock(gateway))

    async def withdraw(self, gateway: str) -> None:
        """Release and delete the gateway's file."""
        await self._on(self._thread, lambda: self._alive.release(gateway))

    async def update_instances(
        self,
        host: str,
        gateway: str,
        changed: Mapping[str, bytes | None],
        loaded: Collection[str] = (),
    ) -> None:
        """Keep instances as the gateway's own; None deletes one, if it is the gateway's."""

        def work(db: sqlite3.Connection) -> None:
            for identifier, document in changed.items():
                if document is None:
                    db.execute(
                        "DELETE FROM instance WHERE host = ? AND id = ? AND gateway = ?",
                        (host, identifier, gateway),
                    )
                    continue
                if identifier in loaded:
                    db.execute("DELETE FROM instance WHERE host = ? AND id = ?", (host, identifier))
                db.execute(
                    "INSERT INTO instance (host, id, gateway, document) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (host, id) DO UPDATE SET document = excluded.document"
                    " WHERE gateway = excluded.gateway",
                    (host, identifier, gateway, document),
                )

        await self._run(work)

    async def take_over_instances(self, host: str, gateway: str) -> list[bytes]:
        """Give the instances of all dead gateways to this one, and return their documents."""

        def find_dead(db: sqlite3.Connection) -> list[str]:
            others = db.execute(
                "SELECT gateway FROM instance WHERE host = ? AND gateway <> ?"
                " UNION SELECT gateway FROM usage WHERE host = ? AND gateway <> ?",
                (host, gateway, host, gateway),
            ).fetchall()
            return [other for (other,) in others if not self._alive.is_alive(other)]

        def work(db: sqlite3.Connection) -> list[bytes]:
            documents: list[bytes] = []
            for dead in find_dead(db):
                db.execute("DELETE FROM usage WHERE host = ? AND gateway = ?", (host, dead))
                found = db.execute(
                    "SELECT document FROM instance WHERE host = ? AND gateway = ?", (host, dead)
                )
                documents += [document for (document,) in found]
                db.execute(
                    "UPDATE instance SET gateway = ? WHERE host = ? AND gateway = ?",
                    (gateway, host, dead),
                )
            return documents

        # The look before it needs no lock, and mostly finds nothing to take over.
        return await self._run(work) if await self._read(find_dead) else []

    async def instances_of_others(self, host: str, gateway: str) -> set[str]:
        """Return the identifiers of instances of all other gateways that are alive."""

        def work(db: sqlite3.Connection) -> set[str]:
            rows = db.execute(
                "SELECT id, gateway FROM instance WHERE host = ? AND gateway <> ?", (host, gateway)
            ).fetchall()
            alive = {other: self._alive.is_alive(other) for other in {row[1] for row in rows}}
            return {identifier for identifier, other in rows if alive[other]}

        return await self._read(work)

    async def claim_load(self, host: str, gateway: str, identifier: str, document: bytes) -> bool:
        """Keep a document under an identifier, unless another gateway has one there."""

        def work(db: sqlite3.Connection) -> bool:
            found = db.execute(
                "SELECT gateway FROM instance WHERE host = ? AND id = ?", (host, identifier)
            ).fetchone()
            if found is not None and found[0] != gateway:
                return False
            db.execute(
                "INSERT OR REPLACE INTO instance (host, id, gateway, document) VALUES (?, ?, ?, ?)",
                (host, identifier, gateway, document),
            )
            return True

        return await self._run(work)

    # -- instances in use ---------------------------------------------------------------------

    async def others_alive(self, gateway: str) -> bool:
        """Return whether any other gateway's file is locked."""
        return await self._on(self._read_thread, lambda: self._alive.has_others(gateway))

    async def use_instances(
        self, host: str, gateway: str, uses: Mapping[str, bool], at: float
    ) -> set[str]:
        """Show which instances the gateway uses; return those that another one is unloading."""

        def work(db: sqlite3.Connection) -> set[str]:
            leaving = set()
            for identifier, is_used in uses.items():
                rows = db.execute(
                    "SELECT gateway FROM usage WHERE host = ? AND id = ? AND gateway <> ?"
                    " AND state = 'unloading'",
                    (host, identifier, gateway),
                ).fetchall()
                if is_used and any(self._alive.is_alive(other) for (other,) in rows):
                    leaving.add(identifier)
                    continue
                db.execute(
                    "REPLACE INTO usage VALUES (?, ?, ?, ?, ?)",
                    (host, identifier, gateway, "using" if is_used else "used", at),
                )
            return leaving

        return await self._run(work)

    async def claim_unload(self, host: str, gateway: str, identifier: str) -> float | None:
        """Show that the gateway is unloading an instance, unless another living one uses it."""

        def work(db: sqlite3.Connection) -> float | None:
            rows = db.execute(
                "SELECT gateway, state, at FROM usage WHERE host = ? AND id = ? AND gateway <> ?",
                (host, identifier, gateway),
            ).fetchall()
            if any(state == "using" and self._alive.is_alive(other) for other, state, _ in rows):
                return None
            owner = db.execute(
                "SELECT gateway FROM instance WHERE host = ? AND id = ?", (host, identifier)
            ).fetchone()
            if owner is not None and owner[0] != gateway and self._alive.is_alive(owner[0]):
                return None
            db.execute(
                "REPLACE INTO usage VALUES (?, ?, ?, 'unloading', 0)", (host, identifier, gateway)
            )
            return max((float(at) for _, _, at in rows), default=0.0)

        return await self._run(work)

    async def end_unload(self, host: str, gateway: str, identifier: str) -> None:
        """Show that the gateway is not unloading an instance any more."""
        await self._run(
            lambda db: db.execute(
                "DELETE FROM usage WHERE host = ? AND id = ? AND gateway = ?",
                (host, identifier, gateway),
            )
        )

    # -- inside -------------------------------------------------------------------------------

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` as one transaction, which is on the disk afterwards. Raises StoreFailure."""
        until = time.monotonic() + BUSY_S
        return await self._on(self._thread, lambda: self._transact(work, until))

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work`, which only reads, on one state of the file. Raises StoreFailure."""

        def read() -> T:
            self._reader.execute("BEGIN")
            try:
                return work(self._reader)
            finally:
                self._reader.rollback()

        return await self._on(self._read_thread, read)

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
        connection = self._connect(BUSY_S)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # A file that is up to date needs no lock, which another process may hold.
            if _version(connection) != len(_SCHEMA):
                connection.execute("BEGIN IMMEDIATE")
                _update_schema(connection)
                connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, busy_s: float) -> sqlite3.Connection:
        # With isolation_level None, transactions begin and end where this module says so.
        return sqlite3.connect(
            self._path, timeout=busy_s, isolation_level=None, check_same_thread=False
        )


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
