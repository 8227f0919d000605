"""Instruments: counters, histograms and gauges by name, each with a description and label names from a closed set.

What was made is listed, so that docs/metrics.md and the alerts' test know every name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from prometheus_client import CollectorRegistry, Gauge

from kling_relay.observe.tallies import Counts, Spreads

PREFIX = "relay_"

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Buckets in seconds of what we do ourselves."""
SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0)
"""Buckets in seconds of what waits for others."""
SIZES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Described:
    """An instrument as it is documented; `is_read` of the database, by one process for all."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    is_read: bool = False

    @property
    def samples(self) -> tuple[str, ...]:
        """Return the names under which Prometheus has it."""
        match self.kind:
            case "counter":
                return (f"{self.name}_total",)
            case "histogram":
                return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
            case _:
                return (self.name,)


class Instruments:
    """Makes them, in a registry of its own; each is given as what returns the child of some label values."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.catalogue: list[Described] = []

    def counter(self, name: str, meaning: str, *labels: str) -> Counts:
        made = Counts(self.described("counter", name, meaning, *labels), meaning, labels)
        self.registry.register(made)
        return made

    def histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Spreads:
        made = Spreads(self.described("histogram", name, meaning, *labels), meaning, labels, buckets)
        self.registry.register(made)
        return made

    def gauge(self, name: str, meaning: str, *labels: str) -> Callable[..., Gauge]:
        made = Gauge(self.described("gauge", name, meaning, *labels), meaning, labels, registry=self.registry)
        return cache(made.labels) if labels else lambda: made

    def described(self, kind: str, name: str, meaning: str, *labels: str, is_read: bool = False) -> str:
        """List an instrument and return its whole name; also for what a collector of its own gives."""
        self.catalogue.append(Described(PREFIX + name, kind, labels, meaning, is_read))
        return PREFIX + name
