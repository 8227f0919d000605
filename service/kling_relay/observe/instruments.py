"""Instruments: counters, histograms and gauges, each with a description and label names.

Counters and histograms are our own, because prometheus_client's take a lock for every value, and a callback counts six
of them (docs/adr/0012). Ours belong to the event loop: what counts in them and what reads them runs there.

The catalogue lists all instruments, for docs/metrics.md and for the tests of alerts and dashboard.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from typing_extensions import override

PREFIX = "relay_"

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Buckets in seconds for our own work."""
SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0)
"""Buckets in seconds for what waits for others."""
SIZES = (1, 2, 4, 8, 16, 32, 64)


class CounterChild:
    """One counter: a value that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, by: float = 1.0) -> None:
        self.value += by


class HistogramChild:
    """One histogram: how many values fell into each bucket. `bounds` are the buckets' inclusive upper ends."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


Child = TypeVar("Child")


class _LoopMetric(Collector, Generic[Child]):
    """A metric of the event loop: its children by their label values."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str], make: Callable[[], Child]) -> None:
        self._description = name, meaning
        self._labels = labels
        self._make = make
        self._children: dict[tuple[str, ...], Child] = {}
        if not labels:
            self()

    def __call__(self, *values: str) -> Child:
        """Return the child with these label values. Raises ValueError if their number is wrong."""
        child = self._children.get(values)
        if child is None:
            if len(values) != len(self._labels):
                raise ValueError(f"{len(values)} values for the labels {', '.join(self._labels)}")
            child = self._children[values] = self._make()
        return child


class LoopCounter(_LoopMetric[CounterChild]):
    """A counter with labels."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str]) -> None:
        super().__init__(name, meaning, labels, CounterChild)

    @override
    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(*self._description, labels=self._labels)
        for values, child in self._children.items():
            family.add_metric(values, child.value)
        yield family


class LoopHistogram(_LoopMetric[HistogramChild]):
    """A histogram with labels."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._ends = [floatToGoString(bound) for bound in (*bounds, float("inf"))]  # type: ignore[no-untyped-call]  # the library has no types here
        super().__init__(name, meaning, labels, partial(HistogramChild, tuple(bounds)))

    @override
    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(*self._description, labels=self._labels)
        for values, child in self._children.items():
            below = [float(count) for count in accumulate(child.counts)]
            family.add_metric(values, list(zip(self._ends, below, strict=True)), child.total)
        yield family


@dataclass(frozen=True, slots=True)
class InstrumentDescription:
    """An instrument as it is documented. `is_from_database`: one process reads it for all."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    is_from_database: bool = False

    @property
    def samples(self) -> tuple[str, ...]:
        """Return the names of its series in Prometheus."""
        match self.kind:
            case "counter":
                return (f"{self.name}_total",)
            case "histogram":
                return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
            case _:
                return (self.name,)


class Instruments:
    """Makes instruments in a registry of its own. Call an instrument with label values to get its child."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.catalogue: list[InstrumentDescription] = []

    def counter(self, name: str, meaning: str, *labels: str) -> LoopCounter:
        counter = LoopCounter(self.describe("counter", name, meaning, *labels), meaning, labels)
        self.registry.register(counter)
        return counter

    def histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> LoopHistogram:
        histogram = LoopHistogram(self.describe("histogram", name, meaning, *labels), meaning, labels, buckets)
        self.registry.register(histogram)
        return histogram

    def gauge(self, name: str, meaning: str, *labels: str) -> Callable[..., Gauge]:
        gauge = Gauge(self.describe("gauge", name, meaning, *labels), meaning, labels, registry=self.registry)
        return cache(gauge.labels) if labels else lambda: gauge

    def describe(self, kind: str, name: str, meaning: str, *labels: str, is_from_database: bool = False) -> str:
        """List an instrument and return its full name. Call it also for instruments that are made elsewhere."""
        self.catalogue.append(InstrumentDescription(PREFIX + name, kind, labels, meaning, is_from_database))
        return PREFIX + name
