"""
All figures of a run, each with its server and a name that is the same for every server.

`moved` compares two runs by them, `beside` two servers of one run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from conformance.bench.floors import OWN
from conformance.bench.results import Results


class Figure(NamedTuple):
    """One figure of one server; less is better."""

    target: str
    what: str
    value: float
    rounds: tuple[float, ...] = ()
    """The figure of each round, from which the noise is known."""
    is_time_in_all: bool = False
    """Whether the stand-in's own time is in it."""


def figures(results: Results) -> Iterator[Figure]:
    """Yield every figure of the servers that were measured, in the order of the tables."""
    for paced in results.paced:
        name, what = paced.target, f"{paced.streams} streams"
        yield Figure(
            name, f"{what}: CPU per token, us", paced.cpu_us_per_token, tuple(paced.rounds)
        )
        for when, spread in (("first token", paced.first_token), ("token", paced.token)):
            for share, ns in (("p50", spread.p50), ("p99", spread.p99)):
                yield Figure(name, f"{what}: {when} {share}, ms", ns / 1e6, is_time_in_all=True)
    for wave in results.waves:
        name, what = wave.target, f"wave of {wave.streams}: first token"
        medians = tuple(median / 1e6 for median in wave.rounds)
        p50, p99 = wave.first_token.p50 / 1e6, wave.first_token.p99 / 1e6
        yield Figure(name, f"{what} p50, ms", p50, medians, is_time_in_all=True)
        yield Figure(name, f"{what} p99, ms", p99, medians, is_time_in_all=True)
    for burst in results.burst:
        yield Figure(burst.target, "burst: CPU per token, us", burst.cpu_us, tuple(burst.rounds))
    for row in results.requests:
        yield Figure(row.target, f"{row.task}: CPU, us", row.cpu_us, tuple(row.rounds))
    for memory in results.memory:
        yield Figure(memory.target, "MiB at rest", memory.at_rest)
        yield Figure(memory.target, f"MiB with {memory.streams} streams", memory.late)
    for counted in results.instructions:
        for label, each in counted.with_token().items():
            yield Figure(counted.target, f"{label}: instructions", each)
    for first in results.fleet:
        yield Figure(first.target, "one stream at a time: first token p50, ms", first.p50_ms)
    for name, took_ns in results.work_ns.items():
        yield Figure(OWN, f"{name}: ns per chunk", took_ns)
