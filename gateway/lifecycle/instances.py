"""
The loaded instances: updated from LM Studio's list, with the gateway's own marked.

LM Studio calls each loaded copy of a model an instance. When to load or unload one is decided in
`changes`; `ownership` keeps the own ones in the store.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from msgspec import UnsetType, structs

from ..names import keys
from ..store.interface import LOAD_S
from ..types import internal
from .ownership import Ownership, OwnInstance
from .state import ModelState, ModelStates

BROKEN_S = 120.0
"""
The same as `LOAD_S` after a connection broke or a process ended: then it is likely that the host
has ended, too, and a model that nobody loads can't be used.
"""


class Instances:
    """The instances of one host's models, in the states that the lifecycle shares."""

    def __init__(self, states: ModelStates, ownership: Ownership) -> None:
        """Record instances in `states`, and own ones also in the store."""
        self._states = states
        self._ownership = ownership

    def update_from(self, rows: Iterable[internal.CatalogueRow]) -> list[ModelState]:
        """
        Bring every state up to date with LM Studio's list.

        Returns the models whose lost load has come to an end: an instance of it is listed.
        """
        rows = list(rows)
        listed: dict[str, dict[str, internal.HostInstance]] = {}
        by_key: dict[str, set[str]] = {}
        recognised: list[ModelState] = []
        for row in rows:
            by_key.setdefault(row.key, set()).add(row.instances_of)
        for row in rows:
            for instance in row.instances:
                base = keys.split_instance(instance.id)[0]
                name = base if base in by_key[row.key] else row.key
                state = self._states.named(name, row.key)
                listed.setdefault(name, {})[instance.id] = instance
                if self._recognise(state, instance):
                    recognised.append(state)
        for state in self._states:
            self._update(state, listed.get(state.name, {}))
        return recognised

    def own(self, state: ModelState, instance: OwnInstance, *, is_new: bool = False) -> None:
        """Record an instance as loaded by this gateway, as it is now; a new one just now."""
        state.owned[instance.id] = instance
        self._ownership.note(instance, is_new=is_new)

    def disown(self, state: ModelState, identifier: str) -> None:
        """Record that an instance is gone or is not the gateway's own any more."""
        if state.owned.pop(identifier, None) is not None:
            self._ownership.forget(identifier)

    def adopt(self, state: ModelState, instance: OwnInstance) -> None:
        """Take over an instance, or a load without a known end, that a dead gateway left."""
        state.keep_alive_s = instance.keep_alive_s
        if instance.is_pending:
            state.pending = instance
            state.lost_until = min(instance.begun_at + LOAD_S, time.time() + BROKEN_S)
        else:
            state.owned[instance.id] = instance
            state.instances.setdefault(instance.id, internal.HostInstance(id=instance.id))

    async def claim_load(self, state: ModelState, request_key: str) -> bool:
        """
        Record that a load starts, and return once the record is in the store.

        `request_key` is the model's name in the load call. If the process ends during the load, the
        next one knows the instance by this record. Returns False, and records nothing, while
        another gateway loads the model.
        """
        pending = OwnInstance(
            id=f"pending {state.name}",
            state=state.name,
            key=state.key,
            request_key=request_key,
            keep_alive_s=state.keep_alive_s,
            expires_at=None,
            begun_at=time.time(),
            is_pending=True,
        )
        if not await self._ownership.claim_load(pending):
            state.left_to_others = await self._ownership.trouble()
            return False
        state.pending = pending
        return True

    def note_lost(self, state: ModelState, search_s: float) -> None:
        """
        Record that the end of a load was not seen, and that its instance is searched for.

        `search_s` is how long it may still be loading, in seconds after the load began.
        """
        if state.pending is not None:
            state.lost_until = state.pending.begun_at + search_s

    async def note_loaded(
        self, state: ModelState, pending: OwnInstance, instance: internal.HostInstance
    ) -> None:
        """Record the instance that a load has made, and return once it is in the store."""
        self.end_pending(state)
        state.has_lost_one = False
        state.instances = {**state.instances, instance.id: instance}
        keep_alive_s = state.keep_alive_s
        expires_at = None if keep_alive_s is None else time.time() + keep_alive_s
        self.own(
            state,
            structs.replace(
                pending,
                id=instance.id,
                is_pending=False,
                keep_alive_s=keep_alive_s,
                expires_at=expires_at,
            ),
            is_new=True,
        )
        await self._ownership.written()

    def end_pending(self, state: ModelState) -> None:
        """Record that the end of a load is known, or that it does not matter any more."""
        if state.pending is not None:
            self._ownership.forget(state.pending.id)
            state.pending = None
        state.lost_until = None

    def _update(self, state: ModelState, listed: dict[str, internal.HostInstance]) -> None:
        was_loaded = bool(state.instances)
        state.instances = listed
        gone = [identifier for identifier in state.owned if not self._is_still(state, identifier)]
        for identifier in gone:
            self.disown(state, identifier)
        _note_given_context(state)
        is_over = (was_loaded and not listed) or (gone and not state.owned)
        if is_over and state.task is None:
            state.reset(self._states.default_keep_alive_s)

    def _recognise(self, state: ModelState, instance: internal.HostInstance) -> bool:
        """Own an instance if it is the one whose load was lost sight of; return whether it is."""
        pending, is_lost = state.pending, state.lost_until is not None
        if (
            pending is None
            or not (is_lost or state.has_lost_one)
            or instance.id in state.owned
            # LM Studio names an instance of the selected variant by the model's key.
            or keys.split_instance(instance.id)[0] not in (pending.request_key, pending.state)
            or not isinstance(instance.remaining_ttl_seconds, UnsetType)
        ):
            return False
        found = structs.replace(
            pending, id=instance.id, is_pending=False, keep_alive_s=state.keep_alive_s
        )
        self.own(state, found, is_new=True)
        if is_lost:
            self.end_pending(state)
        return is_lost

    def _is_still(self, state: ModelState, identifier: str) -> bool:
        """
        Whether an own instance is still loaded, and not another one under the same identifier.

        LM Studio gives a time to live to what it loads for requests, and none to explicit loads.
        """
        instance, owned = state.instances.get(identifier), state.owned[identifier]
        if instance is None or not isinstance(instance.remaining_ttl_seconds, UnsetType):
            return False
        before, now = owned.context_length, instance.context_length
        if before is None and not isinstance(now, UnsetType):
            state.owned[identifier] = structs.replace(owned, context_length=int(now))
        return before is None or isinstance(now, UnsetType) or before == int(now)


def _note_given_context(state: ModelState) -> None:
    """Remember which context length was given for another one, so as not to ask again."""
    context = state.context_length
    requested = state.requested_context
    if requested is not None and context is not None and context != requested:
        state.given_contexts[requested] = context
        state.requested_context = None
