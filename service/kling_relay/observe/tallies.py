"""Tallies: counters and histograms that cost a tenth of a microsecond to count in, written down when somebody looks.

The library's own take a lock for every figure, for programs with threads; a callback touches six of them. Ours belong
to the loop: what counts in them and what reads them runs there.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Generic, TypeVar

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


Tally = TypeVar("Tally")


class _Tallies(Collector, Generic[Tally]):
    """The tallies of one name, by the values of their labels."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str], make: Callable[[], Tally]) -> None:
        self._described = name, meaning
        self._labels = labels
        self._make = make
        self._known: dict[tuple[str, ...], Tally] = {}
        if not labels:
            self()

    def __call__(self, *values: str) -> Tally:
        """Return the tally of these values. Raises ValueError where they are not as many as the labels."""
        known = self._known.get(values)
        if known is None:
            if len(values) != len(self._labels):
                raise ValueError(f"{len(values)} values for the labels {', '.join(self._labels)}")
            known = self._known[values] = self._make()
        return known


class Counts(_Tallies[Count]):
    """The counts of one name."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str]) -> None:
        super().__init__(name, meaning, labels, Count)

    @override
    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(*self._described, labels=self._labels)
        for values, count in self._known.items():
            family.add_metric(values, count.value)
        yield family


class Spreads(_Tallies[Spread]):
    """The spreads of one name, over buckets with these upper ends."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._ends = [floatToGoString(bound) for bound in (*bounds, float("inf"))]  # type: ignore[no-untyped-call]  # the library says no types here
        super().__init__(name, meaning, labels, partial(Spread, tuple(bounds)))

    @override
    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(*self._described, labels=self._labels)
        for values, spread in self._known.items():
            below = [float(count) for count in accumulate(spread.counts)]
            family.add_metric(values, list(zip(self._ends, below, strict=True)), spread.total)
        yield family
