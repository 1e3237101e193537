"""
The instances that this gateway loaded, kept in the store so that none is forgotten in a crash.

A gateway gets a new name at each start, and the store knows which names belong to a running
process. The next gateway that looks adopts what a dead one left, so of two gateways with one store
each unloads only its own instances.

A store that fails is logged; nothing here fails a request.
"""

from __future__ import annotations

import asyncio
import uuid

import msgspec

from gateway.faults import StoreFailure
from gateway.observability.journal import get_logger
from gateway.store.interface import Store


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

    def __init__(self, store: Store, host: str) -> None:
        """Keep the instances of `host`, the address of LM Studio, under a new gateway's name."""
        self._store = store
        self._host = host
        self._name = uuid.uuid4().hex
        self._changed: dict[str, OwnInstance | None] = {}
        self._writing: asyncio.Task[None] | None = None
        self._log = get_logger()

    async def start(self) -> None:
        """Show other gateways on the same store that this one is alive."""
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

    async def others(self) -> set[str]:
        """Return the identifiers of instances that another living gateway loaded."""
        try:
            return await self._store.instances_of_others(self._host, self._name)
        except StoreFailure as failure:
            self._warn(failure)
            return set()

    def note(self, instance: OwnInstance) -> None:
        """Write an own instance as it is now; `written` waits for that."""
        self._change(instance.id, instance)

    def forget(self, identifier: str) -> None:
        """Write that an instance is not this gateway's own any more; `written` waits for that."""
        self._change(identifier, None)

    async def written(self) -> None:
        """Wait until everything that was noted is in the store, or the store has failed."""
        while self._writing is not None:
            await asyncio.wait({self._writing})

    async def aclose(self) -> None:
        """Write what is left, and stop showing other gateways that this one is alive."""
        await self.written()
        try:
            await self._store.withdraw(self._name)
        except StoreFailure as failure:
            self._warn(failure)

    def _change(self, identifier: str, instance: OwnInstance | None) -> None:
        self._changed[identifier] = instance
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        # Changes that come during a write go into the next one together.
        try:
            while self._changed:
                changed, self._changed = self._changed, {}
                documents = {
                    identifier: None if instance is None else msgspec.json.encode(instance)
                    for identifier, instance in changed.items()
                }
                try:
                    await self._store.update_instances(self._host, self._name, documents)
                except StoreFailure as failure:
                    self._warn(failure)
        finally:
            self._writing = None

    def _warn(self, failure: StoreFailure) -> None:
        self._log.warning(
            "the store failed; own instances may be forgotten after a restart", reason=str(failure)
        )
