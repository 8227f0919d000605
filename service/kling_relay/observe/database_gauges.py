"""The database's figures as Prometheus sees them: all of the latest reading, or nothing, never something stale."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from kling_relay.observe.instruments import Instruments
from kling_relay.store.stats.readings import FleetReadings

Samples = Iterator[tuple[tuple[str, ...], float]]
Shown = tuple[str, str, tuple[str, ...], Callable[[FleetReadings], Samples]]


def _outstanding(figures: FleetReadings) -> Samples:
    for subscriptions, queue in figures.backlogs.items():
        for age, count in queue.by_age.items():
            yield (subscriptions, age), count


def _one(read: Callable[[FleetReadings], float]) -> Callable[[FleetReadings], Samples]:
    def samples(figures: FleetReadings) -> Samples:
        yield (), read(figures)

    return samples


GAUGES: Sequence[Shown] = (
    (
        "pending_deliveries",
        "Pending deliveries by state of subscription and time due; at most 10,000 of one and 200,000 in all",
        ("subscriptions", "age"),
        _outstanding,
    ),
    (
        "oldest_due_seconds",
        "For how long the oldest due delivery has been due, by the state of its subscription",
        ("subscriptions",),
        lambda figures: (((name,), queue.oldest_due) for name, queue in figures.backlogs.items()),
    ),
    (
        "subscriptions_waiting",
        "Subscriptions with pending deliveries, by their state",
        ("subscriptions",),
        lambda figures: (((name,), queue.subscriptions) for name, queue in figures.backlogs.items()),
    ),
    (
        "submissions",
        "Tasks that are not final, by the state of their submission; at most 100,000 are counted",
        ("state",),
        lambda figures: (((state,), count) for state, count in figures.submissions.items()),
    ),
    (
        "silent_tasks",
        "Tasks at the provider that were asked about five times and more, and are still not final",
        (),
        _one(lambda figures: figures.silent_tasks),
    ),
    (
        "oldest_order_waiting_seconds",
        "Age of the oldest order that is recorded and not sent",
        (),
        _one(lambda figures: figures.oldest_waiting),
    ),
    ("slots_used", "Slots held at the provider", (), _one(lambda figures: figures.slots_used)),
    (
        "oldest_snapshot_seconds",
        "Age of the oldest transaction that holds a snapshot back, as far as our role may see",
        (),
        _one(lambda figures: figures.oldest_snapshot),
    ),
    (
        "snapshot_transactions",
        "Transactions begun since the oldest that still runs; events wait for it",
        (),
        _one(lambda figures: figures.snapshot_span),
    ),
    (
        "partitions_ahead_seconds",
        "Time from now for which every partitioned table has its partitions",
        (),
        _one(lambda figures: figures.partitions_ahead * 86_400),
    ),
    (
        "table_rows",
        "Estimated rows of the tables whose rows come and go",
        ("table", "state"),
        lambda figures: iter(figures.rows.items()),
    ),
    ("figures_seconds", "Time it took to read these figures", (), _one(lambda figures: figures.seconds)),
)
"""Name, meaning, labels, and how a reading becomes samples."""


class FiguresShown(Collector):
    """Shows `figures`; nothing while there are none."""

    def __init__(self, made: Instruments) -> None:
        self.figures: FleetReadings | None = None
        self._names = [
            made.described("gauge", name, meaning, *labels, is_read=True) for name, meaning, labels, _ in GAUGES
        ]
        made.registry.register(self)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Give the names without reading anything."""
        return [
            GaugeMetricFamily(name, meaning, labels=labels)
            for name, (_, meaning, labels, _) in zip(self._names, GAUGES, strict=True)
        ]

    @override
    def collect(self) -> Iterator[GaugeMetricFamily]:
        if self.figures is None:
            return
        for family, (*_, samples) in zip(self.describe(), GAUGES, strict=True):
            for labels, value in samples(self.figures):
                family.add_metric(labels, value)
            yield family
