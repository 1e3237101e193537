"""
The stream of changes that open pages get: taken, rendered and encoded once for all of them.

It runs while a page is open, at most twice a second. A page keeps no buffer: one that is slow gets
what has changed since its last event, and one that takes nothing for too long is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

import msgspec

from ..observability.journal import get_logger
from ..wire.writing import encode

INTERVAL_S = 0.5
"""Seconds between two looks."""
MOST_PAGES = 64
"""How many pages may be open at a time."""
HEARTBEAT_S = 15.0
"""Seconds after which a page is sent a comment if nothing has changed."""
SLOW_S = 20.0
"""Seconds that a page may take for one event before it is dropped."""

_COMMENT = b": nothing has changed\n\n"
_RETRY = b"retry: 2000\n\n"
"""How long a browser waits before it connects anew, in milliseconds."""


class Feed:
    """The changes of a snapshot, for any number of pages up to a limit."""

    def __init__(
        self,
        take: Callable[[], msgspec.Struct],
        render: Callable[[str, object], str],
        ask: Callable[[], None],
        stop: Callable[[], None],
    ) -> None:
        """
        Follow what `take` returns, whose fields `render` writes as HTML.

        `ask` is called before each look, and `stop` when the last page is closed.
        """
        self._take = take
        self._render = render
        self._ask = ask
        self._stop = stop
        self._values: dict[str, object] = {}
        self._sections: dict[str, tuple[int, str]] = {}
        """Each section's HTML, and the version in which it became that."""
        self._version = 0
        self._events: dict[int, bytes] = {}
        """The events to this version from others, as far as a page wanted them."""
        self._changed = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._is_closed = False
        self.pages = 0
        """How many pages are open."""
        self._log = get_logger()

    @property
    def is_full(self) -> bool:
        """Whether no more pages may be opened."""
        return self.pages >= MOST_PAGES

    async def follow(self, push: Callable[[bytes], Any]) -> None:
        """
        Send a page everything, and then its changes, until it leaves or the gateway ends.

        `push` sends bytes, and may return an awaitable to wait for. Returns when a page is dropped.
        """
        self.pages += 1
        try:
            if self._running is None:
                self._look()
                loop = asyncio.get_running_loop()
                self._running = loop.create_task(self._run(), context=Context())
            await self._send(push, _RETRY)
            seen = 0
            while not self._is_closed:
                if seen < self._version:
                    event, seen = self._event_since(seen), self._version
                elif await self._waited():
                    continue
                else:
                    event = _COMMENT
                await self._send(push, event)
        except TimeoutError:
            self._log.info("a page is dropped", reason=f"it took nothing for {SLOW_S:g} s")
        finally:
            self.pages -= 1
            if not self.pages:
                self._rest()

    def close(self) -> None:
        """End all pages' streams: the gateway is about to end."""
        self._is_closed = True
        self._wake()

    # -- inside -------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                self._look()
            except Exception:
                # The page is one of many things that a gateway does: it goes on with the next look.
                self._log.exception("the page's stream has failed (internal error)")

    def _look(self) -> None:
        self._ask()
        taken = self._take()
        changed = {
            name: value
            for name in taken.__struct_fields__
            for value in (getattr(taken, name),)
            if name not in self._values or self._values[name] != value
        }
        if not changed:
            return
        rendered = {name: self._render(name, value) for name, value in changed.items()}
        self._values |= changed
        self._version += 1
        self._events.clear()
        self._sections |= {name: (self._version, html) for name, html in rendered.items()}
        self._wake()

    def _wake(self) -> None:
        before, self._changed = self._changed, asyncio.Event()
        before.set()

    async def _waited(self) -> bool:
        """Wait for a change; return False if there was none for a while."""
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _send(self, push: Callable[[bytes], Any], part: bytes) -> None:
        """Send a part. Raises TimeoutError for a page that takes nothing."""
        if (pending := push(part)) is not None:
            async with asyncio.timeout(SLOW_S):
                await pending

    def _event_since(self, seen: int) -> bytes:
        """Return the event with the sections that have changed since a version."""
        event = self._events.get(seen)
        if event is None:
            changed = {
                name: html for name, (version, html) in self._sections.items() if version > seen
            }
            data = encode({"now": round(time.time(), 1), "sections": changed})
            event = self._events[seen] = b"data: " + data + b"\n\n"
        return event

    def _rest(self) -> None:
        """Do and keep nothing while nobody looks."""
        if self._running is not None:
            self._running.cancel()
            self._running = None
        self._values.clear()
        self._sections.clear()
        self._events.clear()
        self._version = 0
        self._stop()
