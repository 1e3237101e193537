"""
Which hosts have changed, in order: what is made of all hosts is brought up to date host by host.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

KEPT: Final = 64
"""Changes that are remembered. Who has missed more of them begins anew, which is about as cheap."""


class ChangedHosts:
    """The last changes of hosts, by their numbers. `count` counts all of them."""

    def __init__(self) -> None:
        """Know of no change yet."""
        self.count = 0
        self._numbers: deque[int] = deque(maxlen=KEPT)

    def note(self, number: int) -> None:
        """Note that a host's list, or what is known of the host, has changed."""
        self.count += 1
        self._numbers.appendleft(number)

    def note_all(self) -> None:
        """Note that everything may have changed."""
        self.count += 1
        self._numbers.clear()

    def since(self, count: int) -> frozenset[int] | None:
        """
        Return the numbers of the hosts that have changed since a count; None if all may have.

        >>> changed = ChangedHosts()
        >>> changed.note(7)
        >>> changed.since(0), changed.since(1)
        (frozenset({7}), frozenset())
        """
        missed = self.count - count
        return None if missed > len(self._numbers) else frozenset(islice(self._numbers, missed))
