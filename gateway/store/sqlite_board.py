"""
What gateways on one SQLite file tell each other for placing requests: running requests, sessions,
drained hosts.

The counts are in small files next to the store's. They change twice a second and need not survive
anything, so they are no transaction.
"""

from __future__ import annotations

import glob
import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from .interface import FRESH_S, Counts, sum_of
from .sqlite_file import SqliteFile

OLD_S = 60.0
"""Seconds after which the file of a gateway that tells nothing any more is deleted."""

CLEAN_S = 60.0
"""Seconds between two looks for sessions that are over."""


_UNDRAIN = "DELETE FROM drained WHERE host = ?"


class SqliteBoard:
    """One gateway's way to the board."""

    def __init__(self, file: SqliteFile, path: str | None) -> None:
        """Use an open store; `path` is its file's, None in memory, which nobody shares."""
        self._file = file
        self._path = path
        self._cleaned_at = 0.0

    async def exchange_requests(
        self, gateway: str, running: Mapping[str, Counts]
    ) -> dict[str, Counts]:
        """Tell the requests that run through a gateway; return those that run through others."""
        if self._path is None:
            return {}
        store, own = Path(self._path), self._file_of(gateway)
        told = msgspec.json.encode(running)

        def work() -> dict[str, Counts]:
            unfinished = own.with_name(own.name + ".new")
            unfinished.write_bytes(told)
            os.replace(unfinished, own)
            return sum_of(_fresh(store, own))

        return await self._file.in_read_thread(work)

    def forget(self, gateway: str) -> None:
        """Delete the file of a gateway that ends."""
        if self._path is not None:
            self._file_of(gateway).unlink(missing_ok=True)

    async def put_session(self, session: str, host: str, lasts_s: float) -> None:
        """Keep the host that gave an answer its identifier."""
        now = time.time()
        # Looking for old ones reads all, so it is done now and then.
        must_clean = not self._cleaned_at <= now < self._cleaned_at + CLEAN_S
        if must_clean:
            self._cleaned_at = now

        def work(db: sqlite3.Connection) -> None:
            if must_clean:
                db.execute("DELETE FROM session WHERE until_at < ?", (now,))
            db.execute("REPLACE INTO session VALUES (?, ?, ?)", (session, host, now + lasts_s))

        await self._file.run(work)

    async def session(self, session: str) -> str | None:
        """Return the host that gave an identifier, None if it is not known."""
        found = await self._file.read(
            lambda db: db.execute(
                "SELECT host FROM session WHERE id = ? AND until_at >= ?", (session, time.time())
            ).fetchone()
        )
        return None if found is None else str(found[0])

    async def put_drained(self, host: str, *, is_drained: bool) -> None:
        """Keep whether a host is drained."""
        text = "REPLACE INTO drained VALUES (?)" if is_drained else _UNDRAIN
        await self._file.run(lambda db: db.execute(text, (host,)))

    async def drained(self) -> frozenset[str]:
        """Return the identities of the drained hosts."""
        found = await self._file.read(lambda db: db.execute("SELECT host FROM drained").fetchall())
        return frozenset(host for (host,) in found)

    def _file_of(self, gateway: str) -> Path:
        return Path(f"{self._path}.{gateway}.requests")


def _fresh(store: Path, own: Path) -> list[bytes]:
    """Return what the files of other gateways say, if that is new; delete those that are old."""
    words = []
    for file in store.parent.glob(f"{glob.escape(store.name)}.*.requests"):
        with suppress(OSError):
            age_s = time.time() - file.stat().st_mtime
            if file != own and age_s <= FRESH_S:
                words.append(file.read_bytes())
            elif age_s > OLD_S:
                file.unlink()
    return words
