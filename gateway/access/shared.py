"""
What keys use, counted for all gateways on a store, and by this process alone while the store fails.

A request of a key with limits costs one call of the store before it begins; requests of one key
that arrive during a call share the next one. Their ends are told afterwards, in the background. A
request of a key without limits costs nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from ..faults import StoreFailure
from ..observability.journal import get_logger
from ..settings.schema import KeySettings
from .counting import Excess, OwnCounts, Taken, Told

FIRST_PAUSE_S: Final = 0.25
"""Seconds after which a store that has failed is asked again; each pause is twice as long."""
LONGEST_PAUSE_S: Final = 4.0
"""The longest of these pauses."""


class Meter(Protocol):
    """Counts the use of keys for all gateways on a store, by the store's clock."""

    async def take(self, gateway: str, name: str, limits: KeySettings, told: Told) -> Taken:
        """
        Keep what a gateway tells of a key, and let as many requests begin as the limits allow.

        What a gateway tells of running requests replaces what it told before. It counts as long as
        the gateway is alive. Raises StoreFailure.
        """
        ...


class _Asked:
    """What is to be asked and told of one key."""

    __slots__ = ("has_news", "limits", "task", "tokens", "waiting")

    def __init__(self) -> None:
        self.limits = KeySettings()
        self.waiting: list[asyncio.Future[Excess | None]] = []
        self.tokens = 0
        self.has_news = False
        self.task: asyncio.Task[None] | None = None


class KeyCounts:
    """Counts the use of keys, by their names."""

    def __init__(
        self,
        meter: Meter | None = None,
        gateway: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count with `meter`, as the gateway of a name; without one by this process alone."""
        self.trouble = ""
        """Why this process counts alone although gateways share a store; empty if it does not."""
        self._own = OwnCounts(clock)
        self._meter = meter
        self._gateway = gateway
        self._asked: dict[str, _Asked] = {}
        self._log = get_logger()

    async def begin(self, name: str, limits: KeySettings) -> Excess | None:
        """Count a request that begins, or return the limit that it exceeds: then it is not."""
        # What exceeds a limit here exceeds it everywhere, so nobody else is asked.
        excess = self._own.begin(name, limits)
        if excess is not None or self._meter is None or self.trouble:
            return excess
        asked = self._asked.get(name)
        if asked is None:
            asked = self._asked[name] = _Asked()
        asked.limits = limits
        answer: asyncio.Future[Excess | None] = asyncio.get_running_loop().create_future()
        asked.waiting.append(answer)
        self._work(name, asked)
        try:
            excess = await answer
        except asyncio.CancelledError:
            self._own.take_back(name, limits)
            # It may have been granted already.
            asked.has_news = True
            self._work(name, asked)
            raise
        if excess is not None:
            self._own.take_back(name, limits)
        return excess

    def end(self, name: str, tokens: int) -> None:
        """Count a request that has ended, with the tokens of its prompt and its answer."""
        self._own.end(name, tokens)
        asked = self._asked.get(name)
        if asked is None or not (asked.limits.max_running or asked.limits.tokens_per_minute):
            return
        asked.has_news = True
        if not self.trouble:
            asked.tokens += tokens
            self._work(name, asked)

    async def aclose(self) -> None:
        """End the work in the background; the store knows that the gateway has ended."""
        tasks = [asked.task for asked in self._asked.values() if asked.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _work(self, name: str, asked: _Asked) -> None:
        if asked.task is None:
            asked.task = asyncio.get_running_loop().create_task(self._serve(name, asked))

    async def _serve(self, name: str, asked: _Asked) -> None:
        """Ask and tell until there is nothing to ask and to tell; one call at a time."""
        assert self._meter is not None
        pause_s = FIRST_PAUSE_S
        batch: list[asyncio.Future[Excess | None]] = []
        try:
            while asked.waiting or asked.has_news:
                batch = [each for each in asked.waiting if not each.done()]
                asked.waiting = []
                asked.has_news = False
                told = Told(self._own.running(name) - len(batch), len(batch), asked.tokens)
                asked.tokens = 0
                try:
                    taken = await self._meter.take(self._gateway, name, asked.limits, told)
                except StoreFailure as failure:
                    self._note_trouble(str(failure))
                    _answer(batch, Taken(len(batch)))
                    asked.has_news = True
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                else:
                    self._note_end_of_trouble()
                    _answer(batch, taken)
        finally:
            asked.task = None
            for each in (*batch, *asked.waiting):
                each.cancel()

    def _note_trouble(self, reason: str) -> None:
        if not self.trouble:
            self._log.warning("each process counts the limits of keys alone", reason=reason)
        self.trouble = reason

    def _note_end_of_trouble(self) -> None:
        if not self.trouble:
            return
        self._log.info("limits of keys are counted for all gateways again")
        self.trouble = ""
        # What has ended meanwhile still counts as running there.
        for name, asked in self._asked.items():
            if asked.has_news:
                self._work(name, asked)


def _answer(batch: list[asyncio.Future[Excess | None]], taken: Taken) -> None:
    """Let the first ones begin, and tell the others the limit that they exceed."""
    for number, each in enumerate(batch):
        if not each.done():
            each.set_result(None if number < taken.granted else taken.excess)
