"""
The connection of one gateway to its Redis: scripts, leases, news, and what happens when it is away.

A lease is renewed four times in its time. While the server is away every other call fails at once,
so that no request waits for it; the renewal finds out that it is back.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..faults import StoreFailure
from ..observability.journal import get_logger
from . import redis_scripts as scripts
from .redis_client import Trouble, close, explain, is_away, make_client
from .redis_scripts import VERSION, Layout, Script

if TYPE_CHECKING:
    from redis.asyncio import Redis

FIRST_PAUSE_S: Final = 0.1
"""The first pause in seconds before a server that is away is asked again; it doubles."""

AGAIN_S: Final = 0.1
"""Seconds after which work in the background that did not end is told to end once more."""


class Renewal(NamedTuple):
    """
    What a renewal of a lease found.

    `has_lapsed` says that others may have taken what was ours. `changes` counts the changes of
    names. If the names were restored a moment ago, `base` is the count that they were restored
    from, and `floor` the first one after that; both are -1 otherwise.
    """

    has_lapsed: bool
    changes: int
    base: int
    floor: int

    def lacks(self, known: int) -> bool:
        """Whether the store has lost changes that a gateway knows, up to a count."""
        return self.base < known < self.floor if self.base >= 0 else known > self.changes


class RedisLink:
    """Runs scripts on the server, and knows whether it can be used."""

    def __init__(self, url: str, prefix: str, lease_s: float, timeout_s: float) -> None:
        """Connect to nothing yet. Raises StoreUrlProblem for a URL that can't be used."""
        self.layout = Layout(prefix)
        self.trouble: Trouble | None = None
        """Why the server could not be used the last time; None if it could."""
        self.others: frozenset[str] = frozenset()
        """The other living gateways, as of the last renewal."""
        self.when_renewed: Callable[[Renewal], object] = lambda renewal: None
        """Called with what each renewal found."""
        self.when_told: Callable[[str], object] = lambda text: None
        """Called with each word of another gateway."""
        self._url = url
        self._timeout_s = timeout_s
        self._client = make_client(url, timeout_s)
        self._lease_ms = round(lease_s * 1000)
        self._fences: dict[str, str] = {}
        """The fencing number of each gateway that has a lease here: one, except in tests."""
        self._announced: Counter[str] = Counter()
        """How often each gateway was announced and not withdrawn yet: once for each host."""
        self._is_away = False
        self._settled_at = -inf
        """When half a lease is over since the server was away, on the monotonic clock."""
        self._has_missed = False
        """Whether words of other gateways may have been lost since the last renewal."""
        self._has_listened = False
        self._knows = False
        self._is_closed = False
        self._asking = 0
        """How many calls are under way."""
        self._is_idle = asyncio.Event()
        self._poked = asyncio.Event()
        self._renewing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._log = get_logger()

    def is_settling(self) -> bool:
        """
        Return whether the server was away a moment ago.

        It may be the same one as before, and then knows of no absence (`look_at_server`); gateways
        get the same time to tell it what they did meanwhile.
        """
        return time.monotonic() < self._settled_at

    def fence_of(self, gateway: str) -> str:
        """Return the fencing number of a gateway's lease, empty if it has none."""
        return self._fences.get(gateway, "")

    async def run(
        self,
        script: Script,
        gateway: str,
        *given: object,
        host: str = "",
        keys: Sequence[str] = (),
    ) -> Any:
        """
        Run a script, with the keys of a host or others if some are named, and return its answer.

        Raises StoreFailure, at once while the server is away.
        """
        self._refuse_if_away()
        return await self._ask(script, gateway, given, self.layout.of_host(host) if host else keys)

    async def command(self, *words: object) -> Any:
        """Send one command, and return its answer. Raises StoreFailure like `run`."""
        self._refuse_if_away()
        client: Any = self._client
        return await self._answer(client.execute_command(*words))

    async def keys(self, pattern: str) -> list[str]:
        """Return the keys that match a pattern. Raises StoreFailure like `run`."""
        self._refuse_if_away()

        async def scan() -> list[str]:
            client: Any = self._client
            return [key.decode() async for key in client.scan_iter(match=pattern, count=1000)]

        found: list[str] = await self._answer(scan())
        return found

    async def announce(self, gateway: str) -> None:
        """Take a lease, and renew it from now on, also if that fails now. Raises StoreFailure."""
        self._announced[gateway] += 1
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._keep_leases()),
                asyncio.create_task(self._listen()),
            ]
        await self._renew(gateway)

    async def withdraw(self, gateway: str) -> None:
        """End a lease, once it was withdrawn as often as announced. Raises StoreFailure."""
        self._announced[gateway] -= 1
        if self._announced[gateway] > 0:
            return
        del self._announced[gateway]
        if not self._announced:
            await self._stop()
        self._fences.pop(gateway, None)
        await self.run(scripts.WITHDRAW, gateway)

    def poke(self) -> None:
        """Renew now, and see what is new."""
        self._poked.set()

    async def aclose(self) -> None:
        """
        End the work in the background, and close the connections.

        Calls that are under way end first, within their own limit: the library would open a
        connection anew for a call whose connection is closed, and nobody would close that one.
        """
        self._is_closed = True
        await self._stop()
        while self._asking:
            self._is_idle.clear()
            await self._is_idle.wait()
        with suppress(Exception):
            await close(self._client)

    # -- asking -------------------------------------------------------------------------------

    async def _ask(
        self,
        script: Script,
        gateway: str,
        given: tuple[object, ...],
        more_keys: Sequence[str] = (),
    ) -> Any:
        keys = [*self.layout.shared, *more_keys]
        arguments = (gateway, self._lease_ms, int(self._knows), *given)
        return await self._answer(self._evaluate(script, keys, arguments))

    async def _evaluate(self, script: Script, keys: list[str], given: tuple[object, ...]) -> Any:
        """Run a script that the server may not have yet."""
        from redis.exceptions import NoScriptError

        client: Any = self._client
        try:
            return await client.evalsha(script.digest, len(keys), *keys, *given)
        except NoScriptError:
            return await client.eval(script.text, len(keys), *keys, *given)

    async def _answer(self, asking: Awaitable[Any]) -> Any:
        self._asking += 1
        try:
            # The library's own limit is for each read; a slow network may have many of them.
            async with asyncio.timeout(2 * self._timeout_s):
                answer = await asking
        except Exception as error:
            raise self._failure(error) from error
        finally:
            self._asking -= 1
            if not self._asking:
                self._is_idle.set()
        self._note_answer()
        return answer

    def _refuse_if_away(self) -> None:
        if self._is_closed:
            raise StoreFailure("the store is closed")
        if self._is_away and self.trouble is not None:
            raise StoreFailure(self.trouble.text)

    def _failure(self, error: Exception) -> StoreFailure:
        """Take note of a failure, and return what is raised for it."""
        text = str(error)
        if text.startswith("HELD "):
            left_s = int(text.split()[1]) / 1000
            return StoreFailure(
                "the store was started anew a moment ago, and gateways write again what it may "
                f"have lost: try again in {left_s:.1f} s"
            )
        trouble = explain(error, self._url)
        if self.trouble is None:
            self._log.warning(
                "the store can't be used; serving with what is known", reason=trouble.text
            )
        self.trouble = trouble
        if is_away(error) or isinstance(error, TimeoutError):
            self._is_away = True
            self.poke()
        return StoreFailure(trouble.text)

    def _note_answer(self) -> None:
        if self.trouble is not None and not self._is_away:
            self.trouble = None
            self._log.info("the store can be used again")

    # -- leases -------------------------------------------------------------------------------

    async def _keep_leases(self) -> None:
        """Renew all leases; while the server is away ask it with growing pauses."""
        period_s = self._lease_ms / 4000
        pause_s = FIRST_PAUSE_S
        while self._tasks:
            with suppress(TimeoutError):
                async with asyncio.timeout(period_s):
                    await self._poked.wait()
            self._poked.clear()
            try:
                for gateway in list(self._announced):
                    await self._renew(gateway)
                pause_s = FIRST_PAUSE_S
            except StoreFailure:
                await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))
                pause_s = min(2 * pause_s, period_s)
                self.poke()

    async def _renew(self, gateway: str) -> None:
        """Renew a lease, or take one. Raises StoreFailure."""
        # One at a time: two first ones would take two fencing numbers.
        async with self._renewing:
            await self._renew_now(gateway)

    async def _renew_now(self, gateway: str) -> None:
        before = self._fences.get(gateway, "")
        answer = await self._ask(scripts.RENEW, gateway, (before, VERSION))
        if len(answer) < 2:
            raise StoreFailure(
                f"a newer olgate has written the store (version {answer[0].decode()}): update this "
                "one"
            )
        _, fence, lapsed, changes, others, base, floor = answer
        was_away, self._is_away = self._is_away, False
        if was_away:
            self._settled_at = time.monotonic() + self._lease_ms / 2000
        has_missed, self._has_missed = self._has_missed, False
        self._note_answer()
        self._knows = True
        self._fences[gateway] = fence.decode()
        self.others = frozenset(other.decode() for other in others)
        self.when_renewed(Renewal(bool(lapsed) or was_away or has_missed, changes, base, floor))

    async def _stop(self) -> None:
        running, self._tasks = set(self._tasks), []
        while running:
            # The library may take a cancellation for the end of a time limit, and go on.
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=AGAIN_S)

    # -- news ---------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Hear what other gateways tell; whenever words may have been lost, look anew."""
        pause_s = FIRST_PAUSE_S
        while self._tasks:
            try:
                async with self._subscribed() as news:
                    self._has_missed = self._has_listened
                    self._has_listened = True
                    self.poke()
                    pause_s = FIRST_PAUSE_S
                    while self._tasks:
                        word = await news.get_message(
                            ignore_subscribe_messages=True, timeout=self._lease_ms / 4000
                        )
                        if word is not None:
                            self.when_told(word["data"].decode())
            except Exception:
                # The renewal says what is wrong.
                await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))
                pause_s = min(2 * pause_s, self._lease_ms / 4000)

    def _subscribed(self) -> Any:
        client: Any = self._client
        return _Subscription(client, self.layout.news)


class _Subscription:
    """A subscription while it is entered."""

    def __init__(self, client: Redis, channel: str) -> None:
        self._client = client
        self._channel = channel

    async def __aenter__(self) -> Any:
        client: Any = self._client
        if hasattr(client, "initialize") and hasattr(client, "get_random_node"):
            await client.initialize()
        self._news = client.pubsub()
        try:
            await self._news.subscribe(self._channel)
        except BaseException:
            # Who is cancelled here is never left by `__aexit__`.
            await self.__aexit__()
            raise
        return self._news

    async def __aexit__(self, *_: object) -> None:
        with suppress(Exception):
            await self._news.aclose()


def flat(pairs: Mapping[str, bytes]) -> list[str | bytes]:
    """Return names and documents in turns, as scripts take them."""
    return [each for pair in pairs.items() for each in pair]


def unflat(answer: list[bytes]) -> dict[str, bytes]:
    """Return what HGETALL answers in a script as names and documents."""
    return {
        name.decode(): document for name, document in zip(answer[::2], answer[1::2], strict=True)
    }
