"""Instruments: counters, histograms and gauges, each with a description and label names.

The catalogue lists all of them, for docs/metrics.md and for the tests of alerts and dashboard.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from prometheus_client import CollectorRegistry, Gauge

from kling_relay.observe.tallies import Counts, Spreads

PREFIX = "relay_"

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Buckets in seconds for our own work."""
SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0)
"""Buckets in seconds for what waits for others."""
SIZES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Described:
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
        self.catalogue: list[Described] = []

    def counter(self, name: str, meaning: str, *labels: str) -> Counts:
        counter = Counts(self.describe("counter", name, meaning, *labels), meaning, labels)
        self.registry.register(counter)
        return counter

    def histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Spreads:
        histogram = Spreads(self.describe("histogram", name, meaning, *labels), meaning, labels, buckets)
        self.registry.register(histogram)
        return histogram

    def gauge(self, name: str, meaning: str, *labels: str) -> Callable[..., Gauge]:
        gauge = Gauge(self.describe("gauge", name, meaning, *labels), meaning, labels, registry=self.registry)
        return cache(gauge.labels) if labels else lambda: gauge

    def describe(self, kind: str, name: str, meaning: str, *labels: str, is_from_database: bool = False) -> str:
        """List an instrument and return its full name. Call it also for instruments that are made elsewhere."""
        self.catalogue.append(Described(PREFIX + name, kind, labels, meaning, is_from_database))
        return PREFIX + name
