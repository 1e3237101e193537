"""
What requests with the same labels have added to the metrics since somebody looked.

A request appends its times to lists and adds to numbers. They are counted into buckets together,
which takes a fraction of the time that each by itself would.
"""

from __future__ import annotations

from typing import Final, TypeAlias

MOST_UNCOUNTED: Final = 512
"""How many ended requests wait for being counted at most."""

Of: TypeAlias = tuple[str, str, int, str, str, str]
"""A request's route, method, status (0 without an answer), model, host and key, as labels."""


class Uncounted:
    """The requests of one `Of`. Times are nanoseconds, one for each request that has one."""

    __slots__ = (
        "first_frames",
        "first_tokens",
        "per_token",
        "ready",
        "streams",
        "tokens_in",
        "tokens_out",
        "took",
    )

    def __init__(self) -> None:
        """Begin without requests."""
        self.took: list[int] = []
        """From the head to the end of the answer, for each request."""
        self.streams: list[int] = []
        """The same for those with a streamed answer."""
        self.first_frames: list[int] = []
        self.first_tokens: list[int] = []
        self.per_token: list[int] = []
        self.ready: list[int] = []
        self.tokens_in = 0
        self.tokens_out = 0
