"""
Which instances the gateways on one store use: no gateway unloads one that another one uses.

A gateway shows its use of every instance that another one, or nobody, loaded, as soon as the list
has it, and keeps it shown while no request runs: so a request asks the store nothing. A gateway
that wants to unload says so in the store; the others look for that in the background, and take back
their uses of instances on which none of their requests runs. The next request there shows its use
again before it runs. Nobody else unloads what a gateway loaded itself. A gateway that is alone on
its store shows nothing, and looks for nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final

from ..faults import StoreFailure, UpstreamFailure
from ..observability.journal import get_logger
from ..observability.record import background
from ..store.interface import Store
from .state import ModelState, ModelStates

PAUSE_S: Final = 0.2
"""Seconds between two looks in the store for instances that another gateway wants to unload."""
RELEASE_S: Final = 0.6
"""Seconds that an unload waits for other gateways to take back uses that no request needs."""
RETRY_S: Final = 0.05
"""Seconds between two tries of an unload that waits for that."""
LOOK_S: Final = 2.0
"""Seconds between two looks for other gateways."""
AFTER_FAILURE_S = 2.0
"""Seconds without a look after the store or the host failed."""


async def _nothing() -> None:
    """Fetch no list."""


class Sharing:
    """The uses of one host's instances by this gateway and by others on its store."""

    def __init__(self, store: Store, host: str, gateway: str) -> None:
        """Show uses on `host`, its identity in the store, under this gateway's name."""
        self.is_alone = False
        """Whether no other gateway was alive at the last look, and no foreign instance is new."""
        self.refresh: Callable[[], Awaitable[object]] = _nothing
        """Fetches the list of what is loaded."""
        self._store = store
        self._host = host
        self._name = gateway
        self._shown: set[str] = set()
        """The instances whose use by this gateway is shown to others, or may be."""
        self._settled: set[str] = set()
        """Those of them that were still loaded after the use was shown."""
        self._unloading: set[str] = set()
        """Those that this gateway unloads, or waits to unload."""
        self._known: set[str] = set()
        """The foreign instances of the last list."""
        self._looked_at = float("-inf")
        self._lock = asyncio.Lock()
        """Held while uses are written: a later change must not come before an earlier one."""
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._log = get_logger()

    def note_list(self, states: ModelStates) -> None:
        """
        Take note of a new list.

        A foreign instance that is new may be another gateway's, which has started since the last
        look. The look, and showing its use, is made in the background; a request does not wait for
        them unless it is sooner.
        """
        foreign = _foreign(states)
        if foreign - self._known:
            self._forget_look()
        self._known = foreign
        if foreign or self._shown:
            self._follow(states)

    async def begin(self, states: Iterable[ModelState]) -> set[str]:
        """
        Show that foreign instances of these models are used; return those that are being unloaded.

        Mostly that was shown before, and nothing is waited for. A store that fails forbids no
        request.
        """
        foreign = _foreign(states)
        if foreign <= self._settled:
            return set()
        async with self._lock:
            # What held the lock may have shown it.
            if not foreign - self._settled:
                return set()
            await self.look()
            new = foreign - self._settled
            if self.is_alone or not new:
                return set()
            return await self._show(new) or set()

    def show_again(self, states: ModelStates) -> None:
        """Show all uses anew: others may have taken this gateway for dead, and forgotten them."""
        self._forget_look()
        self._shown.clear()
        self._settled.clear()
        self._follow(states)

    async def claim_unload(self, identifier: str, may_wait: Callable[[], bool]) -> float | None:
        """
        Begin an unload, after which no other gateway begins to use the instance.

        Returns None if another gateway uses it, so that it must stay. Else returns when another one
        used it last, in seconds since the epoch, 0 for never; `end_unload` must follow. Others get
        a moment to take back uses that no request needs, while `may_wait` says so. While the store
        fails, only a gateway that is alone unloads.
        """
        until = time.monotonic() + RELEASE_S
        used_at = None
        self._unloading.add(identifier)
        try:
            while True:
                used_at = await self._claim(identifier)
                if used_at is not None or time.monotonic() >= until or not may_wait():
                    return used_at
                await asyncio.sleep(RETRY_S)
        finally:
            if used_at is None:
                self._unloading.discard(identifier)

    async def end_unload(self, identifier: str) -> None:
        """End an unload that was begun, however it ended; while the store fails, end it later."""
        try:
            await self._store.end_unload(self._host, self._name, identifier)
            self._unloading.discard(identifier)
        except StoreFailure as failure:
            self._log.warning("could not show the end of an unload", reason=str(failure))
            task = asyncio.create_task(self._end_later(identifier), context=background())
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)

    async def look(self) -> bool:
        """Look whether other gateways are alive; return whether that could be seen."""
        try:
            self.is_alone = not await self._store.others_alive(self._name)
        except StoreFailure as failure:
            self._log.warning("could not look for other gateways", reason=str(failure))
            return False
        self._looked_at = time.monotonic()
        return True

    async def aclose(self) -> None:
        """End the work in the background. What is still shown ends with this gateway."""
        tasks = {*self._endings, *filter(None, [self._following])}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- in the background --------------------------------------------------------------------

    def _forget_look(self) -> None:
        """Have the next one look anew: others may have started since the last look, however new."""
        self.is_alone = False
        self._looked_at = float("-inf")

    def _follow(self, states: ModelStates) -> None:
        """Show in the background what is to be shown, and take back what others wait for."""
        self._changed.set()
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._keep_up(states), context=background())

    async def _keep_up(self, states: ModelStates) -> None:
        """Keep the uses as they should be until there is nothing to show."""
        while True:
            self._changed.clear()
            pause_s = PAUSE_S
            try:
                if not await self._catch_up(states):
                    return
            except (StoreFailure, UpstreamFailure):
                # What the store said is in the log; the host's presence tells of the host.
                pause_s = AFTER_FAILURE_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()

    async def _catch_up(self, states: ModelStates) -> bool:
        """
        Bring the uses up to date; return whether there is anything to keep so.

        Raises StoreFailure and UpstreamFailure.
        """
        is_old = time.monotonic() - self._looked_at >= LOOK_S
        if (self.is_alone or is_old) and not await self.look():
            raise StoreFailure("it is not known whether other gateways are alive")
        wanted: set[str] = set()
        if not self.is_alone:
            wanted = await self._store.wanted_unloads(self._host, self._name)
        await self._take_back(states, None if self.is_alone else wanted)
        if self.is_alone:
            return bool(self._shown)
        async with self._lock:
            new = self._known - self._settled - self._unloading - wanted
            if new and await self._show(new) is None:
                raise StoreFailure("uses could not be shown")
        return bool(self._known or self._shown)

    async def _take_back(self, states: ModelStates, wanted: set[str] | None) -> None:
        """
        Take back uses that no request needs: of what is `wanted`, or None for all, and of instances
        that are gone. Raises StoreFailure.
        """
        async with self._lock:
            last_used = {one: state.last_used for state in states for one in state.instances}
            busy = {one for state in states if states.is_in_use(state) for one in state.instances}
            over = self._shown if wanted is None else self._shown & wanted
            over = (over - busy) | (self._shown - self._known)
            # Not shown from now on: a request that comes during the write shows its use after it.
            self._shown -= over
            self._settled -= over
            for identifier in sorted(over):
                used = last_used.get(identifier, 0.0)
                at = time.time() - (time.monotonic() - used) if used else 0.0
                try:
                    await self._store.use_instances(self._host, self._name, {identifier: False}, at)
                except StoreFailure:
                    self._shown |= over
                    raise

    # -- the store ----------------------------------------------------------------------------

    async def _show(self, new: set[str]) -> set[str] | None:
        """
        Show uses, with the lock held; return the instances that are being unloaded.

        The list is fetched afterwards: until then another gateway may have unloaded an instance,
        and a request to one that is gone would make LM Studio load the model by its own rules.
        Returns None if the store failed. Raises UpstreamFailure.
        """
        # Noted before the write: the request may end during it, and its use is taken back.
        added = new - self._shown
        self._shown |= added
        try:
            leaving = await self._store.use_instances(
                self._host, self._name, dict.fromkeys(new, True), time.time()
            )
        except StoreFailure as failure:
            self._log.warning("could not show the use of an instance", reason=str(failure))
            self._shown -= added
            return None
        self._shown -= leaving
        if new - leaving:
            await self.refresh()
            self._settled |= new - leaving
        return leaving

    async def _claim(self, identifier: str) -> float | None:
        async with self._lock:
            # The claim takes the place of an own use in the store.
            self._shown.discard(identifier)
            self._settled.discard(identifier)
            try:
                return await self._store.claim_unload(self._host, self._name, identifier)
            except StoreFailure as failure:
                self._log.warning("could not ask who uses an instance", reason=str(failure))
        # What was seen at an earlier look is no reason to unload what others may use by now.
        return 0.0 if await self.look() and self.is_alone else None

    async def _end_later(self, identifier: str) -> None:
        while True:
            await asyncio.sleep(AFTER_FAILURE_S)
            with suppress(StoreFailure):
                await self._store.end_unload(self._host, self._name, identifier)
                self._unloading.discard(identifier)
                return


def _foreign(states: Iterable[ModelState]) -> set[str]:
    """Return the instances that this gateway did not load."""
    return {one for state in states for one in state.instances.keys() - state.owned.keys()}
