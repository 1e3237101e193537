"""
The store in one SQLite file, with one transaction for each call.

What a document means is known to the module that writes it: `aliases` and `ownership`. Nothing of a
request is stored.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping

from ..faults import StoreFailure
from .alive import AliveFiles
from .interface import WANTED_S, AliasChanges, Watcher
from .sqlite_board import SqliteBoard
from .sqlite_file import SqliteFile
from .sqlite_meter import SqliteMeter


class SqliteStore:
    """An open store in a file, which several gateways on one machine may share."""

    def __init__(self, path: str | None) -> None:
        """Open the file; None is memory only. Raises StoreProblem when that is not possible."""
        self._file = SqliteFile(path)
        self._alive = AliveFiles(path)
        self.board = SqliteBoard(self._file, path)
        self.meter = None if path is None else SqliteMeter(path, self._alive)

    def watch(self, watcher: Watcher) -> None:
        """Do nothing: a file tells of no change, and what is in it is read often."""

    async def trouble(self) -> str:
        """Return why nothing can be written now, after a try; empty if it can."""
        try:
            await self._file.run(lambda db: None)
        except StoreFailure as failure:
            return f"the store can't be written: {failure}"
        return ""

    async def may_load_unclaimed(self, host: str, gateway: str, identifier: str) -> bool:
        """Return True: a file can be read while it can't be written, and was asked for claims."""
        return True

    def close(self) -> None:
        """Finish the work under way and close the file."""
        if self.meter is not None:
            self.meter.close()
        self._file.close()

    async def aclose(self) -> None:
        """Finish the work under way and close the file."""
        self.close()

    # -- aliases ------------------------------------------------------------------------------

    async def aliases(self) -> dict[str, bytes]:
        """Return the document of every alias by its name."""
        return await self._file.read(
            lambda db: dict(db.execute("SELECT name, document FROM alias"))
        )

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

        return await self._file.read(work)

    async def put_alias(self, name: str, document: bytes) -> None:
        """Keep an alias, in place of one with the same name."""
        await self._file.run(
            lambda db: db.execute("REPLACE INTO alias VALUES (?, ?)", (name, document))
        )

    async def delete_alias(self, name: str) -> None:
        """Delete an alias; a missing name is not an error."""
        await self._file.run(lambda db: db.execute("DELETE FROM alias WHERE name = ?", (name,)))

    # -- names of downloads -------------------------------------------------------------------

    async def pulled(self) -> dict[str, bytes]:
        """Return the document of every pulled name."""
        return await self._file.read(
            lambda db: dict(db.execute("SELECT name, document FROM pulled"))
        )

    async def put_pulled(self, name: str, document: bytes) -> None:
        """Keep what a pulled name became, in place of what it was before."""
        await self._file.run(
            lambda db: db.execute("REPLACE INTO pulled VALUES (?, ?)", (name, document))
        )

    # -- first sightings ----------------------------------------------------------------------

    async def note_first_seen(self, host: str, keys: Iterable[str], at_ns: int) -> dict[str, int]:
        """Keep a time for each key that has none yet, and return the times of all of them."""
        new = [(host, key, at_ns) for key in keys]

        def work(db: sqlite3.Connection) -> dict[str, int]:
            db.executemany("INSERT OR IGNORE INTO first_seen VALUES (?, ?, ?)", new)
            return dict(db.execute("SELECT key, at_ns FROM first_seen WHERE host = ?", (host,)))

        return await self._file.run(work)

    # -- instances ----------------------------------------------------------------------------

    async def announce(self, gateway: str) -> None:
        """Lock the gateway's file next to the store's, until its process ends."""
        await self._file.in_write_thread(lambda: self._alive.lock(gateway))

    async def withdraw(self, gateway: str) -> None:
        """Release and delete the gateway's file."""

        def work() -> None:
            self._alive.release(gateway)
            self.board.forget(gateway)

        await self._file.in_write_thread(work)

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

        await self._file.run(work)

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
        return await self._file.run(work) if await self._file.read(find_dead) else []

    async def instances_of_others(self, host: str, gateway: str) -> set[str]:
        """Return the identifiers of instances of all other gateways that are alive."""

        def work(db: sqlite3.Connection) -> set[str]:
            rows = db.execute(
                "SELECT id, gateway FROM instance WHERE host = ? AND gateway <> ?", (host, gateway)
            ).fetchall()
            alive = {other: self._alive.is_alive(other) for other in {row[1] for row in rows}}
            return {identifier for identifier, other in rows if alive[other]}

        return await self._file.read(work)

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

        return await self._file.run(work)

    # -- instances in use ---------------------------------------------------------------------

    async def others_alive(self, gateway: str) -> bool:
        """Return whether any other gateway's file is locked."""
        return await self._file.in_read_thread(lambda: self._alive.has_others(gateway))

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

        return await self._file.run(work)

    async def claim_unload(self, host: str, gateway: str, identifier: str) -> float | None:
        """Show that the gateway is unloading an instance, unless another living one uses it."""

        def work(db: sqlite3.Connection) -> float | None:
            rows = db.execute(
                "SELECT gateway, state, at FROM usage WHERE host = ? AND id = ? AND gateway <> ?",
                (host, identifier, gateway),
            ).fetchall()
            if any(state == "using" and self._alive.is_alive(other) for other, state, _ in rows):
                db.execute(
                    "REPLACE INTO usage VALUES (?, ?, ?, 'waiting', ?)",
                    (host, identifier, gateway, time.time()),
                )
                return None
            owner = db.execute(
                "SELECT gateway FROM instance WHERE host = ? AND id = ?", (host, identifier)
            ).fetchone()
            if owner is not None and owner[0] != gateway and self._alive.is_alive(owner[0]):
                return None
            db.execute(
                "REPLACE INTO usage VALUES (?, ?, ?, 'unloading', 0)", (host, identifier, gateway)
            )
            return max((float(at) for _, state, at in rows if state != "waiting"), default=0.0)

        return await self._file.run(work)

    async def wanted_unloads(self, host: str, gateway: str) -> set[str]:
        """Return the instances that another living gateway is unloading, or waits to unload."""

        def work(db: sqlite3.Connection) -> set[str]:
            rows = db.execute(
                "SELECT id, gateway FROM usage WHERE host = ? AND gateway <> ?"
                " AND (state = 'unloading' OR (state = 'waiting' AND at >= ?))",
                (host, gateway, time.time() - WANTED_S),
            ).fetchall()
            return {identifier for identifier, other in rows if self._alive.is_alive(other)}

        return await self._file.read(work)

    async def end_unload(self, host: str, gateway: str, identifier: str) -> None:
        """Show that the gateway is not unloading an instance any more."""
        await self._file.run(
            lambda db: db.execute(
                "DELETE FROM usage WHERE host = ? AND id = ? AND gateway = ?",
                (host, identifier, gateway),
            )
        )
