"""
What has moved between two runs of the bench, and what is within their noise.
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.bench.figures import figures
from conformance.bench.results import Results

LEAST = 0.05
"""Runs differ by this share also where their rounds do not."""


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


def changes(old: Results, new: Results) -> list[Change]:
    """Return how each figure that both runs have has changed, the greatest change first."""
    before = {(each.target, each.what): each for each in figures(old) if each.value}
    found = [
        Change(
            f"{now.target}, {now.what}",
            then.value,
            now.value,
            now.value / then.value - 1,
            _noise(then.rounds) + _noise(now.rounds) + LEAST,
        )
        for now in figures(new)
        if now.value and (then := before.get((now.target, now.what))) is not None
    ]
    return sorted(found, key=lambda change: -abs(change.share))


def _noise(rounds: tuple[float, ...]) -> float:
    """Return half of what the rounds lie apart, as a share of their mean; 0 for one round."""
    mean = sum(rounds) / len(rounds) if rounds else 0.0
    return (max(rounds) - min(rounds)) / 2 / mean if mean else 0.0
