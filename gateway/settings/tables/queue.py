"""
The queue of requests for models whose slots are all taken.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .kinds import Count, Seconds


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The queue of requests for models whose slots are all taken."""

    at: Literal["gateway", "host"] = "gateway"
    """
    Where requests wait: in the `gateway`, which lets the best one go first, or at the `host`, which
    gets them all at once.
    """
    most: Count = 512
    """
    How many requests may wait; one more is refused, or replaces a worse one. With 0 nobody waits:
    a request is refused when all slots are taken.
    """
    longest_s: Seconds = 600.0
    """Seconds that a request waits before it is refused; 0 is no limit."""
    order: Literal["interactive", "arrival"] = "interactive"
    """
    Which requests of one priority come first: streamed ones (`interactive`), or the older ones
    (`arrival`).
    """
    batch_every: Count = 8
    """
    Of how many slots in a row one goes to requests that others are preferred to; 0 gives them none
    while others wait. 1 counts as 2.
    """
