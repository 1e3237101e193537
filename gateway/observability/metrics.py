"""
The metrics, for `/metrics` in Prometheus' text format.

Every application has its own registry. Labels have few values, which clients cannot choose: a route
is its template, a method is one that HTTP defines, a fault is one of the closed list. A request or
a load is counted when it has ended. Only the gauge of running streams changes earlier; nothing here
is called for a frame.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from time import perf_counter_ns

import msgspec
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from ..wire.lenient import UNREADABLE
from .journal import get_logger, lost_lines
from .record import Look, Record
from .unknown_keys import Sampler, find_unknown

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
OTHER = "other"
"""The label for requests without a route, and for methods that HTTP does not define."""
PATH = "/metrics"
MOST_KEYS = 100
"""Number of keys that have their own label; later ones share one."""
WAITS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
LASTS_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_PLAIN = re.compile(r"[A-Za-z0-9_.\[\]\-]{1,100}")


class Metrics:
    """The metrics of one application, and the observer of its requests' records."""

    def __init__(self) -> None:
        self.running_streams = 0
        self._sampler = Sampler()
        self._keys: set[tuple[str, str]] = set()
        self._log = get_logger()
        registry = self._registry = CollectorRegistry()
        counter, histogram = partial(_counter, registry), partial(_histogram, registry)
        ProcessCollector(registry=registry)
        self._requests = counter(
            "olgate_requests",
            "Requests that have ended; status 0 means no answer.",
            "route",
            "method",
            "status",
        )
        self._tokens = counter(
            "olgate_tokens", "Tokens of prompts (in) and answers (out).", "route", "direction"
        )
        self._estimated = counter(
            "olgate_estimated_counts",
            "Token counts that LM Studio left out and the gateway estimated.",
            "direction",
        )
        self._first = histogram(
            "olgate_time_to_first_frame_seconds",
            "Time from a request's head to the first bytes of its streamed answer.",
            "route",
            buckets=WAITS_S,
        )
        self._streams = histogram(
            "olgate_stream_duration_seconds",
            "Time from a request's head to the end of its streamed answer.",
            "route",
            buckets=LASTS_S,
        )
        self._loads = counter(
            "olgate_loads",
            "Loads that the gateway requested from LM Studio and that have ended.",
            "outcome",
        )
        self._retries = counter("olgate_retries", "Calls that were repeated.", "route")
        self._faults = counter(
            "olgate_faults",
            "Requests that failed: a fault upstream, `stated` for an error that LM Studio sent, "
            "`shutdown` for the gateway's end, `internal` for an error of the gateway.",
            "fault",
        )
        self._unknown = counter(
            "olgate_unknown_upstream_keys",
            "JSON keys in sampled answers of LM Studio that its description does not have.",
            "type",
            "key",
        )
        self._odd = counter(
            "olgate_odd_upstream_values",
            "Values in LM Studio's answers that could not be read and were left out.",
            "type",
            "key",
        )
        self._lost_lines = Counter(
            "olgate_lost_log_lines",
            "Log lines that were lost since nobody read standard error.",
            registry=registry,
        )
        self._lost_before = 0
        tasks = Gauge(
            "olgate_running_tasks",
            "Tasks of the event loop, also when the gateway is idle.",
            registry=registry,
        )
        tasks.set_function(lambda: len(asyncio.all_tasks()))
        running = Gauge(
            "olgate_running_streams", "Streamed answers that are being sent now.", registry=registry
        )
        running.set_function(lambda: self.running_streams)
        self._bodies = Gauge(
            "olgate_bodies_bytes", "Bytes of request bodies that are held now.", registry=registry
        )
        self._waiting = Gauge(
            "olgate_waiting_bodies",
            "Request bodies that wait for room in memory.",
            registry=registry,
        )

    def watch_bodies(self, held: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Show the bytes of bodies that are held, and the number of bodies that wait for room."""
        self._bodies.set_function(held)
        self._waiting.set_function(waiting)

    def text(self) -> bytes:
        """Return all metrics with their current values."""
        lost = lost_lines()
        self._lost_lines.inc(lost - self._lost_before)
        self._lost_before = lost
        return generate_latest(self._registry)

    def note_end(self, record: Record, method: str, status: int | None) -> None:
        """Count a request that has ended."""
        route = record.route or OTHER
        shown_method = method if method in METHODS else OTHER
        self._requests(route, shown_method, str(status or 0)).inc()
        for direction, number in (("in", record.tokens_in), ("out", record.tokens_out)):
            if number:
                self._tokens(route, direction).inc(number)
        for direction in record.estimated:
            self._estimated(direction).inc()
        if record.retries:
            self._retries(route).inc(record.retries)
        if record.fault is not None:
            self._faults(record.fault).inc()
        if record.is_stream and record.first_ns is not None:
            self._first(route).observe((record.first_ns - record.started_ns) / 1e9)
            self._streams(route).observe((perf_counter_ns() - record.started_ns) / 1e9)

    def note_load(self, outcome: str) -> None:
        """Count a load that has ended."""
        self._loads(outcome).inc()

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


def _counter(
    registry: CollectorRegistry, name: str, text: str, *labels: str
) -> Callable[..., Counter]:
    """Create a counter; return a cached lookup by labels, which takes longer than counting."""
    return cache(Counter(name, text, labels, registry=registry).labels)


def _histogram(
    registry: CollectorRegistry, name: str, text: str, *labels: str, buckets: Sequence[float]
) -> Callable[..., Histogram]:
    return cache(Histogram(name, text, labels, buckets=buckets, registry=registry).labels)
