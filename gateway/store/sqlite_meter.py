"""
What keys use, counted for all gateways on one SQLite file.

It is in a file of its own next to the store's. Nothing of it must survive a restart, so no write
waits for the disk, and none waits for the store's own.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from ..access.counting import WINDOW_S, Taken, Told, Window, judge
from ..faults import StoreFailure
from ..settings.schema import KeySettings
from . import wal
from .alive import AliveFiles

BUSY_S = 0.5
"""Seconds for which a request waits for another process that counts; that takes microseconds."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS used (
    name     TEXT NOT NULL,
    second   INTEGER NOT NULL,      -- since the epoch
    requests INTEGER NOT NULL,
    tokens   INTEGER NOT NULL,
    PRIMARY KEY (name, second)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS running (
    name    TEXT NOT NULL,
    gateway TEXT NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (name, gateway)
) WITHOUT ROWID;
"""


class SqliteMeter:
    """One gateway's way to the counts."""

    def __init__(self, path: str, alive: AliveFiles) -> None:
        """Count next to the store at `path`; `alive` knows which gateways are alive."""
        self._file = Path(f"{path}.limits")
        self._alive = alive
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="limits")
        self._db: sqlite3.Connection | None = None
        self._is_closed = False

    async def take(self, gateway: str, name: str, limits: KeySettings, told: Told) -> Taken:
        """Keep what a gateway tells of a key, and let requests begin."""
        if self._is_closed:
            raise StoreFailure("the store is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, lambda: self._take(gateway, name, limits, told)
        )

    def close(self) -> None:
        """Finish the work under way and close the file."""
        self._is_closed = True
        self._thread.shutdown()
        if self._db is not None:
            self._db.close()

    def _take(self, gateway: str, name: str, limits: KeySettings, told: Told) -> Taken:
        try:
            if self._db is None:
                self._db = self._open()
            db = self._db
            db.execute("BEGIN IMMEDIATE")
            try:
                taken = self._count(db, gateway, name, limits, told)
            except BaseException:
                db.rollback()
                raise
            db.commit()
        except (sqlite3.Error, OSError) as failure:
            raise StoreFailure(f"{self._file} can't be used: {failure}") from failure
        return taken

    def _open(self) -> sqlite3.Connection:
        db = wal.connect(self._file, BUSY_S)
        try:
            db.execute("PRAGMA synchronous = OFF")
            db.executescript(_SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    def _count(
        self, db: sqlite3.Connection, gateway: str, name: str, limits: KeySettings, told: Told
    ) -> Taken:
        now = time.time()
        second = int(now)
        # Seconds that are still to come are from before the clock was put back.
        db.execute(
            "DELETE FROM used WHERE name = ? AND (second <= ? OR second > ?)",
            (name, second - WINDOW_S, second + 1),
        )
        requests, tokens = Window(), Window()
        with closing(
            db.execute(
                "SELECT second, requests, tokens FROM used WHERE name = ? ORDER BY second", (name,)
            )
        ) as rows:
            for at, number, amount in rows:
                requests.add(at, number)
                tokens.add(at, amount)
        tokens.add(now, told.tokens)
        others = self._others(db, gateway, name, limits, told)
        taken = judge(limits, told, others, requests, tokens, now)
        begun = taken.granted if limits.requests_per_minute else 0
        if begun or told.tokens:
            db.execute(
                "INSERT INTO used VALUES (?, ?, ?, ?) ON CONFLICT (name, second) DO UPDATE SET"
                " requests = requests + excluded.requests, tokens = tokens + excluded.tokens",
                (name, second, begun, told.tokens),
            )
        if running := told.running + taken.granted:
            db.execute("REPLACE INTO running VALUES (?, ?, ?)", (name, gateway, running))
        else:
            db.execute("DELETE FROM running WHERE name = ? AND gateway = ?", (name, gateway))
        return taken

    def _others(
        self, db: sqlite3.Connection, gateway: str, name: str, limits: KeySettings, told: Told
    ) -> int:
        """Return how many requests run through others; the dead are looked for if it matters."""
        found = db.execute(
            "SELECT gateway, number FROM running WHERE name = ? AND gateway <> ?", (name, gateway)
        ).fetchall()
        others: int = sum(number for _, number in found)
        if others + told.running + told.wanted <= limits.max_running:
            return others
        for other, number in found:
            if not self._alive.is_alive(other):
                db.execute("DELETE FROM running WHERE name = ? AND gateway = ?", (name, other))
                others -= number
        return others
