"""
What a run of the bench has found, and how much it did for that. Times are nanoseconds.
"""

from __future__ import annotations

import json
import math

import msgspec

from conformance.bench.dialect import Task
from conformance.bench.fleet import FirstToken
from conformance.bench.instructions import Counted
from conformance.bench.load import TOKENS
from conformance.bench.stalls import Stall

PLOTTED = 400
"""So many quantiles of a distribution are kept for the picture."""


class Spread(msgspec.Struct, frozen=True):
    """A distribution in nanoseconds."""

    p50: float
    p90: float
    p99: float
    quantiles: list[float] = []
    count: int = 0
    """Of how many samples it is."""

    @staticmethod
    def of(samples: list[int]) -> Spread:
        """Summarise samples, of which there must be some."""
        ordered = sorted(samples)

        def at(share: float) -> float:
            return float(ordered[min(len(ordered) - 1, math.floor(share * len(ordered)))])

        return Spread(
            at(0.5),
            at(0.9),
            at(0.99),
            [at((n + 0.5) / PLOTTED) for n in range(PLOTTED)],
            len(ordered),
        )


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure's server, and the figure of each round, from which the noise is known."""

    target: str
    rounds: list[float] = []


class Wave(Row, frozen=True, kw_only=True):
    """Streams that all begin at once; of each round the median in nanoseconds."""

    streams: int
    first_token: Spread


class Paced(Wave, frozen=True, kw_only=True):
    """Streams paced like a model's, side by side; of each round the CPU time of a token."""

    token: Spread
    cpu_us_per_token: float


class Cost(Row, frozen=True, kw_only=True):
    """
    What a request costs, or a token of a burst: the server's CPU time, the median of the rounds'.

    A round in which the machine is disturbed so changes little.
    """

    task: Task
    cpu_us: float
    per_cpu_s: float
    per_wall_s: float


class Memory(msgspec.Struct, frozen=True):
    """Resident memory in MiB: at rest, early and late with many open streams, a stuck reader's."""

    target: str
    streams: int
    at_rest: float
    early: float
    late: float
    stuck_reader_added: float | None


class Start(msgspec.Struct, frozen=True):
    """Seconds, with Python's compiled files there; the least of several tries."""

    first_answer_s: float
    import_s: float


class Results(msgspec.Struct):
    """All that one run has found; rounds of one measure are merged."""

    machine: str = ""
    paced: list[Paced] = []
    waves: list[Wave] = []
    burst: list[Cost] = []
    requests: list[Cost] = []
    memory: list[Memory] = []
    start: Start | None = None
    stalls: list[Stall] = []
    work_ns: dict[str, float] = {}
    instructions: list[Counted] = []
    fleet: list[FirstToken] = []
    skipped: list[str] = []
    """What was not measured, and why."""
    problems: list[str] = []


class Size(msgspec.Struct, frozen=True):
    """How much is done."""

    streams: tuple[int, ...] = (1, 16, 64, 256)
    rounds: int = 3
    short_rounds: int = 7
    """Of what takes a second or less a round: bursts and one-shot requests."""
    wave_streams: int = 256
    tokens: int = TOKENS
    lone_tokens: int = 10
    """Of a stream that is alone: only many of them tell how long a first token takes."""
    lone_streams: int = 40
    burst_cycles: int = 20
    request_cycles: int = 100
    memory_streams: int = 1000
    start_tries: int = 3
    stall_megabytes: int = 16
    fleet_turns: int = 400


QUICK = Size(
    streams=(1, 16, 64),
    stall_megabytes=2,
    rounds=1,
    short_rounds=1,
    wave_streams=32,
    tokens=50,
    lone_streams=8,
    burst_cycles=5,
    request_cycles=15,
    memory_streams=100,
    start_tries=1,
    fleet_turns=30,
)


def as_json(results: Results) -> str:
    """Return the results as JSON text."""
    return json.dumps(msgspec.to_builtins(results), indent=1) + "\n"
