"""
The retry budget: failures of hosts must not become a flood of second attempts.

Retries may be a share of the requests that run; a few are always allowed, so that a quiet gateway
can retry too.
"""

from __future__ import annotations


class RetryBudget:
    """Counts the retries that run."""

    __slots__ = ("_least", "_percent", "taken")

    def __init__(self, percent: int = 20, least: int = 3) -> None:
        """Allow `percent` of the running requests to be retries, and `least` in any case."""
        self._percent = percent
        self._least = least
        self.taken = 0
        """The retries that run."""

    def take(self, running: int) -> bool:
        """Take a retry while `running` requests run; return False if there is none left."""
        if self.taken >= max(self._least, self._percent * running // 100):
            return False
        self.taken += 1
        return True

    def give_back(self, retries: int) -> None:
        """Give back the retries of a request that has ended."""
        self.taken -= retries
