"""
Names between a store in Redis and a SQLite file: backup, restore, and the way from one machine to
several.

What is loaded and in use stays where it is: it is true only of the gateways that use that store.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..faults import StartProblem, StoreFailure
from ..settings.schema import StoreSettings
from .backup import back_up
from .redis import RedisStore
from .sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


Names: TypeAlias = tuple[dict[str, bytes], dict[str, bytes], dict[str, dict[str, int]]]
"""Aliases, pulled names, and for each host the times when its models were first seen."""


def back_up_redis(settings: StoreSettings, target: Path) -> None:
    """
    Write the names of a Redis into one file, a backup like that of a SQLite store.

    Raises StoreFailure when Redis can't be read, or the target can't be written.
    """
    aliases, pulled, seen = asyncio.run(_read(settings))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".olgate-") as folder:
            made = Path(folder, "made.sqlite3")
            SqliteStore(str(made)).close()
            with closing(sqlite3.connect(made)) as db, db:
                db.executemany("INSERT INTO alias VALUES (?, ?)", aliases.items())
                db.executemany("INSERT INTO pulled VALUES (?, ?)", pulled.items())
                db.executemany(
                    "INSERT INTO first_seen VALUES (?, ?, ?)",
                    [(host, key, at) for host, times in seen.items() for key, at in times.items()],
                )
            back_up(made, target)
    except (sqlite3.Error, OSError, StartProblem) as error:
        raise StoreFailure(f"the backup can't be written to {target} ({error})") from error


def put_into_redis(source: Path, settings: StoreSettings, *, keeps: bool) -> int:
    """
    Put the names of a SQLite store or backup into a Redis, and return how many there were.

    With `keeps`, names that are there stay as they are, else all are replaced. Raises StoreFailure
    when the source is none, or Redis can't be written.
    """
    if not source.exists():
        raise StoreFailure(f"there is no file {source}")
    try:
        with tempfile.TemporaryDirectory(prefix="olgate-") as folder:
            # A copy is brought up to date, and the source stays as it is.
            copy = Path(folder, "copy.sqlite3")
            back_up(source, copy)
            SqliteStore(str(copy)).close()
            with closing(sqlite3.connect(copy)) as db:
                aliases = dict(db.execute("SELECT name, document FROM alias"))
                pulled = dict(db.execute("SELECT name, document FROM pulled"))
                seen: dict[str, dict[str, int]] = {}
                for host, key, at_ns in db.execute("SELECT host, key, at_ns FROM first_seen"):
                    seen.setdefault(host, {})[key] = at_ns
    except (sqlite3.Error, OSError, StartProblem) as error:
        raise StoreFailure(f"{source} can't be read as a store ({error})") from error
    asyncio.run(_write(settings, (aliases, pulled, seen), keeps=keeps))
    return len(aliases) + len(pulled)


async def _read(settings: StoreSettings) -> Names:
    async with _redis(settings) as store:
        return await store.aliases(), await store.pulled(), await store.names.all_seen()


async def _write(settings: StoreSettings, given: Names, *, keeps: bool) -> None:
    aliases, pulled, seen = given
    async with _redis(settings) as store:
        await store.names.replace(aliases, pulled, keeps=keeps)
        if not keeps:
            await store.names.forget_seen()
        for host, times in seen.items():
            await store.names.note_seen(host, times)


@asynccontextmanager
async def _redis(settings: StoreSettings) -> AsyncIterator[RedisStore]:
    """Open a Redis that must be there. Raises StoreFailure."""
    try:
        store = RedisStore(settings)
    except StartProblem as problem:
        raise StoreFailure(str(problem)) from None
    try:
        if trouble := await store.trouble():
            raise StoreFailure(trouble)
        yield store
    finally:
        await store.aclose()
