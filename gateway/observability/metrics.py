"""
The metrics, for `/metrics` in Prometheus' text format.

Every application has its own registry. Labels have few values, which clients cannot choose: a route
is its template, a method is one that HTTP defines, a fault is one of the closed list, a model is
one of the first that a list had, hosts and keys are the operator's. A request or a load is counted
when it has ended. Only the gauges of running requests and streams change earlier; nothing here is
called for a frame.
"""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from platform import python_version
from time import perf_counter_ns
from typing import get_args

import msgspec
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from ..faults import FaultId
from ..wire.lenient import UNREADABLE
from .journal import get_logger, lost_lines
from .record import INTERNAL_FAULT, SHUTDOWN_FAULT, STATED, Look, Record
from .tallies import Labels, Spread, Tallies, Tally
from .unknown_keys import Sampler, find_unknown
from .version import find_version

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
SERVED = ("model", "host", "key")
"""The labels that say by what a request was served, and for whom."""
TOTALS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
TOKENS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
READY_S = (0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
WAITS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
LASTS_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_FAULTS = (*get_args(FaultId), STATED, INTERNAL_FAULT, SHUTDOWN_FAULT)
_PLAIN = re.compile(r"[A-Za-z0-9_.\[\]\-]{1,100}")


class Metrics:
    """The metrics of one application, and the observer of its requests' records."""

    def __init__(self) -> None:
        self.running_requests = 0
        self.running_streams = 0
        self._sampler = Sampler()
        self._keys: set[tuple[str, str]] = set()
        self._models: set[str] = set()
        self._hosts: Callable[[], Mapping[str, bool | None]] = dict
        self._host_slots: Callable[[], Mapping[str, int]] = dict
        self._waits: dict[str, Callable[[], int]] = {}
        self._log = get_logger()
        registry = self._registry = CollectorRegistry()
        counter = partial(_counter, registry)
        ProcessCollector(registry=registry)
        self._requests = Tally(
            "olgate_requests",
            "Requests that have ended; status 0 means no answer.",
            ("route", "method", "status"),
        )
        self._durations = Spread(
            "olgate_request_duration_seconds",
            "Time from a request's head to the end of its answer, whatever the answer was.",
            ("route", *SERVED),
            TOTALS_S,
        )
        self._tokens = Tally(
            "olgate_tokens",
            "Tokens of prompts (in) and answers (out).",
            ("route", "direction", *SERVED),
        )
        self._estimated = Tally(
            "olgate_estimated_counts",
            "Token counts that LM Studio left out and the gateway estimated.",
            ("direction",),
        )
        self._first_frames = Spread(
            "olgate_time_to_first_frame_seconds",
            "Time from a request's head to the first bytes of its streamed answer.",
            ("route",),
            WAITS_S,
        )
        self._first_tokens = Spread(
            "olgate_time_to_first_token_seconds",
            "Time from a request's head to LM Studio's first event of its answer.",
            ("model", "host"),
            WAITS_S,
        )
        self._per_token = Spread(
            "olgate_time_per_output_token_seconds",
            "Time for each token of an answer after its first one.",
            ("model", "host"),
            TOKENS_S,
        )
        self._streams = Spread(
            "olgate_stream_duration_seconds",
            "Time from a request's head to the end of its streamed answer.",
            ("route",),
            LASTS_S,
        )
        self._queued = Spread(
            "olgate_queue_time_seconds",
            "Time that a request waited for its turn, for requests that waited.",
            ("host", "key"),
            WAITS_S,
        )
        self._ready = Spread(
            "olgate_model_ready_seconds",
            "Time until a request's model was ready, its load included.",
            ("model", "host"),
            READY_S,
        )
        self._loads = Tally(
            "olgate_loads",
            "Loads that the gateway requested from LM Studio and that have ended.",
            ("outcome", "host"),
        )
        self._load_times = Spread(
            "olgate_load_duration_seconds",
            "Time that a load took in LM Studio.",
            ("outcome", "host"),
            WAITS_S,
        )
        self._retries = Tally("olgate_retries", "Calls that were repeated.", ("route",))
        self._faults = Tally(
            "olgate_faults",
            "Requests that failed: a fault upstream, `stated` for an error that LM Studio sent, "
            "`shutdown` for the gateway's end, `internal` for an error of the gateway.",
            ("fault",),
        )
        # Prometheus sees a counter grow only if it saw it before.
        self._faults.update(dict.fromkeys(zip(_FAULTS), 0.0))
        registry.register(
            Tallies(each for each in vars(self).values() if isinstance(each, Tally | Spread))
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
        gauge = partial(Gauge, registry=registry)
        gauge(
            "olgate_running_tasks", "Tasks of the event loop, also when the gateway is idle."
        ).set_function(lambda: len(asyncio.all_tasks()))
        gauge(
            "olgate_running_requests", "Requests that are served now, this one included."
        ).set_function(lambda: self.running_requests)
        gauge("olgate_running_streams", "Streamed answers that are being sent now.").set_function(
            lambda: self.running_streams
        )
        self._bodies = gauge("olgate_bodies_bytes", "Bytes of request bodies that are held now.")
        self._waiting_bodies = gauge(
            "olgate_waiting_bodies", "Request bodies that wait for room in memory."
        )
        self._waiting = gauge(
            "olgate_waiting_requests", "Requests that wait now, by what they wait for.", ["reason"]
        )
        self._up = gauge(
            "olgate_upstream_up",
            "Whether a host answered when it was last asked; absent if it was not asked yet.",
            ["host"],
        )
        self._slots = gauge(
            "olgate_slots",
            "Requests that the loaded models of a host run at once, all of them together.",
            ["host"],
        )
        gauge(
            "olgate_build_info", "Always 1; the labels say what runs.", ["version", "python"]
        ).labels(find_version() or "not installed", python_version()).set(1)

    def watch_bodies(self, held: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Show the bytes of bodies that are held, and the number of bodies that wait for room."""
        self._bodies.set_function(held)
        self._waiting_bodies.set_function(waiting)

    def watch_waiting(self, reason: str, waiting: Callable[[], int]) -> None:
        """Show how many requests wait for something: `load`, or `slot`."""
        self._waits[reason] = waiting

    def watch_hosts(self, hosts: Callable[[], Mapping[str, bool | None]]) -> None:
        """Show whether each host answers, None if that is not known, and its loads from 0 on."""
        self._hosts = hosts

    def watch_slots(self, slots: Callable[[], Mapping[str, int]]) -> None:
        """Show how many requests the loaded models of each host run at once."""
        self._host_slots = slots

    def text(self) -> bytes:
        """Return all metrics with their current values."""
        lost = lost_lines()
        self._lost_lines.inc(lost - self._lost_before)
        self._lost_before = lost
        for reason, waiting in self._waits.items():
            self._waiting.labels(reason).set(waiting())
        self._up.clear()
        for name, is_up in self._hosts().items():
            for outcome in ("loaded", "failed"):
                self._loads[outcome, name] += 0
            if is_up is not None:
                self._up.labels(name).set(is_up)
        self._slots.clear()
        for name, slots in self._host_slots().items():
            self._slots.labels(name).set(slots)
        return generate_latest(self._registry)

    def note_end(self, record: Record, method: str, status: int | None) -> None:
        """Count a request that has ended."""
        # One function, because every request passes here and each function call costs time.
        route = record.route or OTHER
        ended_ns, started_ns = perf_counter_ns(), record.started_ns
        model = record.model or ""
        if model and (not record.is_model_known or model not in self._models):
            if record.is_model_known and len(self._models) < MOST_MODELS:
                self._models.add(model)
            else:
                model = OTHER
        host = record.host or record.upstream or ""
        key = record.key or ""
        self._requests[route, method if method in METHODS else OTHER, str(status or 0)] += 1
        for direction, number in (("in", record.tokens_in), ("out", record.tokens_out)):
            if number:
                self._tokens[route, direction, model, host, key] += number
        for direction in record.estimated:
            self._estimated[(direction,)] += 1
        if record.retries:
            self._retries[(route,)] += record.retries
        if record.fault is not None:
            self._faults[(record.fault,)] += 1
        observed: list[tuple[Spread, Labels, int]] = [
            (self._durations, (route, model, host, key), ended_ns - started_ns)
        ]
        first_ns = record.first_token_ns
        if record.is_stream and record.first_ns is not None:
            observed.append((self._first_frames, (route,), record.first_ns - started_ns))
            observed.append((self._streams, (route,), ended_ns - started_ns))
            first_ns = first_ns or record.first_ns
        if record.tokens_out and first_ns is not None:
            observed.append((self._first_tokens, (model, host), first_ns - started_ns))
            if record.tokens_out > 1:
                took_ns = (ended_ns - first_ns) // (record.tokens_out - 1)
                observed.append((self._per_token, (model, host), took_ns))
        if record.queued_ns is not None:
            observed.append((self._queued, (host, key), record.queued_ns))
        if record.ready_ns is not None:
            observed.append((self._ready, (model, host), record.ready_ns))
        for spread, labels, nanoseconds in observed:
            seconds = nanoseconds / 1e9
            row = spread[labels]
            row[bisect_left(spread.bounds, seconds)] += 1
            row[-1] += seconds

    def note_load(self, record: Record, outcome: str, took_s: float) -> None:
        """Count a load that has ended, and the time in seconds that it took."""
        labels = (outcome, record.host or record.upstream or "")
        self._loads[labels] += 1
        row = self._load_times[labels]
        row[bisect_left(self._load_times.bounds, took_s)] += 1
        row[-1] += took_s

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
