"""
The retry budget: failures of hosts must not become a flood of second attempts.

Retries may be a share of the requests that run; a few are always allowed, so that a quiet gateway
can retry too.
"""

from __future__ import annotations


class RetryBudget:
    """Counts running requests and running retries."""

    __slots__ = ("_least", "_retries", "_running", "_share")

    def __init__(self, share: float = 0.2, least: int = 3) -> None:
        """Allow `share` of the running requests to be retries, and `least` in any case."""
        self._share = share
        self._least = least
        self._running = 0
        self._retries = 0

    @property
    def running(self) -> int:
        """The number of requests that have begun and not ended."""
        return self._running

    @property
    def retries(self) -> int:
        """The number of those that are retries."""
        return self._retries

    def begin(self) -> None:
        """Count a request; `end` must follow."""
        self._running += 1

    def end(self, retries: int = 0) -> None:
        """End a request, and give back the retries that it has taken."""
        self._running -= 1
        self._retries -= retries

    def take(self) -> bool:
        """Take one retry for a running request; return False if there is none left."""
        if self._retries >= max(self._least, int(self._share * self._running)):
            return False
        self._retries += 1
        return True
