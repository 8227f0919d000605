"""The figures of the whole database as Prometheus gauges: all of the latest reading, or none. They are never stale."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from kling_relay.observe.instruments import Instruments
from kling_relay.store.stats.readings import FleetReadings

Samples = Iterator[tuple[tuple[str, ...], float]]


class DatabaseGauge(NamedTuple):
    """A gauge: its name, meaning and labels, and how a reading becomes its samples."""

    name: str
    meaning: str
    labels: tuple[str, ...]
    samples: Callable[[FleetReadings], Samples]


def _pending_deliveries(readings: FleetReadings) -> Samples:
    for subscriptions, queue in readings.backlogs.items():
        for age, count in queue.by_age.items():
            yield (subscriptions, age), count


def _single(read: Callable[[FleetReadings], float]) -> Callable[[FleetReadings], Samples]:
    def samples(readings: FleetReadings) -> Samples:
        yield (), read(readings)

    return samples


GAUGES: Sequence[DatabaseGauge] = (
    DatabaseGauge(
        "pending_deliveries",
        "Pending deliveries by state of the subscription and time due; at most 10,000 of one and 200,000 in all",
        ("subscriptions", "age"),
        _pending_deliveries,
    ),
    DatabaseGauge(
        "oldest_due_seconds",
        "How long the oldest due delivery has been due, by state of its subscription",
        ("subscriptions",),
        lambda readings: (((state,), queue.oldest_due) for state, queue in readings.backlogs.items()),
    ),
    DatabaseGauge(
        "subscriptions_waiting",
        "Subscriptions with pending deliveries, by their state",
        ("subscriptions",),
        lambda readings: (((state,), queue.subscriptions) for state, queue in readings.backlogs.items()),
    ),
    DatabaseGauge(
        "submissions",
        "Tasks that have not ended, by state of their submission; at most 100,000 are counted",
        ("state",),
        lambda readings: (((state,), count) for state, count in readings.submissions.items()),
    ),
    DatabaseGauge(
        "silent_tasks",
        "Tasks at the provider that were polled five times or more and have not ended",
        (),
        _single(lambda readings: readings.silent_tasks),
    ),
    DatabaseGauge(
        "oldest_order_waiting_seconds",
        "Age of the oldest order that is recorded and not sent",
        (),
        _single(lambda readings: readings.oldest_waiting),
    ),
    DatabaseGauge("slots_used", "Slots in use at the provider", (), _single(lambda readings: readings.slots_used)),
    DatabaseGauge(
        "oldest_snapshot_seconds",
        "Age of the oldest transaction that holds back a snapshot, as far as our role may see",
        (),
        _single(lambda readings: readings.oldest_snapshot),
    ),
    DatabaseGauge(
        "snapshot_transactions",
        "Transactions begun since the oldest one that still runs; events wait for it",
        (),
        _single(lambda readings: readings.snapshot_span),
    ),
    DatabaseGauge(
        "partitions_ahead_seconds",
        "How far ahead every partitioned table has its partitions",
        (),
        _single(lambda readings: readings.partitions_ahead * 86_400),
    ),
    DatabaseGauge(
        "retention_lag_seconds",
        "For how long the oldest partition has been older than RELAY_RETENTION; it is dropped within the hour",
        (),
        _single(lambda readings: readings.retention_lag),
    ),
    DatabaseGauge(
        "expired_deliveries",
        "Deliveries of all time that were given up because their tasks became older than RELAY_RETENTION",
        (),
        _single(lambda readings: readings.expired_deliveries),
    ),
    DatabaseGauge(
        "table_rows",
        "Estimated rows of the tables whose rows come and go",
        ("table", "state"),
        lambda readings: iter(readings.rows.items()),
    ),
    DatabaseGauge(
        "fleet_stats_seconds", "Time that reading these figures took", (), _single(lambda readings: readings.seconds)
    ),
)


class DatabaseGauges(Collector):
    """Shows `readings`, or nothing while there are none."""

    def __init__(self, instruments: Instruments) -> None:
        self.readings: FleetReadings | None = None
        self._names = [
            instruments.describe("gauge", gauge.name, gauge.meaning, *gauge.labels, is_from_database=True)
            for gauge in GAUGES
        ]
        instruments.registry.register(self)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return the names without any samples."""
        return [
            GaugeMetricFamily(name, gauge.meaning, labels=gauge.labels)
            for name, gauge in zip(self._names, GAUGES, strict=True)
        ]

    @override
    def collect(self) -> Iterator[GaugeMetricFamily]:
        if self.readings is None:
            return
        for family, gauge in zip(self.describe(), GAUGES, strict=True):
            for labels, value in gauge.samples(self.readings):
                family.add_metric(labels, value)
            yield family
