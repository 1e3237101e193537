"""
Which instances the gateways on one store use: no gateway unloads one that another one uses.

A gateway shows its use of an instance that it did not load itself, before its first request runs
there, and takes it back a moment after the last one. Nobody else unloads what it loaded. A gateway
that is alone on its store shows nothing, so a request costs nothing more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any

from ..faults import StoreFailure
from ..observability.journal import get_logger
from ..store.interface import Store
from .state import ModelState, ModelStates

LINGER_S = 2.0
"""
Seconds for which a use stays shown after its last request, so that a client that asks again at once
causes no write.
"""


class Sharing:
    """The uses of one host's instances by this gateway and by others on its store."""

    def __init__(self, store: Store, host: str, gateway: str) -> None:
        """Show uses on `host`, its identity in the store, under this gateway's name."""
        self.is_alone = False
        """Whether no other gateway was alive at the last look, and no foreign instance is new."""
        self._store = store
        self._host = host
        self._name = gateway
        self.shown: set[str] = set()
        """The instances whose use by this gateway is shown to others, or may be."""
        self._settled: set[str] = set()
        """Those of them that were still loaded after the use was shown."""
        self._known: set[str] = set()
        self._must_retry = False
        """Whether the store failed when a use was to be shown."""
        self._lock = asyncio.Lock()
        """Held while uses are written: a later change must not come before an earlier one."""
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._log = get_logger()

    def note_list(self, states: ModelStates) -> None:
        """
        Take note of a new list.

        A foreign instance that is new may be another gateway's, which has started since the last
        look. The next request looks; else the look is made in the background.
        """
        foreign = {one for state in states for one in state.instances.keys() - state.owned.keys()}
        if foreign - self._known:
            self.is_alone = False
        elif foreign and self.is_alone:
            self._in_background(self.look())
        self._known = foreign

    async def begin(
        self, states: Iterable[ModelState], refresh: Callable[[], Awaitable[object]]
    ) -> set[str]:
        """
        Show that foreign instances of these models are used; return those that are being unloaded.

        A store that fails forbids no request. `refresh` fetches the list after a use is shown for
        the first time: until then another gateway may have unloaded the instance, and a request to
        an instance that is gone would make LM Studio load the model by its own rules.
        """
        foreign = {one for state in states for one in state.instances.keys() - state.owned.keys()}
        if foreign <= self._settled:
            return set()
        async with self._lock:
            await self.look()
            new = foreign - self._settled
            if self.is_alone or not new:
                return set()
            # Noted before the write: the request may end during it, and its use is taken back.
            added = new - self.shown
            self.shown |= added
            leaving = await self._write(dict.fromkeys(new, True))
            if leaving is None:
                self.shown -= added
                self._must_retry = True
                return set()
            self.shown -= leaving
            if new - leaving:
                await refresh()
                self._settled |= new - leaving
            return leaving

    def end_soon(self, states: ModelStates) -> None:
        """Take back, in a moment, the uses of instances on which no request runs any more."""
        if (self.shown or self._must_retry) and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._end, states)

    def show_again(self, states: ModelStates) -> None:
        """Show all uses anew: others may have taken this gateway for dead, and forgotten them."""
        self.is_alone = False
        self.shown.clear()
        self._settled.clear()
        self._must_retry = True
        self._in_background(self._update(states))

    async def claim_unload(self, identifier: str) -> float | None:
        """
        Begin an unload, after which no other gateway begins to use the instance.

        Returns None if another gateway uses it, so that it must stay. Else returns when another one
        used it last, in seconds since the epoch, 0 for never; `end_unload` must follow. While the
        store fails, only a gateway that is alone unloads.
        """
        try:
            return await self._store.claim_unload(self._host, self._name, identifier)
        except StoreFailure as failure:
            self._log.warning("could not ask who uses an instance", reason=str(failure))
            # What was seen at an earlier look is no reason to unload what others may use by now.
            return 0.0 if await self.look() and self.is_alone else None

    async def end_unload(self, identifier: str) -> None:
        """End an unload that was begun, however it ended; while the store fails, end it later."""
        try:
            await self._store.end_unload(self._host, self._name, identifier)
        except StoreFailure as failure:
            self._log.warning("could not show the end of an unload", reason=str(failure))
            self._in_background(self._end_later(identifier))

    async def aclose(self) -> None:
        """End the work in the background. What is still shown ends with this gateway."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _end(self, states: ModelStates) -> None:
        self._timer = None
        self._in_background(self._update(states))

    async def _update(self, states: ModelStates) -> None:
        """Take back the uses that have ended, and show those that could not be shown."""
        async with self._lock:
            used = {
                one
                for state in states
                if states.is_in_use(state)
                for one in state.instances.keys() - state.owned.keys()
            }
            over = self.shown - used
            new = used - self.shown if self._must_retry else set()
            self._must_retry = False
            # Not shown from now on: a request that comes during the write shows its use after it.
            self.shown -= over
            self._settled -= over
            changed = dict.fromkeys(over, False) | dict.fromkeys(new, True)
            leaving = await self._write(changed) if changed else set()
            if leaving is None:
                self.shown |= over
                self._must_retry = bool(new)
            else:
                self.shown |= new - leaving
                self._settled |= new - leaving
        self.end_soon(states)

    async def _end_later(self, identifier: str) -> None:
        while True:
            await asyncio.sleep(LINGER_S)
            with suppress(StoreFailure):
                return await self._store.end_unload(self._host, self._name, identifier)

    async def _write(self, uses: dict[str, bool]) -> set[str] | None:
        """Write uses; return the instances that are being unloaded, None if the store failed."""
        try:
            return await self._store.use_instances(self._host, self._name, uses, time.time())
        except StoreFailure as failure:
            self._log.warning("could not show the use of an instance", reason=str(failure))
            return None

    async def look(self) -> bool:
        """Look whether other gateways are alive; return whether that could be seen."""
        try:
            self.is_alone = not await self._store.others_alive(self._name)
        except StoreFailure as failure:
            self._log.warning("could not look for other gateways", reason=str(failure))
            return False
        return True

    def _in_background(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
