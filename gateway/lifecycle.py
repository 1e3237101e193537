"""
Loading and unloading: one load at a time per model, held while a request runs, let go when idle.

Only instances that this gateway loaded, or that a client asked to unload, are ever unloaded, and
none while a request of ours runs on it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET, UnsetType

from gateway import names
from gateway._generated import host, internal
from gateway.call import local_text
from gateway.catalog import Catalog
from gateway.duration import parse_setting, shown
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
    is_due: bool = False
    timer: asyncio.TimerHandle | None = None
    expires_at: float | None = None
    loading: asyncio.Task[None] | None = None
    unloading: asyncio.Task[None] | None = None

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
        self._is_held = True
        self._lifecycle.hold(self._row, self._keep_alive)
        await self._lifecycle.ensure_loaded(self._row, self._num_ctx)

    def release(self) -> None:
        """Let the model go; its keep-alive counts from here. A second call does nothing."""
        if self._is_held:
            self._is_held = False
            self._lifecycle.let_go(self._row)


class Lifecycle:
    """The loaded models of one host, as far as this gateway has a part in them."""

    def __init__(self, upstream: Upstream, catalog: Catalog, settings: ModelSettings) -> None:
        self._upstream = upstream
        self._catalog = catalog
        self._settings = settings
        self._default_keep_alive_s = parse_setting(settings.keep_alive)
        self._holds: dict[str, _Hold] = {}
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
        hold.is_due = False
        self._stop_timer(hold)
        if not isinstance(keep_alive, UnsetType):
            hold.keep_alive_s = keep_alive
            hold.unload_when_idle = keep_alive == 0

    def let_go(self, row: internal.CatalogueRow) -> None:
        """Count one request less; the last one starts the timer."""
        hold = self._hold_of(row)
        hold.busy -= 1
        # A load that nobody waits for any more settles it at its own end.
        if not hold.busy and hold.loading is None:
            self._settle(hold, row)

    async def ensure_loaded(self, row: internal.CatalogueRow, num_ctx: float | UnsetType) -> None:
        """Load a model once, however many requests wait for it. Raises UpstreamFailure."""
        hold = self._hold_of(row)
        if hold.unloading is not None:
            # The instances that the row shows are on their way out.
            await asyncio.wait({hold.unloading})
        elif hold.loading is None and row.instances:
            return
        if self._catalog.dialect == "v1":
            await self._load_once(row, hold, num_ctx)

    # -- for steps and the relay --------------------------------------------------------------

    async def unload(self, row: internal.CatalogueRow) -> None:
        """Unload every instance of a model, at once when it is idle, else when it becomes so."""
        hold = self._hold_of(row)
        self._stop_timer(hold)
        hold.unload_when_idle = True
        if hold.unloading is not None:
            await asyncio.wait({hold.unloading})
        if hold.unload_when_idle and not hold.busy and hold.loading is None:
            await asyncio.shield(self._unload_once(hold, row))

    async def recover(self, row: internal.CatalogueRow) -> None:
        """
        Get a model loaded after LM Studio said that it is not, once however many requests wait.

        A native load where there is one; else asking for the list, after which LM Studio loads by
        itself. Raises UpstreamFailure.
        """
        if self._catalog.dialect == "v1":
            await self._load_once(row, self._hold_of(row), UNSET)
        else:
            await self._catalog.rows(fresh=True)

    def running(self, rows: list[internal.CatalogueRow]) -> list[internal.RunningInstance]:
        """Return every loaded instance with its model, the one that lives longest first."""
        now = time.time()
        found: dict[str, tuple[float, internal.RunningInstance]] = {}
        for row in rows:
            for instance in row.instances:
                # A model is shown as its variant when its instance names one.
                named = names.split_instance(instance.id)[0]
                if instance.id in found and named != row.request_key:
                    continue
                expires = self._expires_at(row, instance, now)
                found[instance.id] = (
                    expires,
                    internal.RunningInstance(
                        row=row,
                        context_length=int(instance.context_length or row.max_context_length or 0),
                        expires_at=local_text(expires),
                    ),
                )
        ordered = sorted(found.values(), key=lambda item: -item[0])
        return [instance for _, instance in ordered]

    async def aclose(self) -> None:
        """Stop every timer and wait for what is under way; nothing is unloaded for it."""
        for hold in self._holds.values():
            self._stop_timer(hold)
        under_way = [(hold.loading, hold.unloading) for hold in self._holds.values()]
        pending = [task for tasks in under_way for task in tasks if task is not None]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    # -- inside -------------------------------------------------------------------------------

    def _hold_of(self, row: internal.CatalogueRow) -> _Hold:
        hold = self._holds.get(row.key)
        if hold is None:
            hold = self._holds[row.key] = _Hold(row.key, self._default_keep_alive_s)
        return hold

    async def _load_once(
        self, row: internal.CatalogueRow, hold: _Hold, num_ctx: float | UnsetType
    ) -> None:
        if hold.loading is None:
            hold.loading = asyncio.create_task(self._load_and_settle(row, hold, num_ctx))
            hold.loading.add_done_callback(hold.forget_load)
        # Shielded: the load goes on for the others when one of them leaves.
        await asyncio.shield(hold.loading)

    async def _load_and_settle(
        self, row: internal.CatalogueRow, hold: _Hold, num_ctx: float | UnsetType
    ) -> None:
        await self._load(row, hold, num_ctx)
        if not hold.busy:
            self._settle(hold, row)

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
        self._log.info("loaded", model=row.key, took=shown(time.monotonic() - started))

    def _context_length(
        self, row: internal.CatalogueRow, num_ctx: float | UnsetType
    ) -> int | UnsetType:
        wanted = num_ctx if not isinstance(num_ctx, UnsetType) else self._settings.context_length
        if not wanted or wanted <= 0:
            return UNSET
        limit = row.max_context_length or CONTEXT_CAP
        return min(int(wanted), int(limit), CONTEXT_CAP)

    def _settle(self, hold: _Hold, row: internal.CatalogueRow) -> None:
        """See what becomes of a model that nobody uses now."""
        if hold.unload_when_idle:
            self._unload_once(hold, row)
        elif hold.owned:
            self._start_timer(hold, row)

    def _unload_once(self, hold: _Hold, row: internal.CatalogueRow) -> asyncio.Task[None]:
        """Unload what may go; a failure that nobody waits for is for the log."""
        if hold.unloading is None:
            hold.unloading = asyncio.create_task(self._unload(hold, row))
            hold.unloading.add_done_callback(self._note_unload)
        return hold.unloading

    async def _unload(self, hold: _Hold, row: internal.CatalogueRow) -> None:
        """
        Unload all instances when somebody asked for that, else those of ours that are due.

        Ends early when somebody uses the model meanwhile, or wants it to stay.
        """
        try:
            for identifier in await self._loaded(row):
                if hold.busy or not (hold.unload_when_idle or hold.is_due):
                    return
                if hold.unload_when_idle or identifier in hold.owned:
                    await self._unload_instance(identifier)
            hold.owned.clear()
            hold.unload_when_idle = hold.is_due = False
            if not hold.busy:
                # What a client wanted was for the load that has ended (ollama sheet §3.1).
                hold.keep_alive_s = self._default_keep_alive_s
        except UpstreamFailure:
            hold.unload_when_idle = hold.is_due = False
            raise
        finally:
            hold.unloading = None

    async def _loaded(self, row: internal.CatalogueRow) -> list[str]:
        for current in await self._catalog.rows(fresh=True):
            if current.key == row.key:
                return [instance.id for instance in current.instances]
        return []

    def _note_unload(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and isinstance(failure := task.exception(), UpstreamFailure):
            self._log.warning("could not unload", reason=failure.message)

    async def _unload_instance(self, identifier: str) -> None:
        await self._call(host.unload(internal.UnloadWish(instance_id=identifier)))
        self._catalog.invalidate()
        self._log.info("unloaded", instance=identifier)

    async def _call(self, call: FetchCall[Any, Any], timeout_s: float | None = None) -> Any:
        body = encode(call.body) if call.body is not None else None
        data = await self._upstream.fetch(call.method, call.path, body, timeout_s=timeout_s)
        return call.translate(call.decode(data))

    def _start_timer(self, hold: _Hold, row: internal.CatalogueRow) -> None:
        self._stop_timer(hold)
        if hold.keep_alive_s is None:
            return
        hold.expires_at = time.time() + hold.keep_alive_s
        loop = asyncio.get_running_loop()
        hold.timer = loop.call_later(hold.keep_alive_s, self._end_time, hold, row)

    def _end_time(self, hold: _Hold, row: internal.CatalogueRow) -> None:
        hold.timer = None
        hold.is_due = True
        self._unload_once(hold, row)

    def _stop_timer(self, hold: _Hold) -> None:
        if hold.timer is not None:
            hold.timer.cancel()
        hold.timer = hold.expires_at = None

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
