"""
What keys use, counted for all gateways on one Redis: one script for each question.
"""

from __future__ import annotations

from ..access.counting import RUNNING_RETRY_S, Excess, Limit, Taken, Told
from ..settings.schema import KeySettings
from . import redis_scripts as scripts
from .redis_link import RedisLink

_LIMITS: tuple[Limit, ...] = ("tokens_per_minute", "requests_per_minute", "max_running")
"""The limits by the numbers from 1 that the script has for them."""


class RedisMeter:
    """One gateway's way to the counts."""

    def __init__(self, link: RedisLink) -> None:
        """Use the connection of a store."""
        self._link = link

    async def take(self, gateway: str, name: str, limits: KeySettings, told: Told) -> Taken:
        """Keep what a gateway tells of a key, and let requests begin."""
        granted, limit, retry_s = await self._link.run(
            scripts.TAKE,
            gateway,
            limits.max_running,
            limits.requests_per_minute,
            limits.tokens_per_minute,
            told.running,
            told.wanted,
            told.tokens,
            keys=[self._link.layout.key("used", name), self._link.layout.key("running", name)],
        )
        if not limit:
            return Taken(granted)
        return Taken(granted, Excess(_LIMITS[limit - 1], retry_s or RUNNING_RETRY_S))
