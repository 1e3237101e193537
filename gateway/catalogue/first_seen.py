"""
The time at which each model was first seen, for the `modified_at` of listings: LM Studio does not
state when a model was downloaded.

The times are in the store. If the store fails, that is logged, and a time lasts as long as the
process.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

from gateway.observability.journal import get_logger
from gateway.store.sqlite import Store
from gateway.wire.times import local_text


class FirstSeen:
    """The times of one host's models; all gateways on one store agree on them."""

    def __init__(self, store: Store, host: str) -> None:
        self._store = store
        self._host = host
        self._known: dict[str, int] = {}
        self._log = get_logger()

    def at(self, key: str) -> str:
        """Return the time of a noted model, in the form for listings."""
        return local_text(self._known[key] / 1e9)

    async def note(self, keys: Iterable[str]) -> None:
        """Note models that exist now; a model that was noted before keeps its time."""
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        if not new:
            return
        now = time.time_ns()
        try:
            known = await self._store.run(lambda db: self._note(db, new, now))
        except sqlite3.Error as error:
            self._log.warning("the store can't be used", table="first_seen", reason=str(error))
            known = {}
        self._known |= {key: known.get(key, now) for key in new}

    def _note(self, db: sqlite3.Connection, keys: list[str], now: int) -> dict[str, int]:
        db.executemany(
            "INSERT OR IGNORE INTO first_seen VALUES (?, ?, ?)",
            [(self._host, key, now) for key in keys],
        )
        return dict(db.execute("SELECT key, at_ns FROM first_seen WHERE host = ?", (self._host,)))
