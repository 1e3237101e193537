"""
The gateway beside another server of Ollama's API, figure by figure of one run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from conformance.bench.figures import figures
from conformance.bench.floors import OWN
from conformance.bench.results import Results

DIRECT = "direct"


class Pair(NamedTuple):
    """One figure of both; a time is what the server adds to the stand-in's own."""

    what: str
    own: float
    other: float

    @property
    def ratio(self) -> float | None:
        """How many times the other's the gateway's is; None where the other adds no time."""
        return self.own / self.other if self.other > 0 else None


def pairs(results: Results, other: str) -> Iterator[Pair]:
    """Yield each figure that the gateway and the other server have."""
    found = {(each.target, each.what): each for each in figures(results)}
    for (name, what), figure in found.items():
        theirs = found.get((other, what))
        if name != OWN or theirs is None:
            continue
        direct = found.get((DIRECT, what))
        least = direct.value if direct is not None and figure.is_time_in_all else 0.0
        yield Pair(what, figure.value - least, theirs.value - least)
