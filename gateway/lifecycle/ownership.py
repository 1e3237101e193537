"""
Which loaded copies are this gateway's, kept in the store so that a crash forgets none.

A gateway's name is made anew at each start. It is alive as long as it holds the lock on a small
file beside the store, which ends with its process however that ends. What a dead gateway left is
adopted by the next one that looks, so of two gateways with one store each unloads only its own.

A store that fails is logged; nothing here fails a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from gateway.observability.journal import get_logger
from gateway.store.sqlite import Store

T = TypeVar("T")


class Owned(msgspec.Struct, frozen=True, kw_only=True):
    """
    One copy that a gateway loaded.

    `hold` and `key` name what it is of. `expires_at` is since the epoch, None for ever. A copy
    that `is_pending` is one whose load was begun and whose end nobody saw; its id is then a
    placeholder.
    """

    id: str
    hold: str
    key: str
    request_key: str
    keep_alive_s: float | None
    expires_at: float | None
    begun_at: float
    context_length: int | None = None
    is_pending: bool = False


class Ownership:
    """This gateway's rows of the table `instance`, for one host."""

    def __init__(self, store: Store, path: str | None, host: str) -> None:
        self._store = store
        self._path = path
        self._host = host
        self._name = uuid.uuid4().hex
        self._changed: dict[str, Owned | None] = {}
        self._writing: asyncio.Task[None] | None = None
        self._alive: sqlite3.Connection | None = None
        self._log = get_logger()

    def start(self) -> None:
        """Show that this gateway is alive."""
        if self._path is None:
            return
        try:
            self._alive = _lock(self._file_of(self._name))
        except (sqlite3.Error, OSError) as error:
            self._log.warning(
                "cannot show other gateways that this one is alive", reason=str(error)
            )

    async def adopt(self) -> list[Owned]:
        """Take over what gateways that are no more had loaded, and return it."""
        host, name = self._host, self._name

        def work(connection: sqlite3.Connection) -> list[bytes]:
            rows = connection.execute(
                "SELECT DISTINCT gateway FROM instance WHERE host = ? AND gateway <> ?",
                (host, name),
            ).fetchall()
            dead = [gateway for (gateway,) in rows if not self._is_alive(gateway)]
            documents: list[bytes] = []
            for gateway in dead:
                found = connection.execute(
                    "SELECT document FROM instance WHERE host = ? AND gateway = ?", (host, gateway)
                )
                documents += [document for (document,) in found]
                connection.execute(
                    "UPDATE instance SET gateway = ? WHERE host = ? AND gateway = ?",
                    (name, host, gateway),
                )
            return documents

        adopted = []
        for document in await self._run(work) or []:
            try:
                adopted.append(msgspec.json.decode(document, type=Owned))
            except msgspec.DecodeError as error:
                self._log.warning("cannot read what was loaded before", reason=str(error))
        return adopted

    async def others(self) -> set[str]:
        """Return the ids of copies that another living gateway loaded."""
        host, name = self._host, self._name

        def work(connection: sqlite3.Connection) -> set[str]:
            rows = connection.execute(
                "SELECT id, gateway FROM instance WHERE host = ? AND gateway <> ?", (host, name)
            ).fetchall()
            alive = {gateway: self._is_alive(gateway) for gateway in {row[1] for row in rows}}
            return {identifier for identifier, gateway in rows if alive[gateway]}

        return await self._run(work) or set()

    def note(self, owned: Owned) -> None:
        """Remember a copy as it is now."""
        self._change(owned.id, owned)

    def forget(self, identifier: str) -> None:
        """Remember that a copy is not ours any more."""
        self._change(identifier, None)

    async def written(self) -> None:
        """Wait until what was noted is on the disk."""
        while self._writing is not None:
            await asyncio.wait({self._writing})

    async def aclose(self) -> None:
        """Write what is left and be no more."""
        await self.written()
        if self._alive is not None:
            self._alive.close()
            with contextlib.suppress(OSError):
                self._file_of(self._name).unlink()

    # -- inside -------------------------------------------------------------------------------

    def _change(self, identifier: str, owned: Owned | None) -> None:
        self._changed[identifier] = owned
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        # What changes while a write is under way goes into the next one together.
        try:
            while self._changed:
                changed, self._changed = self._changed, {}
                await self._run(partial(self._put, changed))
        finally:
            self._writing = None

    def _put(self, changed: dict[str, Owned | None], connection: sqlite3.Connection) -> None:
        for identifier, owned in changed.items():
            if owned is None:
                connection.execute(
                    "DELETE FROM instance WHERE host = ? AND id = ? AND gateway = ?",
                    (self._host, identifier, self._name),
                )
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO instance (host, id, gateway, document)"
                    " VALUES (?, ?, ?, ?)",
                    (self._host, identifier, self._name, msgspec.json.encode(owned)),
                )

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        try:
            return await self._store.run(work)
        except (sqlite3.Error, RuntimeError) as error:
            self._log.warning(
                "the store failed; what is loaded may be forgotten", reason=str(error)
            )
            return None

    def _file_of(self, gateway: str) -> Path:
        return Path(f"{self._path}.{gateway}.alive")

    def _is_alive(self, gateway: str) -> bool:
        if self._path is None:
            return False
        file = self._file_of(gateway)
        if not file.exists():
            return False
        try:
            _lock(file).close()
        except sqlite3.OperationalError:
            return True
        except (sqlite3.Error, OSError):
            return False
        with contextlib.suppress(OSError):
            file.unlink()
        return False


def _lock(file: Path) -> sqlite3.Connection:
    """Lock a file as long as the connection is open. Raises sqlite3.OperationalError when it is."""
    connection = sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except BaseException:
        connection.close()
        raise
    return connection
