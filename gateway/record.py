"""
What is noted of one request on its way, for its line in the journal and for the metrics.

Here live the record, and the one place from which any layer reaches that of its own request. Notes
are facts and figures: nothing of a body, no header, no path that a client made up. Not here: how a
line looks (`journal`) and what is counted (`metrics`).
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from itertools import count
from secrets import token_hex
from time import monotonic_ns
from typing import Protocol

from msgspec import UNSET

COUNTS = (("prompt_eval_count", "prompt_tokens"), ("eval_count", "eval_tokens"))
"""An answer's counts, and how streams name what LM Studio reported of them in their state."""

USAGE_BYTES = 8192
"""How much of the end of a passed-through answer is searched for its counts."""

_IN = re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*([0-9]{1,12})')
_OUT = re.compile(rb'"(?:completion|output)_tokens"\s*:\s*([0-9]{1,12})')
_PROCESS = token_hex(3)
_numbers = count(1)


class Observer(Protocol):
    """Who is told at once of what may outlive the request that it began in."""

    def note_load(self, outcome: str) -> None:
        """Count a load that has ended, as `loaded` or `failed`."""

    def look_at(self, data: bytes, kind: object) -> None:
        """Look for keys in what LM Studio sent that the description lacks."""


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
        "upstream_status",
    )

    def __init__(self, observer: Observer | None = None) -> None:
        self.id = f"{_PROCESS}-{next(_numbers):x}"
        self.started_ns = monotonic_ns()
        self.observer = observer
        self.route: str | None = None
        self.model: str | None = None
        self.upstream_status: int | None = None
        self.fault: str | None = None
        self.first_ns: int | None = None
        self.is_stream = False
        self.tokens_in: int | None = None
        self.tokens_out: int | None = None
        self.estimated: tuple[str, ...] = ()
        self.retries = 0

    def note_counts(self, answer: object, reported: object) -> None:
        """
        Take the counts of an answer of ours.

        `reported` is what holds LM Studio's own under the names of COUNTS; a count that is not
        there, or below 1, was estimated.
        """
        found = [getattr(answer, ours, UNSET) for ours, _ in COUNTS]
        self.tokens_in, self.tokens_out = (
            int(each) if isinstance(each, int | float) else None for each in found
        )
        self.estimated = tuple(
            side
            for side, each, (_, theirs) in zip(("in", "out"), found, COUNTS, strict=True)
            if isinstance(each, int | float) and not _is_stated(getattr(reported, theirs, UNSET))
        )

    def note_usage(self, end: bytes) -> None:
        """Take LM Studio's counts from the last bytes of an answer that is passed through."""
        sides = [pattern.findall(end[-USAGE_BYTES:]) for pattern in (_IN, _OUT)]
        self.tokens_in, self.tokens_out = (int(each[-1]) if each else None for each in sides)


def _is_stated(value: object) -> bool:
    return isinstance(value, int | float) and value >= 1


_current: ContextVar[Record | None] = ContextVar("record", default=None)


def begin(observer: Observer | None) -> Record:
    """Make the record of the request that this task serves; tasks that it starts see it, too."""
    record = Record(observer)
    _current.set(record)
    return record


def current() -> Record:
    """Return the record of the request that is being served, or one that nobody reads."""
    return _current.get() or Record()


def current_id() -> str | None:
    """Return the id of the request that is being served, None outside of any."""
    record = _current.get()
    return record.id if record is not None else None


def look_at(data: bytes, kind: object) -> None:
    """Have what LM Studio sent compared with its description, when somebody counts that."""
    record = _current.get()
    if record is not None and record.observer is not None:
        record.observer.look_at(data, kind)


def note_load(outcome: str) -> None:
    """Count a load that has ended."""
    record = _current.get()
    if record is not None and record.observer is not None:
        record.observer.note_load(outcome)
