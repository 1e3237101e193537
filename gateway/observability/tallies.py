"""
Counters and histograms that a request counts in without entering a function.

They are dictionaries from labels to numbers, and become metrics when they are read. The metrics of
prometheus_client enter several functions for each number, which every request would pay.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]
"""The values of a metric's labels, in the order in which it names them."""


class Tally(defaultdict[Labels, float]):
    """A counter: add to `tally[labels]`."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        """Count nothing yet; `name` is without `_total`, and `text` says what is counted."""
        super().__init__(float)
        self._about = (name, text, tuple(labels))

    def family(self) -> Metric:
        """Return the counts of now."""
        name, text, labels = self._about
        made = CounterMetricFamily(name, text, labels=labels)
        for values, count in list(self.items()):
            made.add_metric(values, count)
        return made


class Spread(dict[Labels, list[float]]):
    """
    A histogram. A row has one count for each bound, one for what is above all of them, and the sum.
    """

    def __init__(
        self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        """Count nothing yet; `bounds` are the upper ends of the buckets, in ascending order."""
        super().__init__()
        self.bounds = tuple(bounds)
        self._about = (name, text, tuple(labels))
        self._shown = [*map(floatToGoString, self.bounds), "+Inf"]

    def __missing__(self, labels: Labels) -> list[float]:
        """Return a new row."""
        row = self[labels] = [0.0] * (len(self.bounds) + 2)
        return row

    def add(self, labels: Labels, nanoseconds: Sequence[int]) -> None:
        """Count times; no time makes no row."""
        if not nanoseconds:
            return
        row, counted = self[labels], 0
        values = sorted(each / 1e9 for each in nanoseconds)
        # A bucket that holds nothing of a few values is not looked at.
        for at in range(bisect_left(self.bounds, values[0]), len(self.bounds)):
            below = bisect_right(values, self.bounds[at])
            row[at] += below - counted
            counted = below
            if below == len(values):
                break
        row[-2] += len(values) - counted
        row[-1] += sum(values)

    def family(self) -> Metric:
        """Return the counts of now; those of Prometheus' buckets include the buckets below."""
        name, text, labels = self._about
        made = HistogramMetricFamily(name, text, labels=labels)
        for values, row in list(self.items()):
            counts = accumulate(row[:-1])
            made.add_metric(values, list(zip(self._shown, counts, strict=True)), row[-1])
        return made


class Tallies(Collector):
    """Shows some tallies and spreads in a registry."""

    def __init__(self, shown: Iterable[Tally | Spread]) -> None:
        self._shown = tuple(shown)

    def collect(self) -> Iterator[Metric]:
        """Yield each with its counts of now; called for every scrape."""
        for each in self._shown:
            yield each.family()
