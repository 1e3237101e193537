"""
What gateways on one Redis tell each other for placing requests: running requests, sessions,
and drained hosts.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from . import redis_scripts as scripts
from .interface import FRESH_S, Counts, sum_of
from .redis_link import RedisLink


class RedisBoard:
    """One gateway's way to the board."""

    def __init__(self, link: RedisLink) -> None:
        """Use the connection of a store."""
        self._link = link

    async def exchange_requests(
        self, gateway: str, running: Mapping[str, Counts]
    ) -> dict[str, Counts]:
        """Tell the requests that run through a gateway; return those that run through others."""
        words = await self._link.run(
            scripts.REQUESTS, gateway, round(FRESH_S * 1000), msgspec.json.encode(running)
        )
        return sum_of(words)

    async def put_session(self, session: str, host: str, lasts_s: float) -> None:
        """Keep the host that gave an answer its identifier."""
        await self._link.command(
            "SET", self._key(session), host, "PX", max(1, round(lasts_s * 1000))
        )

    async def session(self, session: str) -> str | None:
        """Return the host that gave an identifier, None if it is not known."""
        host = await self._link.command("GET", self._key(session))
        return None if host is None else host.decode()

    async def put_drained(self, host: str, *, is_drained: bool) -> None:
        """Keep whether a host is drained."""
        await self._link.command("SADD" if is_drained else "SREM", self._drained, host)

    async def drained(self) -> frozenset[str]:
        """Return the identities of the drained hosts."""
        found = await self._link.command("SMEMBERS", self._drained)
        return frozenset(host.decode() for host in found)

    @property
    def _drained(self) -> str:
        return self._link.layout.key("drained")

    def _key(self, session: str) -> str:
        return self._link.layout.key("session", session)
