"""
What has moved between two runs of the bench, and what is within their noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from conformance.bench.results import Results

LEAST = 0.05
"""Runs differ by this share also where their rounds do not."""


class Figure(NamedTuple):
    """One figure of a run, less is better, and by which share of it the rounds differ."""

    value: float
    noise: float


class Change(NamedTuple):
    """A figure that both runs have; `share` is how much more the new run needs."""

    what: str
    old: float
    new: float
    share: float
    noise: float

    @property
    def has_moved(self) -> bool:
        """Whether the change is more than the noise of both runs together."""
        return abs(self.share) > self.noise


def figures(results: Results) -> dict[str, Figure]:
    """Return all figures of a run by their names."""
    return {name: Figure(value, _noise(rounds)) for name, value, rounds in _all(results) if value}


def changes(old: Results, new: Results) -> list[Change]:
    """Return how each figure that both runs have has changed, the greatest change first."""
    before, after = figures(old), figures(new)
    found = [
        Change(
            name,
            before[name].value,
            after[name].value,
            after[name].value / before[name].value - 1,
            before[name].noise + after[name].noise + LEAST,
        )
        for name in after
        if name in before
    ]
    return sorted(found, key=lambda change: -abs(change.share))


def _noise(rounds: list[float]) -> float:
    """Return half of what the rounds lie apart, as a share of their mean; 0 for one round."""
    mean = sum(rounds) / len(rounds) if rounds else 0.0
    return (max(rounds) - min(rounds)) / 2 / mean if mean else 0.0


def _all(results: Results) -> Iterator[tuple[str, float, list[float]]]:
    for paced in results.paced:
        name = f"{paced.target}, {paced.streams} streams"
        yield f"{name}: CPU per token, us", paced.cpu_us_per_token, paced.rounds
        yield f"{name}: first token p50, ms", paced.first_token.p50 / 1e6, []
        yield f"{name}: token p99, ms", paced.token.p99 / 1e6, []
    for wave in results.waves:
        rounds = [median / 1e6 for median in wave.rounds]
        name = f"{wave.target}, wave of {wave.streams}"
        yield f"{name}: first token p50, ms", wave.first_token.p50 / 1e6, rounds
        yield f"{name}: first token p99, ms", wave.first_token.p99 / 1e6, rounds
    for burst in results.burst:
        yield f"{burst.target}, burst: CPU per token, us", burst.cpu_us, burst.rounds
    for row in results.requests:
        yield f"{row.target}, {row.task}: CPU, us", row.cpu_us, row.rounds
    for memory in results.memory:
        yield f"{memory.target}: MiB with {memory.streams} streams", memory.late, []
    for counted in results.instructions:
        for label, each in counted.with_token().items():
            yield f"{counted.target}, {label}: instructions", each, []
    for first in results.fleet:
        yield f"{first.target}: first token p50, ms", first.p50_ms, []
    for name, took_ns in results.work_ns.items():
        yield f"{name}: ns per chunk", took_ns, []
