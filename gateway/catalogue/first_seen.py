"""
When each model was first seen: LM Studio does not say when it got a model, and listings need a
`modified_at` that stays.

The times are in the store. A store that fails is logged; a time then lasts as long as the process.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from gateway.faults import StoreFailure
from gateway.observability.journal import get_logger
from gateway.store.interface import Store
from gateway.wire.times import local_text


class FirstSeen:
    """The times of one host's models; all gateways on one store share them."""

    def __init__(self, store: Store, host: str) -> None:
        """Keep the times of `host`, the address of LM Studio, in `store`."""
        self._store = store
        self._host = host
        self._known: dict[str, int] = {}
        self._log = get_logger()

    def at(self, key: str) -> str:
        """Return a noted model's time in the form of listings (RFC 3339, local time)."""
        return local_text(self._known[key] / 1e9)

    async def note(self, keys: Iterable[str]) -> None:
        """Note the keys of the models that exist now; a model that was noted keeps its time."""
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        if not new:
            return
        now = time.time_ns()
        try:
            known = await self._store.note_first_seen(self._host, new, now)
        except StoreFailure as failure:
            self._log.warning("could not store when models were first seen", reason=str(failure))
            known = {}
        self._known |= {key: known.get(key, now) for key in new}
