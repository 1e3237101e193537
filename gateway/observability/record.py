"""
The record of one request, for its log line and for the metrics.

Any layer reaches the record of its own request through a context variable. A record contains facts
and figures: nothing from a body, no header, and no path that a client invented. `journal` formats
the line, and `metrics` counts.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context, ContextVar, Token
from itertools import count
from secrets import token_hex
from time import perf_counter_ns
from typing import Protocol

from msgspec import UNSET

from ..wire.odd_values import report_to

STATED = "stated"
INTERNAL_FAULT = "internal"
SHUTDOWN_FAULT = "shutdown"
"""
The faults of a record that are not faults of the wire: LM Studio's and the gateway's errors, and
the gateway's end.
"""

_SOUND_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")
_IN = re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*([0-9]{1,12})')
_COUNTED = b'_tokens"'
_NAME_BYTES = len(b'"completion')
_OUT = re.compile(rb'"(?:completion|output)_tokens"\s*:\s*([0-9]{1,12})')
_NUMBER = (int, float)
"""Not `int | float`, which makes an object each time that it is looked at."""
_PROCESS = token_hex(3)
_numbers = count(1)


Look = Callable[[bytes], None]
"""Looks for JSON keys in LM Studio's body that its description does not have."""


Sink = Callable[[bytes], Awaitable[None] | None]
"""Takes bytes at once. The caller must await a returned awaitable before it passes more."""


class Observer(Protocol):
    """The counter that a record reports to: at a request's end, and at once for loads."""

    running_streams: int

    def note_end(self, record: Record, method: str, status: int | None) -> None:
        """Count a request that has ended."""

    running_requests: int

    def note_load(self, record: Record, outcome: str, took_s: float) -> None:
        """Count a load that has ended as `loaded` or `failed`, for the record's host."""

    def note_odd(self, kind: str, keys: Iterable[str]) -> None:
        """Count values in a kind of answer that could not be read and were left out."""

    def sampled(self, kind: object) -> Look | None:
        """Return a function that checks a body of a kind, None for bodies outside the sample."""


class Grant(Protocol):
    """What a key with a name may do, and what counts its requests."""

    @property
    def models(self) -> tuple[str, ...]:
        """The patterns of the models' names that the key may use; none for all models."""

    @property
    def hides_models(self) -> bool:
        """Whether there may be models that do not exist for the key."""

    @property
    def weight(self) -> float:
        """How much of a busy model the key gets."""

    @property
    def priority(self) -> int:
        """Whose requests come first: those of the key with more."""

    def allows_model(self, *names: str) -> bool:
        """Return whether the key may use a model with these names."""

    def end(self, tokens: int) -> None:
        """Count the end of the request and its tokens."""


class Call(Protocol):
    """The span of one call of LM Studio."""

    status: int | None
    fault: str | None

    def carried_by(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return the headers of the call with its span as LM Studio's parent."""

    def end(self) -> None:
        """Note that the call is over; a second time changes nothing."""


class Trace(Protocol):
    """The spans of one request; `tracing` makes them."""

    def call(self, method: str, target: bytes, host: str) -> Call:
        """Start the span of a call of LM Studio."""

    def note_load(self, outcome: str, took_s: float) -> None:
        """Add the span of a load that has ended."""

    def end(self, record: Record, method: str, status: int | None, outcome: str) -> None:
        """End all spans of the request."""


class Tracer(Protocol):
    """Makes the traces of requests."""

    def begin(self, headers: Iterable[tuple[bytes, bytes]], record: Record) -> Trace:
        """Start the trace of a request with these headers."""


class KeptCall(Protocol):
    """A call of LM Studio while the inspector keeps it."""

    fault: str | None

    @property
    def received(self) -> Pieces:
        """The body of the answer."""

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Note the head of the answer."""

    def through(self, sink: Sink) -> Sink:
        """Return a sink that keeps what it passes on."""


class Pieces(Protocol):
    """A body while the inspector keeps it."""

    def add(self, data: bytes) -> None:
        """Keep a piece."""


class Kept(Protocol):
    """A request while the inspector keeps it; `inspector` makes it."""

    def call(self, method: str, target: bytes, host: str, body: object) -> KeptCall:
        """Note a request to LM Studio."""


class Named(Protocol):
    """A model."""

    @property
    def name(self) -> str:
        """Its name."""


class Asked(Protocol):
    """The name that a request gave a model."""

    @property
    def display(self) -> str:
        """The name as it is shown; empty without one."""


class Work(Protocol):
    """What is known of a request while it runs."""

    @property
    def resolved(self) -> Named | None:
        """The model, once it is found."""

    @property
    def asked(self) -> Asked:
        """The model's name as the client gave it."""


class Record:
    """One request. Times are nanoseconds of the monotonic clock; None means not happened."""

    __slots__ = (
        "client",
        "estimated",
        "events",
        "fault",
        "first_ns",
        "first_token_ns",
        "grant",
        "host",
        "id",
        "is_model_known",
        "is_stream",
        "kept",
        "key",
        "model",
        "observer",
        "queued_ns",
        "read_ns",
        "ready_ns",
        "retries",
        "route",
        "started_ns",
        "tokens_in",
        "tokens_out",
        "trace",
        "upstream",
        "upstream_status",
        "work",
    )

    def __init__(self, observer: Observer | None = None, wanted_id: str = "") -> None:
        """Start the record; a client's id is used if it can be written on a line."""
        if wanted_id and _SOUND_ID.fullmatch(wanted_id) is not None:
            self.id = wanted_id
        else:
            self.id = f"{_PROCESS}-{next(_numbers):x}"
        self.started_ns = perf_counter_ns()
        self.observer = observer
        self.trace: Trace | None = None
        self.client: str | None = None
        """The client's address."""
        self.kept: Kept | None = None
        """The exchange as the inspector keeps it, None if it keeps none."""
        self.key: str | None = None
        """The name of the client's key, or its place in the list of those without; None if none."""
        self.grant: Grant | None = None
        """What counts the request for a key with a name."""
        self.route: str | None = None
        self.model: str | None = None
        self.is_model_known = False
        """Whether `model` is a model of a list, and not what a client made up."""
        self.host: str | None = None
        """The name of the host that serves the request, None until one is chosen."""
        self.upstream: str | None = None
        self.upstream_status: int | None = None
        self.fault: str | None = None
        self.first_ns: int | None = None
        """When the first bytes of the body were sent."""
        self.first_token_ns: int | None = None
        """When LM Studio's first event of an answer arrived."""
        self.queued_ns: int | None = None
        """How long the request waited for its turn; None if it did not."""
        self.read_ns: int | None = None
        """When the request's body was read; set with `ready_ns`."""
        self.ready_ns: int | None = None
        """How long it took until the model was ready, its load included; None without a model."""
        self.is_stream = False
        self.tokens_in: int | None = None
        self.tokens_out: int | None = None
        self.estimated: tuple[str, ...] = ()
        self.retries = 0
        self.events = 0
        """The events of LM Studio's stream that have arrived: about one for each token."""
        self.work: Work | None = None
        """What is known of the request while its plan runs; None before and after."""

    def note_counts(
        self, names: Iterable[tuple[str, str, str]], answer: object, reported: object
    ) -> None:
        """
        Store the counts of a translated answer, `in` and `out` in this order.

        `names` has for each its side, its field in the answer, and its field in `reported`, which
        has LM Studio's own counts. A count that is missing there, or below 1, was estimated.
        """
        counted: list[int | None] = []
        estimated: tuple[str, ...] = ()
        for side, ours, theirs in names:
            count, stated = getattr(answer, ours, UNSET), getattr(reported, theirs, UNSET)
            if type(count) is int:
                counted.append(count)
            elif isinstance(count, float):
                counted.append(int(count))
            else:
                counted.append(None)
                continue
            if not isinstance(stated, _NUMBER) or stated < 1:
                estimated += (side,)
        self.tokens_in, self.tokens_out = counted
        self.estimated = estimated

    def note_usage(self, ends: bytes) -> None:
        """Read LM Studio's counts from the first and last bytes of a passed-through answer."""
        # A search for the name, and not by an expression at each of so many bytes.
        if (at := ends.find(_COUNTED)) < 0:
            self.tokens_in = self.tokens_out = None
            return
        ends = ends[max(at - _NAME_BYTES, 0) :]
        taken_in, given_out = _IN.findall(ends), _OUT.findall(ends)
        self.tokens_in = int(taken_in[-1]) if taken_in else None
        self.tokens_out = int(given_out[-1]) if given_out else None


_current: ContextVar[Record | None] = ContextVar("record", default=None)
_UNREAD = Record()


def start_record(observer: Observer | None, wanted_id: str = "") -> Record:
    """Start the record of this task's request; tasks that it starts share the record."""
    record = Record(observer, wanted_id)
    _current.set(record)
    return record


def enter(record: Record) -> Token[Record | None]:
    """Make a record the current one until `leave`, in a step that belongs to no task."""
    return _current.set(record)


def leave(token: Token[Record | None]) -> None:
    """Make the record current that was so before `enter`."""
    _current.reset(token)


def current() -> Record:
    """Return the record of the current request, or one that is never read."""
    return _current.get() or _UNREAD


def current_id() -> str | None:
    """Return the id of the current request, None outside a request."""
    record = _current.get()
    return (record.id or None) if record is not None else None


def background() -> Context:
    """Return a context for work that outlives its request: it is counted, but not on its record."""
    record = _current.get()
    context = Context()
    if record is not None and record.observer is not None:
        own = Record(record.observer)
        own.id = ""
        context.run(_current.set, own)
    return context


def sampled(kind: object) -> Look | None:
    """Return a function that checks LM Studio's body, None for bodies outside the sample."""
    record = _current.get()
    if record is None or record.observer is None:
        return None
    return record.observer.sampled(kind)


def note_load(outcome: str, took_s: float) -> None:
    """Count a load that has ended after a time in seconds."""
    record = _current.get()
    if record is None:
        return
    if record.observer is not None:
        record.observer.note_load(record, outcome, took_s)
    if record.trace is not None:
        record.trace.note_load(outcome, took_s)


def _note_odd(kind: str, keys: Iterable[str]) -> None:
    """Count values in a kind of LM Studio's answers that could not be read and were left out."""
    record = _current.get()
    if record is not None and record.observer is not None:
        record.observer.note_odd(kind, keys)


report_to(_note_odd)
