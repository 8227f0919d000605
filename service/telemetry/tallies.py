"""Tallies: counters and histograms that cost a tenth of a microsecond to count in, written down when somebody looks.

The library's own take a lock for every figure, for programs with threads; a callback touches six of them. Ours belong
to the loop: what counts in them and what reads them runs there.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from typing_extensions import override


class Count:
    """A figure that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, by: float = 1.0) -> None:
        self.value += by


class Spread:
    """How many observations fell into which bucket; `bounds` are the buckets' upper ends, inclusive."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, amount: float) -> None:
        self.counts[bisect_left(self._bounds, amount)] += 1
        self.total += amount


class Counts(Collector):
    """The counts of one name, by the values of their labels."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str]) -> None:
        self._described = name, meaning
        self._labels = labels
        self._known: dict[tuple[str, ...], Count] = {}
        if not labels:
            self()

    def __call__(self, *values: str) -> Count:
        """Return the count of these values."""
        known = self._known.get(values)
        if known is None:
            known = self._known[_checked(values, self._labels)] = Count()
        return known

    @override
    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(*self._described, labels=self._labels)
        for values, count in self._known.items():
            family.add_metric(values, count.value)
        yield family


class Spreads(Collector):
    """The spreads of one name, by the values of their labels."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._described = name, meaning
        self._labels = labels
        self._bounds = tuple(bounds)
        self._ends = [floatToGoString(bound) for bound in (*self._bounds, float("inf"))]  # type: ignore[no-untyped-call]  # the library says no types here
        self._known: dict[tuple[str, ...], Spread] = {}
        if not labels:
            self()

    def __call__(self, *values: str) -> Spread:
        """Return the spread of these values."""
        known = self._known.get(values)
        if known is None:
            known = self._known[_checked(values, self._labels)] = Spread(self._bounds)
        return known

    @override
    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(*self._described, labels=self._labels)
        for values, spread in self._known.items():
            below = [float(count) for count in accumulate(spread.counts)]
            family.add_metric(values, list(zip(self._ends, below, strict=True)), spread.total)
        yield family


def _checked(values: tuple[str, ...], labels: Sequence[str]) -> tuple[str, ...]:
    if len(values) != len(labels):
        raise ValueError(f"{len(values)} values for the labels {', '.join(labels)}")
    return values
