"""
What the connections of one server share, where the server itself has no place for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class OfServers(Generic[T]):
    """One thing for each server, made at the first use; it goes with its server."""

    def __init__(self, make: Callable[[], T]) -> None:
        """Make nothing yet."""
        self._make = make
        self._made: WeakKeyDictionary[object, T] = WeakKeyDictionary()

    def of(self, server: object) -> T:
        """Return the thing of a server."""
        found = self._made.get(server)
        if found is None:
            found = self._made[server] = self._make()
        return found
