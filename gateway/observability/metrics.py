"""
The metrics, for `/metrics` in Prometheus' text format.

Every application has its own registry. Labels have few values, which clients cannot choose: a route
is its template, a method is one that HTTP defines, a fault is one of the closed list, a model is
one of the first that a list had, hosts and keys are the operator's. A request or a load is noted
when it has ended, and counted when somebody looks. Only the gauges of running requests and streams
change earlier; nothing here is called for a frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache, partial
from time import perf_counter_ns
from typing import get_args

import msgspec
from prometheus_client import (
    CollectorRegistry,
    Counter,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from ..faults import FaultId
from ..wire.lenient import UNREADABLE
from . import series
from .gauges import Gauges
from .journal import get_logger, lost_lines
from .record import INTERNAL_FAULT, SHUTDOWN_FAULT, STATED, Look, Record
from .tallies import Spread, Tallies, Tally
from .uncounted import MOST_UNCOUNTED, Of, Uncounted
from .unknown_keys import Sampler, find_unknown

# Its series of creation times say nothing that Prometheus needs, and double those of counters.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types there

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
OTHER = "other"
"""The label for requests without a route, and for methods that HTTP does not define."""
PATH = "/metrics"
MOST_KEYS = 100
"""Number of keys that have their own label; later ones share one."""
MOST_MODELS = 50
"""Number of models that have their own label; later ones, and names without a model, share one."""
_FAULTS = (*get_args(FaultId), STATED, INTERNAL_FAULT, SHUTDOWN_FAULT)
_PLAIN = re.compile(r"[A-Za-z0-9_.\[\]\-]{1,100}")


class Metrics:
    """The metrics of one application, and the observer of its requests' records."""

    def __init__(self) -> None:
        self.running_requests = 0
        self.running_streams = 0
        self._uncounted: dict[Of, Uncounted] = {}
        self._number = 0
        """How many requests are in `_uncounted`."""
        self._sampler = Sampler()
        self._keys: set[tuple[str, str]] = set()
        self._models: set[str] = set()
        self._log = get_logger()
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Tally(*series.REQUESTS)
        self._durations = Spread(*series.DURATIONS)
        self._tokens = Tally(*series.TOKENS)
        self._estimated = Tally(*series.ESTIMATED)
        self._first_frames = Spread(*series.FIRST_FRAMES)
        self._first_tokens = Spread(*series.FIRST_TOKENS)
        self._per_token = Spread(*series.PER_TOKEN)
        self._streams = Spread(*series.STREAMS)
        self._queued = Spread(*series.QUEUED)
        self._ready = Spread(*series.READY)
        self._loads = Tally(*series.LOADS)
        self._load_times = Spread(*series.LOAD_TIMES)
        self._retries = Tally(*series.RETRIES)
        self._faults = Tally(*series.FAULTS)
        # Prometheus sees a counter grow only if it saw it before.
        self._faults.update(dict.fromkeys(zip(_FAULTS), 0.0))
        registry.register(
            Tallies(each for each in vars(self).values() if isinstance(each, Tally | Spread))
        )
        self._unknown = _counter(registry, series.UNKNOWN_KEYS)
        self._odd = _counter(registry, series.ODD_VALUES)
        self._lost_lines = Counter(*series.LOST_LINES, registry=registry)
        self._lost_before = 0
        self.gauges = Gauges(registry)
        self.gauges.watch_running(lambda: self.running_requests, lambda: self.running_streams)

    def text(self) -> bytes:
        """Return all metrics with their current values."""
        self._count()
        lost = lost_lines()
        self._lost_lines.inc(lost - self._lost_before)
        self._lost_before = lost
        # The loads of a host are there from 0 on.
        for name in self.gauges.host_names():
            for outcome in ("loaded", "failed"):
                self._loads[outcome, name] += 0
        self.gauges.refresh()
        return generate_latest(self._registry)

    def note_end(self, record: Record, method: str, status: int | None) -> None:
        """Count a request that has ended."""
        # One function, because every request passes here and each function call costs time.
        ended_ns, started_ns = perf_counter_ns(), record.started_ns
        model = record.model or ""
        if model and (not record.is_model_known or model not in self._models):
            if record.is_model_known and len(self._models) < MOST_MODELS:
                self._models.add(model)
            else:
                model = OTHER
        of = (
            record.route or OTHER,
            method if method in METHODS else OTHER,
            status or 0,
            model,
            record.host or record.upstream or "",
            record.key or "",
        )
        added = self._uncounted.get(of)
        if added is None:
            added = self._uncounted[of] = Uncounted()
        took_ns = ended_ns - started_ns
        added.took.append(took_ns)
        if record.tokens_in:
            added.tokens_in += record.tokens_in
        first_ns = record.first_token_ns
        if record.is_stream and record.first_ns is not None:
            added.first_frames.append(record.first_ns - started_ns)
            added.streams.append(took_ns)
            first_ns = first_ns or record.first_ns
        if tokens_out := record.tokens_out:
            added.tokens_out += tokens_out
            if first_ns is not None:
                added.first_tokens.append(first_ns - started_ns)
                if tokens_out > 1:
                    added.per_token.append((ended_ns - first_ns) // (tokens_out - 1))
        if record.ready_ns is not None:
            added.ready.append(record.ready_ns)
        if record.estimated:
            for direction in record.estimated:
                self._estimated[(direction,)] += 1
        if record.retries:
            self._retries[(of[0],)] += record.retries
        if record.fault is not None:
            self._faults[(record.fault,)] += 1
        if record.queued_ns is not None:
            self._queued.add(of[4:], (record.queued_ns,))
        self._number += 1
        if self._number >= MOST_UNCOUNTED:
            self._count()

    def _count(self) -> None:
        """Count what requests have added since the last time."""
        uncounted, self._uncounted, self._number = self._uncounted, {}, 0
        for (route, method, status, model, host, key), added in uncounted.items():
            self._requests[route, method, str(status)] += len(added.took)
            served, at = (model, host, key), (model, host)
            for direction, number in (("in", added.tokens_in), ("out", added.tokens_out)):
                if number:
                    self._tokens[route, direction, *served] += number
            self._durations.add((route, *served), added.took)
            self._first_frames.add((route,), added.first_frames)
            self._streams.add((route,), added.streams)
            self._first_tokens.add(at, added.first_tokens)
            self._per_token.add(at, added.per_token)
            self._ready.add(at, added.ready)

    def note_load(self, record: Record, outcome: str, took_s: float) -> None:
        """Count a load that has ended, and the time in seconds that it took."""
        labels = (outcome, record.host or record.upstream or "")
        self._loads[labels] += 1
        self._load_times.add(labels, (round(took_s * 1e9),))

    def note_odd(self, kind: str, keys: Iterable[str]) -> None:
        """Count values that could not be read, and log each kind of value once."""
        # The keys are those of our types: no host can invent one.
        for key in keys:
            self._odd(kind, key).inc()
            if self._sampler.is_new(("odd", kind), key):
                self._log.warning("odd value in LM Studio's answer", type=kind, key=key)

    def sampled(self, kind: object) -> Look | None:
        """Return a function that checks a body of a kind, None for bodies outside the sample."""
        return partial(self._look_at, kind) if self._sampler.wants(kind) else None

    def _look_at(self, kind: object, data: bytes) -> None:
        """Count the unknown keys of one body, and log each key once. Values are not stored."""
        try:
            value = msgspec.json.decode(data)
        except UNREADABLE:
            return
        name = getattr(kind, "__name__", OTHER)
        for path in find_unknown(value, kind):
            key = path if _PLAIN.fullmatch(path) else OTHER
            is_new = self._sampler.is_new(kind, key)
            if is_new and len(self._keys) < MOST_KEYS:
                self._keys.add((name, key))
            label = key if (name, key) in self._keys else OTHER
            self._unknown(name, label).inc()
            if is_new:
                self._log.warning("unknown key in LM Studio's answer", type=name, key=key)


def _counter(registry: CollectorRegistry, counts: series.Counts) -> Callable[..., Counter]:
    """Create a counter; return a cached lookup by labels, which takes longer than counting."""
    return cache(Counter(*counts, registry=registry).labels)
