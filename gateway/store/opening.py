"""
Which store the settings ask for: a file of this machine, memory, or a Redis that others use, too.
"""

from __future__ import annotations

from ..settings.schema import StoreSettings
from .interface import Store
from .sqlite import SqliteStore


def open_store(settings: StoreSettings) -> Store:
    """Open the store; nothing of Redis is imported without a URL. Raises StartProblem."""
    if settings.url is None:
        return SqliteStore(settings.path)
    from .redis import RedisStore

    return RedisStore(settings)
