"""
A look at the store's file without changing it, for `olgate doctor`.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from .alive import AliveFiles
from .sqlite_file import NEWEST_VERSION


class StoreReport(NamedTuple):
    """
    What is known of a store's file.

    `version` is that of its schema, None if there is no file yet. `problem` says why it cannot be
    used, and is empty otherwise. `gateways` is the number of running gateways that use it.
    """

    path: str
    version: int | None
    problem: str
    is_writable: bool
    is_locked: bool
    gateways: int


def inspect_store(path: str) -> StoreReport:
    """Look at a store. The only trace is a lock that is released at once."""
    file = Path(path)
    gateways = AliveFiles(path).count()
    folder = next((one for one in file.parents if one.exists()), Path("."))
    is_writable = os.access(folder, os.W_OK) and (not file.exists() or os.access(file, os.W_OK))
    if not file.exists():
        return StoreReport(path, None, "", is_writable, False, gateways)
    version, problem, is_locked = None, "", False
    try:
        mode = "rw" if is_writable else "ro"
        uri = f"{file.absolute().as_uri()}?mode={mode}"
        with closing(sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if is_writable:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
    except sqlite3.OperationalError as error:
        is_locked = getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")
        problem = "" if is_locked else str(error)
    except (sqlite3.Error, OSError) as error:
        problem = str(error)
    if version is not None and version > NEWEST_VERSION:
        problem = f"a newer olgate has written it (version {version})"
    return StoreReport(path, version, problem, is_writable, is_locked, gateways)
