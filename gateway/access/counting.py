"""
What keys have used within the last minute, and what they use now, in this process.

`shared` counts for all gateways on a store, by the same rules.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from math import ceil
from typing import Final, Literal, NamedTuple

from ..settings.schema import KeySettings

WINDOW_S: Final = 60
"""The seconds over which requests and tokens are counted."""
RUNNING_RETRY_S: Final = 1
"""What a client is told to wait whose key has as many requests running as it may, in seconds."""

Limit = Literal["max_running", "requests_per_minute", "tokens_per_minute"]


class Excess(NamedTuple):
    """The limit that is reached, and after how many whole seconds there is room again."""

    limit: Limit
    retry_s: int


def is_limited(limits: KeySettings) -> bool:
    """Return whether a key has any limit, so that its use must be counted."""
    return bool(limits.max_running or limits.requests_per_minute or limits.tokens_per_minute)


class Window:
    """An amount over the last minute, kept by the second: 61 numbers at most."""

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()
        self.total = 0

    def add(self, now: float, amount: int) -> None:
        """Add an amount at a time in seconds, which never goes back."""
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += amount
        else:
            self._seconds.append([second, amount])
        self.total += amount

    def wait_s(self, now: float, limit: int) -> int:
        """Return after how many seconds the amount is below a limit; 0 if it is."""
        while self._seconds and self._seconds[0][0] <= now - WINDOW_S:
            self.total -= self._seconds.popleft()[1]
        left = self.total
        if left < limit:
            return 0
        for second, amount in self._seconds:
            left -= amount
            if left < limit:
                return max(1, ceil(second + WINDOW_S - now))
        return WINDOW_S


class _Use:
    """What one key uses."""

    __slots__ = ("requests", "running", "tokens")

    def __init__(self) -> None:
        self.running = 0
        self.requests = Window()
        self.tokens = Window()


class OwnCounts:
    """Counts what this process serves, by the names of keys."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Count by a monotonic clock in seconds."""
        self._clock = clock
        self._used: dict[str, _Use] = {}

    def running(self, name: str) -> int:
        """Return how many requests of a key are counted as running."""
        use = self._used.get(name)
        return 0 if use is None else use.running

    def begin(self, name: str, limits: KeySettings) -> Excess | None:
        """Count a request that begins, or return the limit that it exceeds: then it is not."""
        use = self._used.get(name)
        if use is None:
            use = self._used[name] = _Use()
        if limits.max_running and use.running >= limits.max_running:
            return Excess("max_running", RUNNING_RETRY_S)
        now = self._clock()
        if (most := limits.requests_per_minute) and (wait_s := use.requests.wait_s(now, most)):
            return Excess("requests_per_minute", wait_s)
        if (most := limits.tokens_per_minute) and (wait_s := use.tokens.wait_s(now, most)):
            return Excess("tokens_per_minute", wait_s)
        use.running += 1
        if limits.requests_per_minute:
            use.requests.add(now, 1)
        return None

    def end(self, name: str, tokens: int) -> None:
        """Count a request that has ended, with the tokens of its prompt and its answer."""
        use = self._used[name]
        use.running -= 1
        if tokens:
            now = self._clock()
            # What is over goes first, since a key without a limit on tokens is never asked for it.
            use.tokens.wait_s(now, 1)
            use.tokens.add(now, tokens)

    def take_back(self, name: str, limits: KeySettings) -> None:
        """Undo `begin` for a request that was not served after all."""
        use = self._used[name]
        use.running -= 1
        if limits.requests_per_minute:
            use.requests.add(self._clock(), -1)


class Told(NamedTuple):
    """
    What a gateway tells a store of a key: its running requests, how many more it wants to begin,
    and the tokens that were used since it told the last time.
    """

    running: int
    wanted: int
    tokens: int


class Taken(NamedTuple):
    """How many of the wanted requests may begin, and the limit that the others exceed."""

    granted: int
    excess: Excess | None = None


def judge(
    limits: KeySettings, told: Told, others: int, requests: Window, tokens: Window, now: float
) -> Taken:
    """
    Return how many requests may begin where all gateways count together, and count those.

    `others` is how many run through other gateways. The windows are those of all gateways, with the
    told tokens in them.
    """
    granted, limit = told.wanted, None
    if (most := limits.tokens_per_minute) and granted and tokens.wait_s(now, most):
        granted, limit = 0, "tokens_per_minute"
    if most := limits.requests_per_minute:
        requests.wait_s(now, most)
        if (left := max(0, most - requests.total)) < granted:
            granted, limit = left, "requests_per_minute"
    if (most := limits.max_running) and (left := max(0, most - others - told.running)) < granted:
        granted, limit = left, "max_running"
    if granted and limits.requests_per_minute:
        requests.add(now, granted)
    match limit:
        case "tokens_per_minute":
            return Taken(granted, Excess(limit, tokens.wait_s(now, limits.tokens_per_minute)))
        case "requests_per_minute":
            return Taken(granted, Excess(limit, requests.wait_s(now, limits.requests_per_minute)))
        case "max_running":
            return Taken(granted, Excess(limit, RUNNING_RETRY_S))
    return Taken(granted)
