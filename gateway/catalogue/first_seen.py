"""
When each model was first seen: LM Studio does not say when it got a model, and listings need a
`modified_at` that stays.

The times are in the store. A store that fails or is slow holds up no list: a time is then written
later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from ..faults import StoreFailure
from ..observability.journal import get_logger
from ..store.interface import Store
from ..wire.times import local_text

WRITE_WAIT_S = 0.5
"""Seconds for which a list waits until the store has the times of new models."""


class FirstSeen:
    """The times of one host's models; all gateways on one store share them."""

    def __init__(self, store: Store, host: str) -> None:
        """Keep the times of `host`, the address of LM Studio, in `store`."""
        self._store = store
        self._host = host
        self._known: dict[str, int] = {}
        self._unwritten: dict[str, int] = {}
        self._writing: asyncio.Task[None] | None = None
        self._log = get_logger()

    def at(self, key: str) -> str:
        """Return a noted model's time in the form of listings (RFC 3339, local time)."""
        return local_text(self._known[key] / 1e9)

    async def note(self, keys: Iterable[str]) -> None:
        """Note the keys of the models that exist now; a model that was noted keeps its time."""
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        if not new and not self._unwritten:
            return
        self._unwritten |= dict.fromkeys(new, time.time_ns())
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
            self._writing.add_done_callback(self._end)
            if new:
                await asyncio.wait({self._writing}, timeout=WRITE_WAIT_S)
        self._known |= {key: at for key, at in self._unwritten.items() if key not in self._known}

    async def _write(self) -> None:
        """Write times that are not in the store yet; an older time of another gateway stays."""
        unwritten = dict(self._unwritten)
        try:
            at_ns = min(unwritten.values())
            known = await self._store.note_first_seen(self._host, unwritten, at_ns)
        except StoreFailure as failure:
            self._log.warning("could not store when models were first seen", reason=str(failure))
            return
        self._known |= {key: known.get(key, at) for key, at in unwritten.items()}
        self._unwritten = {key: at for key, at in self._unwritten.items() if key not in unwritten}

    def _end(self, _: asyncio.Task[None]) -> None:
        self._writing = None
