"""
The snapshot that the page shows, taken from what the gateway knows anyway.

`Snapshots.take` asks nobody. `Snapshots.ask_hosts` does, while somebody looks: a host that is there
is never polled otherwise.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextvars import Context
from datetime import datetime
from typing import Any

import msgspec

from ..catalogue.slots import slots_of
from ..catalogue.view import View
from ..fleet.fleet import Fleet
from ..fleet.host import Host
from ..observability.record import Record
from ..observability.traffic import MOST_TEXT, Ended, Traffic
from ..observability.version import find_version
from ..queueing.waiting import Waiting, Waits
from ..server.asgi import header
from ..server.routes import OWN
from ..settings.live import LiveSettings
from ..settings.schema import HostSettings, Settings
from ..settings.written import as_value, describe, shown_url
from ..store.interface import Store
from ..types import internal
from .merging import cut_queue, together
from .peers import Other
from .records import (
    About,
    ActionShown,
    EndedRequest,
    HostShown,
    LoadedModel,
    ModelShown,
    Part,
    Queue,
    QueuedRequest,
    RunningRequest,
    SettingShown,
    Snapshot,
)

ASK_S = 5.0
"""Seconds between two looks at a host while a page is open; many hosts are asked more seldom."""
LOOKS_PER_S = 4
"""How many hosts are looked at in a second at most."""
LOOK_LIMIT_S = 5.0
"""Seconds that such a look may take."""
FOREVER_S = 50 * 365 * 86400
"""A model that is loaded for longer than that is loaded for ever."""


class Snapshots:
    """Takes snapshots of a gateway."""

    def __init__(self, fleet: Fleet, live: LiveSettings, traffic: Traffic, store: Store) -> None:
        self._fleet = fleet
        self._live = live
        self._traffic = traffic
        self._store = store
        self._started = time.time()
        self._asked_at: dict[str, float] = {}
        self._looks: set[asyncio.Task[Any]] = set()
        self._trouble = ""
        self.acts: Callable[[], tuple[ActionShown, ...]] = tuple
        """Returns what was begun on the page."""
        self.kept: Callable[[], frozenset[str]] = frozenset
        """Returns the ids of requests whose bodies are kept."""
        self.others: Callable[[], list[Other]] = list
        """Returns what the other processes do."""
        self._models: tuple[tuple[View | None, ...], tuple[ModelShown, ...]] = ((), ())
        self._settings: tuple[Settings | None, tuple[SettingShown, ...]] = (None, ())

    def take(self) -> Snapshot:
        """Return what is known now."""
        part = self.part()
        own = Snapshot(
            about=self._about(),
            hosts=part.hosts,
            actions=part.actions,
            running=part.running,
            queue=part.queue,
            recent=part.recent,
            models=self._known_models(),
            settings=self._known_settings(),
        )
        return together(own, self.others())

    def part(self) -> Part:
        """Return what this process does now."""
        return Part(
            hosts=tuple(self._host(host) for host in self._fleet.hosts),
            actions=self.acts(),
            running=tuple(self._running()),
            queue=self._queue(),
            recent=tuple(self._recent()),
        )

    def ask_hosts(self) -> None:
        """Begin to look at the hosts, and at the store, that nobody has looked at for a while."""
        now, hosts = time.monotonic(), self._fleet.hosts
        pause_s = max(ASK_S, len(hosts) / LOOKS_PER_S)
        free = max(1, LOOKS_PER_S // 2)
        for host in hosts:
            if free and now - self._asked_at.get(host.name, -pause_s) >= pause_s:
                free -= 1
                self._asked_at[host.name] = now
                self._begin(host.presence.look(LOOK_LIMIT_S))
        if now - self._asked_at.get("", -ASK_S) >= ASK_S:
            self._asked_at[""] = now
            self._begin(self._ask_store())

    def stop(self) -> None:
        """Ask no more, and forget what was prepared for a page."""
        for look in self._looks:
            look.cancel()
        self._asked_at.clear()
        self._models = ((), ())
        self._settings = (None, ())

    async def aclose(self) -> None:
        """Stop, and wait until nobody is asked any more."""
        looks = list(self._looks)
        self.stop()
        await asyncio.gather(*looks, return_exceptions=True)

    def _begin(self, work: Any) -> None:
        # Without the record of the request that looks.
        look = asyncio.get_running_loop().create_task(work, context=Context())
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)

    async def _ask_store(self) -> None:
        self._trouble = await self._store.trouble()

    def _about(self) -> About:
        settings = self._live.current.store
        place = shown_url(settings.url) if settings.url else settings.path or "in memory"
        return About(
            version=find_version() or "a checkout",
            started=self._started,
            store=f"{place}: {self._trouble}" if self._trouble else place,
            is_store_well=not self._trouble,
        )

    def _host(self, host: Host) -> HostShown:
        view, state = host.catalogue.view, host.presence.state
        reason = "" if state is None else state.sentence
        if self._fleet.is_one:
            is_up = host.presence.is_up()
            shown = "unknown" if is_up is None else "up" if is_up else "down"
        else:
            shown = self._fleet.state_of(host)
            if not reason and host.failure is not None:
                reason = host.failure.message
        rows = [] if view is None else view.rows
        return HostShown(
            name=_plain(host.name),
            url=shown_url(host.upstream.url),
            state=shown,
            dialect=(view.dialect if view is not None else "") or "",
            reason=reason,
            tier=host.settings.tier,
            # With one host nobody counts: the page has the requests themselves.
            running=None if self._fleet.is_one else host.running + host.elsewhere,
            waiting=host.lifecycle.waiting,
            models=len(rows),
            loaded=tuple(_loaded(each, host.settings) for each in host.lifecycle.running(rows)),
            can_drain=not self._fleet.is_one,
        )

    def _running(self) -> Iterable[RunningRequest]:
        now, clock_ns = time.time(), time.perf_counter_ns()
        for record, scope in self._traffic.running.items():
            path = record.route or str(scope["path"])
            if path.startswith(OWN) or path in self._traffic.skipped:
                continue
            yield RunningRequest(
                id=record.id,
                what=f"{scope['method']} {path[:MOST_TEXT]}",
                model=_model_of(record),
                host=_plain(record.host or ""),
                who=_who(header(scope, b"user-agent")[:MOST_TEXT], record.key),
                since=round(now - (clock_ns - record.started_ns) / 1e9, 0),
                state="answering" if record.events or record.first_ns else "waiting",
                tokens=record.events,
                queued_s=_seconds(record.queued_ns),
            )

    def waits(self) -> Waits:
        """Return how many requests of this process wait for a slot."""
        queue = self._fleet.queue
        return Waits(queue.waiting, queue.interactive)

    def _queue(self) -> Queue:
        waiting, now = self._fleet.queue.entries(), time.time()
        running = {record.id: scope for record, scope in self._traffic.running.items()}
        return cut_queue((_queued(one, running, now) for one in waiting), len(waiting))

    def _recent(self) -> Iterable[EndedRequest]:
        kept = self.kept()
        for each in reversed(self._traffic.last):
            yield _ended(each, is_kept=each.id in kept)

    def explained_hosts(self) -> tuple[Settings, tuple[str, ...]]:
        """Return the settings by which a request is explained now, and what is left out and why."""
        settings, fleet = self._live.current, self._fleet
        drained = [host.name for host in fleet.hosts if fleet.draining.has(host)]
        if not drained or len(drained) == len(fleet.hosts):
            return settings, ()
        left = {name: host for name, host in settings.hosts.items() if name not in drained}
        notes = tuple(f"the host {name} is left out: it is drained" for name in drained)
        return msgspec.structs.replace(settings, hosts=left), notes

    def _known_models(self) -> tuple[ModelShown, ...]:
        hosts = self._fleet.hosts
        views = tuple(host.catalogue.view for host in hosts)
        seen = self._models[0]
        if len(seen) != len(views) or any(a is not b for a, b in zip(seen, views, strict=True)):
            self._models = (views, _models(hosts))
        return self._models[1]

    def _known_settings(self) -> tuple[SettingShown, ...]:
        settings = self._live.current
        if self._settings[0] is not settings:
            self._settings = (settings, tuple(_settings(self._live)))
        return self._settings[1]


def _plain(name: str) -> str:
    """Return a host's name, which may be its address, without a password in it."""
    return name.rpartition("@")[2]


def _models(hosts: Iterable[Host]) -> tuple[ModelShown, ...]:
    """Return the models of all hosts by name, those that a host's patterns leave out not."""
    found: dict[str, tuple[internal.CatalogueRow, list[str], bool]] = {}
    for host in hosts:
        view = host.catalogue.view
        for row in [] if view is None else [*view.made.values(), *view.rows]:
            if not host.serves(row):
                continue
            first, names, is_loaded = found.get(row.name, (row, [], False))
            if _plain(host.name) not in names:
                names.append(_plain(host.name))
            found[row.name] = (first, names, is_loaded or bool(row.instances))
    return tuple(
        ModelShown(
            name=name,
            key=row.key,
            size_bytes=row.size_bytes,
            details=" ".join(
                part for part in (row.parameter_size, row.quantization, row.architecture) if part
            ),
            can=", ".join(row.shown_capabilities),
            is_loaded=is_loaded,
            hosts=", ".join(names),
        )
        for name, (row, names, is_loaded) in sorted(found.items())
    )


def _settings(live: LiveSettings) -> Iterable[SettingShown]:
    for path, value in describe(live.current).items():
        if value is None:
            shown = "not set"
        elif isinstance(value, str):
            # An address may have a password in it.
            shown = shown_url(value) if "://" in value else value
        else:
            shown = as_value(value)
        section = path.partition(".")[0]
        source = live.sources.get(section) or live.sources.get(path) or "default"
        yield SettingShown(path=path, value=shown, source=source)


def _loaded(running: internal.RunningInstance, settings: HostSettings) -> LoadedModel:
    until: float | None
    try:
        until = datetime.fromisoformat(running.expires_at).timestamp()
    except (ValueError, OverflowError):
        until = None
    if until is not None and until - time.time() > FOREVER_S:
        until = None
    rounded = None if until is None else round(until)
    return LoadedModel(
        name=running.row.name,
        context=running.context_length,
        slots=slots_of(settings, running.row),
        until=rounded,
    )


def _model_of(record: Record) -> str:
    if record.model is not None or record.work is None:
        return (record.model or "")[:MOST_TEXT]
    found = record.work.resolved
    return (record.work.asked.display if found is None else found.name)[:MOST_TEXT]


def _seconds(span_ns: int | None) -> float | None:
    return None if span_ns is None else round(span_ns / 1e9, 2)


def _queued(
    one: Waiting, running: Mapping[str, MutableMapping[str, Any]], now: float
) -> QueuedRequest:
    """Return a request that waits; what it asks for is in its ASGI scope, if it has one."""
    scope = running.get(one.about.id)
    agent = "" if scope is None else header(scope, b"user-agent")[:MOST_TEXT]
    return QueuedRequest(
        id=one.about.id,
        what="" if scope is None else f"{scope['method']} {scope['path'][:MOST_TEXT]}",
        model=one.about.model[:MOST_TEXT],
        host=_plain(one.about.host),
        who=_who(agent, one.bid.owner or None),
        since=round(now - one.waited_s),
        kind="interactive" if one.bid.is_interactive else "batch",
        priority=one.bid.priority,
    )


def _who(agent: str, key: object) -> str:
    return " · ".join(part for part in (agent, f"key {key}" if key is not None else "") if part)


def _ended(each: Ended, *, is_kept: bool) -> EndedRequest:
    status = "no answer" if each.status is None else str(each.status)
    parts = [status]
    if each.outcome != "complete":
        parts.append({"left": "the client left"}.get(each.outcome, each.outcome))
    if each.fault is not None:
        parts.append(each.fault)
    return EndedRequest(
        id=each.id,
        what=f"{each.method} {each.path}",
        model=(each.model or "")[:MOST_TEXT],
        host=_plain(each.host or ""),
        who=_who(each.agent, each.key),
        at=round(each.ended_ns / 1e9),
        took_s=round(each.took_ns / 1e9, 2),
        queued_s=_seconds(each.queued_ns),
        result=", ".join(parts),
        is_failed=each.fault is not None or each.status is None or each.status >= 400,
        is_kept=is_kept,
        tokens_in=each.tokens_in,
        tokens_out=each.tokens_out,
    )
