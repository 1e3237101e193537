"""
Loading and unloading: one load at a time per model, held while a request runs, let go when idle.

Only instances that this gateway loaded, or that a client asked to unload, are ever unloaded, and
none while a request of ours runs on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from gateway._generated import host, internal
from gateway.call import local_text
from gateway.catalog import Catalog
from gateway.duration import parse_setting
from gateway.encoding import encode
from gateway.faults import UpstreamFailure
from gateway.journal import get_logger
from gateway.outcome import FetchCall
from gateway.settings import ModelSettings
from gateway.upstream import Upstream

FOREVER_S = (2**63 - 1) / 1e9
"""What "forever" is shown as: now plus the longest duration that Go has (ollama sheet §1.9)."""

CONTEXT_CAP = 32768
"""The most context that a request may ask for; some clients ask for a model's maximum with each."""


@dataclass
class _Hold:
    """One model's state: who uses it, what we loaded of it, and when it may go."""

    key: str
    keep_alive_s: float | None
    busy: int = 0
    owned: set[str] = field(default_factory=set)
    unload_when_idle: bool = False
    timer: asyncio.TimerHandle | None = None
    expires_at: float | None = None
    loading: asyncio.Task[None] | None = None

    def forget_load(self, task: asyncio.Task[None]) -> None:
        """Make room for the next load; a failure that nobody waits for any more ends here."""
        self.loading = None
        _retrieve(task)


class Lease:
    """One request's hold on a model, from before it is loaded until its answer has ended."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        row: internal.CatalogueRow,
        keep_alive: float | UnsetType | None,
        num_ctx: float | UnsetType,
    ) -> None:
        self._lifecycle = lifecycle
        self._row = row
        self._keep_alive = keep_alive
        self._num_ctx = num_ctx
        self._is_held = False

    async def prepare(self) -> None:
        """
        Hold the model, and load it first when it is not loaded and the host can be told to.

        A host without native loading loads with the first request. Raises UpstreamFailure.
        """
        self._hold()
        await self._lifecycle.ensure_loaded(self._row, self._num_ctx)

    async def load(self) -> None:
        """Hold and load the model, whatever the host takes for it. Raises UpstreamFailure."""
        await self.prepare()

    def release(self) -> None:
        """Let the model go; its keep-alive counts from here. A second call does nothing."""
        if self._is_held:
            self._is_held = False
            self._lifecycle.let_go(self._row)

    def _hold(self) -> None:
        self._is_held = True
        self._lifecycle.hold(self._row, self._keep_alive)


class Lifecycle:
    """The loaded models of one host, as far as this gateway has a part in them."""

    def __init__(self, upstream: Upstream, catalog: Catalog, settings: ModelSettings) -> None:
        self._upstream = upstream
        self._catalog = catalog
        self._settings = settings
        self._default_keep_alive_s = parse_setting(settings.keep_alive)
        self._holds: dict[str, _Hold] = {}
        self._recovering: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_logger()

    def lease(
        self,
        row: internal.CatalogueRow,
        keep_alive: float | UnsetType | None = UNSET,
        num_ctx: float | UnsetType = UNSET,
    ) -> Lease:
        """Return a hold that is not taken yet. `keep_alive` in seconds, None for ever."""
        return Lease(self, row, keep_alive, num_ctx)

    # -- for leases ---------------------------------------------------------------------------

    def hold(self, row: internal.CatalogueRow, keep_alive: float | UnsetType | None) -> None:
        """Count one more request on a model; an explicit keep-alive is the model's from now on."""
        hold = self._hold_of(row)
        hold.busy += 1
        self._stop_timer(hold)
        if not isinstance(keep_alive, UnsetType):
            hold.keep_alive_s = keep_alive
            hold.unload_when_idle = keep_alive == 0

    def let_go(self, row: internal.CatalogueRow) -> None:
        """Count one request less; the last one starts the timer."""
        hold = self._hold_of(row)
        hold.busy -= 1
        if hold.busy > 0:
            return
        if hold.unload_when_idle:
            hold.unload_when_idle = False
            hold.keep_alive_s = self._default_keep_alive_s
            self._start(self._unload_all(row))
        elif hold.owned:
            self._start_timer(hold, row)

    async def ensure_loaded(self, row: internal.CatalogueRow, num_ctx: float | UnsetType) -> None:
        """Load a model once, however many requests wait for it. Raises UpstreamFailure."""
        hold = self._hold_of(row)
        if hold.loading is None:
            if row.instances or self._catalog.dialect != "v1":
                return
            hold.loading = asyncio.create_task(self._load(row, hold, num_ctx))
            hold.loading.add_done_callback(hold.forget_load)
        # Shielded: the load goes on for the others when one of them leaves.
        await asyncio.shield(hold.loading)

    # -- for steps and the relay --------------------------------------------------------------

    async def unload(self, row: internal.CatalogueRow) -> None:
        """Unload every instance of a model, at once when it is idle, else when it becomes so."""
        hold = self._hold_of(row)
        self._stop_timer(hold)
        if hold.busy:
            hold.unload_when_idle = True
        else:
            await self._unload_all(row)

    async def recover(self, row: internal.CatalogueRow) -> None:
        """
        Get a model loaded after LM Studio said that it is not, once however many requests wait.

        A native load where there is one; else asking for the list, after which LM Studio loads by
        itself. Raises UpstreamFailure.
        """
        task = self._recovering.get(row.key)
        if task is None:
            task = asyncio.create_task(self._recover(row))
            self._recovering[row.key] = task
            task.add_done_callback(lambda done: self._recovered(row.key, done))
        await asyncio.shield(task)

    def running(self, rows: list[internal.CatalogueRow]) -> list[internal.RunningInstance]:
        """Return every loaded instance with its model, the one that lives longest first."""
        now = time.time()
        found: dict[str, tuple[float, internal.RunningInstance]] = {}
        for row in rows:
            for instance in row.instances:
                if instance.id in found:
                    continue
                expires = self._expires_at(row, instance, now)
                found[instance.id] = (
                    expires,
                    internal.RunningInstance(
                        row=row,
                        context_length=int(instance.context_length or row.max_context_length or 0),
                        expires_at=_local(expires),
                    ),
                )
        ordered = sorted(found.values(), key=lambda item: -item[0])
        return [instance for _, instance in ordered]

    async def aclose(self) -> None:
        """Stop every timer and wait for what is under way; nothing is unloaded for it."""
        for hold in self._holds.values():
            self._stop_timer(hold)
        pending = [*self._tasks, *self._recovering.values()]
        pending += [hold.loading for hold in self._holds.values() if hold.loading is not None]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    # -- inside -------------------------------------------------------------------------------

    def _hold_of(self, row: internal.CatalogueRow) -> _Hold:
        hold = self._holds.get(row.key)
        if hold is None:
            hold = self._holds[row.key] = _Hold(row.key, self._default_keep_alive_s)
        return hold

    async def _load(
        self, row: internal.CatalogueRow, hold: _Hold, num_ctx: float | UnsetType
    ) -> None:
        # A second look: a load of a loaded model may start a second copy (wire sheet §14.9).
        for current in await self._catalog.rows(fresh=True):
            if current.key == row.key and current.instances:
                return
        started = time.monotonic()
        loaded = await self._call(
            host.load(
                internal.LoadWish(
                    model=row.request_key, context_length=self._context_length(row, num_ctx)
                )
            ),
            timeout_s=self._settings.load_timeout_s,
        )
        hold.owned.add(loaded.instance_id or row.request_key)
        self._catalog.invalidate()
        self._log.info("loaded", model=row.key, seconds=round(time.monotonic() - started, 2))

    def _context_length(
        self, row: internal.CatalogueRow, num_ctx: float | UnsetType
    ) -> int | UnsetType:
        wanted = num_ctx if not isinstance(num_ctx, UnsetType) else self._settings.context_length
        if not wanted or wanted <= 0:
            return UNSET
        limit = row.max_context_length or CONTEXT_CAP
        return min(int(wanted), int(limit), CONTEXT_CAP)

    async def _recover(self, row: internal.CatalogueRow) -> None:
        if self._catalog.dialect == "v1":
            hold = self._hold_of(row)
            await self._load(row, hold, UNSET)
        else:
            await self._catalog.rows(fresh=True)

    def _recovered(self, key: str, task: asyncio.Task[None]) -> None:
        self._recovering.pop(key, None)
        _retrieve(task)

    async def _unload_all(self, row: internal.CatalogueRow) -> None:
        hold = self._hold_of(row)
        for current in await self._catalog.rows(fresh=True):
            if current.key == row.key:
                for instance in current.instances:
                    await self._unload_instance(instance.id)
                break
        hold.owned.clear()

    async def _unload_owned(self, row: internal.CatalogueRow) -> None:
        hold = self._hold_of(row)
        loaded = {
            instance.id
            for current in await self._catalog.rows(fresh=True)
            for instance in current.instances
        }
        for identifier in sorted(hold.owned & loaded):
            if hold.busy:
                return
            await self._unload_instance(identifier)
        hold.owned.clear()

    async def _unload_instance(self, identifier: str) -> None:
        await self._call(host.unload(internal.UnloadWish(instance_id=identifier)))
        self._catalog.invalidate()
        self._log.info("unloaded", instance=identifier)

    async def _call(self, call: FetchCall[Any, Any], timeout_s: float | None = None) -> Any:
        body = encode(call.body) if call.body is not None else None
        data = await self._upstream.fetch(call.method, call.path, body, timeout_s=timeout_s)
        try:
            return call.translate(call.decoder.decode(data))
        except msgspec.DecodeError as error:
            raise UpstreamFailure(f"its answer can't be read: {error}", fault="not_json") from error

    def _start_timer(self, hold: _Hold, row: internal.CatalogueRow) -> None:
        self._stop_timer(hold)
        if hold.keep_alive_s is None:
            return
        hold.expires_at = time.time() + hold.keep_alive_s
        loop = asyncio.get_running_loop()
        hold.timer = loop.call_later(
            hold.keep_alive_s, lambda: self._start(self._unload_owned(row))
        )

    def _stop_timer(self, hold: _Hold) -> None:
        if hold.timer is not None:
            hold.timer.cancel()
        hold.timer = hold.expires_at = None

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        async def quietly() -> None:
            try:
                await work
            except UpstreamFailure as failure:
                self._log.warning("could not unload", reason=failure.message)

        task = asyncio.create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _expires_at(
        self, row: internal.CatalogueRow, instance: internal.HostInstance, now: float
    ) -> float:
        hold = self._holds.get(row.key)
        if hold is not None and instance.id in hold.owned:
            if hold.keep_alive_s is None:
                return now + FOREVER_S
            return hold.expires_at or now + hold.keep_alive_s
        remaining = instance.remaining_ttl_seconds
        return now + (FOREVER_S if isinstance(remaining, UnsetType) else float(remaining))


def _retrieve(task: asyncio.Task[None]) -> None:
    """Take note of a task's failure, so that the loop does not report it as forgotten."""
    if not task.cancelled():
        task.exception()


def _local(epoch_s: float) -> str:
    return local_text(epoch_s)
