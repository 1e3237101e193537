"""
The requests that run, and the last ones that have ended, for the page that shows them.

The edge writes here with two assignments and one appended tuple for a request, and nothing for a
token. There is nothing here of a body, and no header but the name of the client's program.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, MutableMapping
from typing import Any, NamedTuple

from .record import Record

KEPT = 50
"""How many ended requests are kept."""
MOST_TEXT = 160
"""Characters that are kept of a text which a client made up."""


class Ended(NamedTuple):
    """A request that has ended; times are nanoseconds, `ended_ns` since the epoch."""

    id: str
    method: str
    path: str
    status: int | None
    outcome: str
    agent: str
    key: object
    model: str | None
    host: str | None
    tokens_in: int | None
    tokens_out: int | None
    fault: str | None
    ended_ns: int
    took_ns: int
    queued_ns: int | None


class Traffic:
    """What the edge notes of requests; `skipped` are routes whose requests nobody looks for."""

    def __init__(self, skipped: Collection[str] = ()) -> None:
        self.skipped = frozenset(skipped)
        self.running: dict[Record, MutableMapping[str, Any]] = {}
        """The records of requests that run, with their ASGI scopes."""
        self.last: deque[Ended] = deque(maxlen=KEPT)
        """The last requests that have ended, the oldest first."""
