"""
SQLite files that several processes write: opened with a write-ahead log, in which readers and the
writer don't wait for each other.
"""

import sqlite3
import time
from pathlib import Path
from typing import Final

PAUSE_S: Final = 0.01
"""Seconds between two tries to give a file its log."""


def connect(path: str | Path, busy_s: float) -> sqlite3.Connection:
    """
    Open a file, which is made if it is missing, and wait up to `busy_s` for others' locks.

    Transactions begin and end where the caller says so; any thread may use the connection.
    Raises sqlite3.Error.
    """
    connection = sqlite3.connect(
        path, timeout=busy_s, isolation_level=None, check_same_thread=False
    )
    try:
        _begin_log(connection, time.monotonic() + busy_s)
    except BaseException:
        connection.close()
        raise
    return connection


def _begin_log(connection: sqlite3.Connection, until: float) -> None:
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # For this one statement SQLite does not wait: two processes that read a new file and
            # want to write its head would wait for each other.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(PAUSE_S)
