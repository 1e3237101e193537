"""
What the gateway takes of the least that its libraries allow, measured in the same run.

A request that needs no call to LM Studio has the bare handler as its floor, and all that LM Studio
works for the bare pass-through. Embeddings also have bare vectors, a pass-through that reads and
writes their numbers. A ratio of 1 is all that could be reached without other libraries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from conformance.bench.results import Results

OWN = "olgate"
PASSED = "bare pass-through"
HANDLER = "bare handler"
VECTORS = "bare vectors"
_OF_HANDLER = frozenset({"tags", "show", "/api/tags", "/api/show"})
"""Requests that the gateway answers by itself, by their names among times and instructions."""
_OF_VECTORS = frozenset({"embed 1 text", "embed 256 texts"})
"""What else bare vectors answer is passed on."""


class Floor(NamedTuple):
    """One figure of the gateway, and that of its floor."""

    what: str
    name: str
    floor: float
    own: float

    @property
    def ratio(self) -> float:
        """How many times its floor the gateway takes."""
        return self.own / self.floor


def floors(results: Results) -> Iterator[Floor]:
    """Yield what was measured of the gateway and of its floor: times, then instructions."""
    paced = {(row.target, row.streams): row.cpu_us_per_token for row in results.paced}
    for name, streams in paced:
        if name == OWN and streams > 1:
            what = f"paced token, {streams} streams, µs"
            yield from _of(what, PASSED, paced.get((PASSED, streams)), paced[name, streams])
    waves = {(row.target, row.streams): row.first_token.p99 / 1e6 for row in results.waves}
    for name, streams in waves:
        if name == OWN:
            what = f"wave of {streams}, first token p99, ms"
            yield from _of(what, PASSED, waves.get((PASSED, streams)), waves[name, streams])
    burst = {row.target: row.cpu_us for row in results.burst}
    yield from _of("burst token, µs", PASSED, burst.get(PASSED), burst.get(OWN))
    requests = {(row.target, row.task): row.cpu_us for row in results.requests}
    for target, task in requests:
        if target == OWN:
            name = HANDLER if task in _OF_HANDLER else PASSED
            own = requests[target, task]
            yield from _of(f"{task}, µs", name, requests.get((name, task)), own)
            yield from _of(f"{task}, µs", VECTORS, requests.get((VECTORS, task)), own)
    counted = {each.target: each.with_token() for each in results.instructions}
    for label, own in counted.get(OWN, {}).items():
        name = HANDLER if label in _OF_HANDLER else PASSED
        yield from _of(f"{label}, instructions", name, counted.get(name, {}).get(label), own)
        if label in _OF_VECTORS:
            least = counted.get(VECTORS, {}).get(label)
            yield from _of(f"{label}, instructions", VECTORS, least, own)


def _of(what: str, name: str, floor: float | None, own: float | None) -> Iterator[Floor]:
    if floor and own:
        yield Floor(what, name, floor, own)
