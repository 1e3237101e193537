"""
What is noted of one request on its way, for its line in the journal and for the metrics.

Here live the record, and the one place from which any layer reaches that of its own request. Notes
are facts and figures: nothing of a body, no header, no path that a client made up. Not here: how a
line looks (`journal`) and what is counted (`metrics`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from itertools import count
from secrets import token_hex
from time import monotonic_ns
from typing import Protocol

from msgspec import UNSET

STATED = "stated"
INTERNAL_FAULT = "internal"
"""The faults of a record that are none of the wire: an error of LM Studio's, and one of ours."""

_SOUND_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")
_IN = re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*([0-9]{1,12})')
_OUT = re.compile(rb'"(?:completion|output)_tokens"\s*:\s*([0-9]{1,12})')
_PROCESS = token_hex(3)
_numbers = count(1)


Look = Callable[[bytes], None]
"""Looks for keys in a body of LM Studio's that its description lacks."""


class Observer(Protocol):
    """Who counts: told of a request's end, and at once of what may outlive it."""

    running_streams: int

    def note_end(self, record: Record, method: str, status: int | None) -> None:
        """Count a request that has ended."""

    def note_load(self, outcome: str) -> None:
        """Count a load that has ended, as `loaded` or `failed`."""

    def sampled(self, kind: object) -> Look | None:
        """Return what to look at a body of a kind with, None for the many that are let be."""


class Record:
    """One request. Times are nanoseconds of the monotonic clock; None is what did not happen."""

    __slots__ = (
        "estimated",
        "fault",
        "first_ns",
        "id",
        "is_stream",
        "model",
        "observer",
        "retries",
        "route",
        "started_ns",
        "tokens_in",
        "tokens_out",
        "upstream",
        "upstream_status",
    )

    def __init__(self, observer: Observer | None = None, wanted_id: str = "") -> None:
        """Begin; the id that a client wants is taken when it can stand on a line."""
        is_sound = _SOUND_ID.fullmatch(wanted_id) is not None
        self.id = wanted_id if is_sound else f"{_PROCESS}-{next(_numbers):x}"
        self.started_ns = monotonic_ns()
        self.observer = observer
        self.route: str | None = None
        self.model: str | None = None
        self.upstream: str | None = None
        self.upstream_status: int | None = None
        self.fault: str | None = None
        self.first_ns: int | None = None
        self.is_stream = False
        self.tokens_in: int | None = None
        self.tokens_out: int | None = None
        self.estimated: tuple[str, ...] = ()
        self.retries = 0

    def note_counts(
        self, names: Iterable[tuple[str, str, str]], answer: object, reported: object
    ) -> None:
        """
        Take the counts of an answer that was translated, `in` and `out` in this order.

        `names` has for each its side, its field in the answer, and its field in `reported`, which
        holds LM Studio's own counts; one that is not there, or below 1, was estimated.
        """
        counted: list[int | None] = []
        estimated: list[str] = []
        for side, ours, theirs in names:
            count, stated = getattr(answer, ours, UNSET), getattr(reported, theirs, UNSET)
            if not isinstance(count, int | float):
                counted.append(None)
                continue
            counted.append(int(count))
            if not isinstance(stated, int | float) or stated < 1:
                estimated.append(side)
        self.tokens_in, self.tokens_out = counted
        self.estimated = tuple(estimated)

    def note_usage(self, ends: bytes) -> None:
        """Take LM Studio's counts from both ends of an answer that is passed through."""
        sides = [pattern.findall(ends) for pattern in (_IN, _OUT)]
        self.tokens_in, self.tokens_out = (int(each[-1]) if each else None for each in sides)


_current: ContextVar[Record | None] = ContextVar("record", default=None)
_UNREAD = Record()


def start_record(observer: Observer | None, wanted_id: str = "") -> Record:
    """Make the record of the request that this task serves; tasks that it starts see it, too."""
    record = Record(observer, wanted_id)
    _current.set(record)
    return record


def current() -> Record:
    """Return the record of the request that is being served, or one that nobody reads."""
    return _current.get() or _UNREAD


def current_id() -> str | None:
    """Return the id of the request that is being served, None outside of any."""
    record = _current.get()
    return record.id if record is not None else None


def sampled(kind: object) -> Look | None:
    """Return what to look at a body of LM Studio's with, when this one of a kind is looked at."""
    record = _current.get()
    if record is None or record.observer is None:
        return None
    return record.observer.sampled(kind)


def note_load(outcome: str) -> None:
    """Count a load that has ended."""
    record = _current.get()
    if record is not None and record.observer is not None:
        record.observer.note_load(outcome)
