"""
The instances that this gateway loaded, kept in the store so that none is forgotten in a crash.

A gateway gets a new name at each start, and the store knows which names belong to a running
process. The next gateway that looks adopts what a dead one left, so of two gateways with one store
each unloads only its own instances.

A store that fails is logged; nothing here fails a request. What could not be written is written
later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import msgspec

from ..faults import StoreFailure
from ..observability.journal import get_logger
from ..store.interface import Store

WRITE_WAIT_S = 1.0
"""Seconds for which a load waits until the store has it. Later it goes on without."""
WRITE_RETRY_S = 2.0
"""Seconds after which a failed write is tried again."""


class OwnInstance(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    # The stored name of the field is older than the field's.
    rename={"state": "hold"},
):
    """
    One instance that a gateway loaded, as the store has it.

    `state` is the name of the model's state, `key` LM Studio's key of the model, and `request_key`
    the name in the load call. `keep_alive_s` is in seconds, None is forever. `expires_at` and
    `begun_at` are seconds since the epoch; `expires_at` is None for never. `context_length` is in
    tokens, None until a list states it. With `is_pending` the load has begun and its end is not
    known; `id` is a placeholder then.
    """

    id: str
    state: str
    key: str
    request_key: str
    keep_alive_s: float | None
    expires_at: float | None
    begun_at: float
    context_length: int | None = None
    is_pending: bool = False


class Ownership:
    """This gateway's instances on one host, as the store has them."""

    def __init__(self, store: Store, host: str, gateway: str, *, announces: bool = True) -> None:
        """
        Keep the instances of `host`, its identity in the store, under a gateway's new name.

        With `announces` the gateway is shown to be alive from `start` to `aclose`; one with several
        hosts does that itself, once.
        """
        self._announces = announces
        self._store = store
        self._host = host
        self._name = gateway
        self._changed: dict[str, OwnInstance | None] = {}
        self._loaded: set[str] = set()
        self._writing: asyncio.Task[None] | None = None
        self._must_write = asyncio.Event()
        self._late_claims: dict[str, asyncio.Future[bool]] = {}
        """Claims of loads for whose answer nobody waits any more."""
        self._failed = False
        self._log = get_logger()

    async def start(self) -> None:
        """Show other gateways on the same store that this one is alive."""
        if not self._announces:
            return
        try:
            await self._store.announce(self._name)
        except StoreFailure as failure:
            self._log.warning(
                "could not show other gateways that this one is alive", reason=str(failure)
            )

    async def adopt(self) -> list[OwnInstance]:
        """Take over the instances of gateways that are dead, and return them."""
        adopted = []
        try:
            documents = await self._store.take_over_instances(self._host, self._name)
        except StoreFailure as failure:
            self._warn(failure)
            return []
        for document in documents:
            try:
                adopted.append(msgspec.json.decode(document, type=OwnInstance))
            except msgspec.DecodeError as error:
                self._log.warning(
                    "could not read an instance of an earlier process", reason=str(error)
                )
        return adopted

    async def trouble(self) -> str:
        """Return why the store can't be written now, in a sentence; empty if it can."""
        return await self._store.trouble()

    async def others(self) -> set[str]:
        """Return the identifiers of instances that another living gateway loaded."""
        try:
            return await self._store.instances_of_others(self._host, self._name)
        except StoreFailure as failure:
            self._warn(failure)
            return set()

    async def claim_load(self, pending: OwnInstance) -> bool:
        """
        Write that a load starts, unless another living gateway has written that it does it.

        A store that can't be written forbids no load, unless it can be read and has such a record,
        or another gateway is the one that loads meanwhile. The record is written later then.
        """
        self._changed.pop(pending.id, None)
        self._late_claims.pop(pending.id, None)
        await self.written()
        document = msgspec.json.encode(pending)
        claim = asyncio.ensure_future(
            self._store.claim_load(self._host, self._name, pending.id, document)
        )
        try:
            await asyncio.wait({claim}, timeout=WRITE_WAIT_S)
            if claim.done():
                return claim.result()
        except StoreFailure as failure:
            self._warn(failure)
        else:
            claim.add_done_callback(_drop)
            self._late_claims[pending.id] = claim
        if pending.id in await self.others():
            return False
        if not await self._store.may_load_unclaimed(self._host, self._name, pending.id):
            return False
        self.note(pending)
        return True

    def note(self, instance: OwnInstance, *, is_new: bool = False) -> None:
        """
        Write an own instance as it is now; `written` waits for that.

        A new one was loaded just now, so no other gateway can have it.
        """
        if is_new:
            self._loaded.add(instance.id)
        self._change(instance.id, instance)

    def forget(self, identifier: str) -> None:
        """Write that an instance is not this gateway's own any more; `written` waits for that."""
        self._change(identifier, None)
        late = self._late_claims.get(identifier)
        if late is not None:
            late.add_done_callback(partial(self._end_late_claim, identifier))

    def write_again(self) -> None:
        """Write at once what could not be written: the store can be used again."""
        self._must_write.set()

    async def written(self) -> None:
        """Wait until everything that was noted is in the store, but not for long."""
        if self._writing is not None and not self._failed:
            await asyncio.wait({self._writing}, timeout=WRITE_WAIT_S)

    async def aclose(self) -> None:
        """Write what is left, and stop showing other gateways that this one is alive."""
        await self.written()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing})
            await self._write_once()
        if not self._announces:
            return
        try:
            await self._store.withdraw(self._name)
        except StoreFailure as failure:
            self._warn(failure)

    def _change(self, identifier: str, instance: OwnInstance | None) -> None:
        self._changed[identifier] = instance
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    def _end_late_claim(self, identifier: str, claim: asyncio.Future[bool]) -> None:
        """Write the end of a load once more: the store may have got its claim only afterwards."""
        if self._late_claims.get(identifier) is claim:
            del self._late_claims[identifier]
            if not claim.cancelled():
                self._change(identifier, None)

    async def _write(self) -> None:
        # Changes that come during a write go into the next one together.
        try:
            while self._changed:
                self._must_write.clear()
                if not await self._write_once():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(WRITE_RETRY_S):
                            await self._must_write.wait()
        finally:
            self._writing = None

    async def _write_once(self) -> bool:
        """Write all changes together; return whether the store took them."""
        changed, self._changed = self._changed, {}
        loaded, self._loaded = self._loaded, set()
        try:
            await self._store.update_instances(
                self._host, self._name, _documents(changed), loaded & changed.keys()
            )
        except StoreFailure as failure:
            self._changed = changed | self._changed
            self._loaded |= loaded
            self._warn(failure)
            return False
        except asyncio.CancelledError:
            self._changed = changed | self._changed
            self._loaded |= loaded
            raise
        self._failed = False
        return True

    def _warn(self, failure: StoreFailure) -> None:
        if not self._failed:
            self._failed = True
            self._log.warning(
                "the store failed; own instances may be forgotten after a restart",
                reason=str(failure),
            )


def _documents(changed: Mapping[str, OwnInstance | None]) -> dict[str, bytes | None]:
    return {
        identifier: None if instance is None else msgspec.json.encode(instance)
        for identifier, instance in changed.items()
    }


def _drop(claim: asyncio.Future[bool]) -> None:
    """Take note of the end of a claim that nobody waited for."""
    if not claim.cancelled():
        claim.exception()
