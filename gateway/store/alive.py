"""
Which gateways are alive: each locks a small file next to the store's file while it runs.

The system releases the lock when the process ends, however it ends. Like SQLite's own lock it needs
all gateways on one machine.
"""

from __future__ import annotations

import contextlib
import glob
import sqlite3
from collections import Counter
from pathlib import Path


class AliveFiles:
    """The lock files of all gateways that share one store."""

    def __init__(self, path: str | None) -> None:
        """Put the files next to `path`; without one no other gateway can share the store."""
        self._path = path
        self._own: dict[str, sqlite3.Connection] = {}
        self._times: Counter[str] = Counter()
        """How often each own gateway was locked and not released yet: once for each host."""

    def lock(self, gateway: str) -> None:
        """
        Lock a gateway's file, until it is released as often as it was locked.

        Raises sqlite3.Error or OSError when that is not possible.
        """
        if self._path is not None and gateway not in self._own:
            self._own[gateway] = _lock(self._file_of(gateway))
        self._times[gateway] += 1

    def release(self, gateway: str) -> None:
        """
        Release a gateway's file, and delete it the last time; one never locked is no error.
        """
        self._times[gateway] -= 1
        if self._times[gateway] > 0:
            return
        del self._times[gateway]
        connection = self._own.pop(gateway, None)
        if connection is not None:
            connection.close()
            with contextlib.suppress(OSError):
                self._file_of(gateway).unlink()

    def is_alive(self, gateway: str) -> bool:
        """Whether a gateway's file is locked; the file of a dead one is deleted."""
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

    def has_others(self, gateway: str) -> bool:
        """Whether the file of any other gateway is locked."""
        return any(name != gateway and self.is_alive(name) for name in self._names())

    def count(self) -> int:
        """Return how many gateways are alive, this process's own included."""
        return sum(self.is_alive(name) for name in self._names())

    def _names(self) -> list[str]:
        """Return the names of all gateways that have a file, alive or not."""
        if self._path is None:
            return []
        own = Path(self._path)
        return [
            file.name.removeprefix(f"{own.name}.").removesuffix(".alive")
            for file in own.parent.glob(f"{glob.escape(own.name)}.*.alive")
        ]

    def _file_of(self, gateway: str) -> Path:
        return Path(f"{self._path}.{gateway}.alive")


def _lock(file: Path) -> sqlite3.Connection:
    """Lock a file until the connection is closed. Raises sqlite3.OperationalError if it is."""
    connection = sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except BaseException:
        connection.close()
        raise
    return connection
