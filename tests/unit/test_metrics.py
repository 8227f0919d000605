"""Metrics: what happens is counted under labels of closed sets, and served on a port of its own."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from typing_extensions import override

from kling_relay.core.delivery import SubscriberResponse
from kling_relay.core.submission import Accepted, AccountRefused, Refused, RetryLater, SubmitOutcome, Unknown
from kling_relay.core.task import Signal, SignalKind, Status, Step, Task
from kling_relay.flows.observer import FACTS, AnsweredRequest, Observer, combine
from kling_relay.flows.poll import SweepCounts
from kling_relay.observe import loop_lag
from kling_relay.observe.event_log import Log
from kling_relay.observe.exporter import export
from kling_relay.observe.instruments import LoopCounter, LoopHistogram
from kling_relay.observe.metrics import ATTEMPT_OUTCOMES, SUBMIT_OUTCOME, SWEEP_ACTIONS, Metrics
from kling_relay.store.stats.readings import AGES, BacklogReading, FleetReadings
from tests.support.api_document import ROUTES
from tests.support.waiting import eventually

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TASK = UUID(int=7)
READINGS = FleetReadings(
    backlogs={"healthy": BacklogReading(subscriptions=2, by_age=dict.fromkeys(AGES, 3), oldest_due=42.0)},
    submissions={"accepted": 5},
    silent_tasks=1,
    oldest_waiting=9.0,
    slots_used=4,
    oldest_snapshot=0.5,
    snapshot_span=17,
    partitions_ahead=6.5,
    retention_lag=60.0,
    expired_deliveries=8,
    rows={("pending_deliveries", "live"): 21},
    seconds=0.01,
)


def of(metrics: Metrics, sample: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"relay_{sample}", labels)


def request(route: str, status: int) -> AnsweredRequest:
    return AnsweredRequest(route=route, method="POST", status=status, seconds=0.003, request_id="r", key=None, code=0)


def answer(status: int | None, error: str | None = None) -> SubscriberResponse:
    return SubscriberResponse(status=status, error=error, retry_after=None, body=b"", latency=0.2)


@pytest.mark.parametrize("amounts", [[], [0.0, 1.0, 1.1, 2.0, 99.0]])
def test_our_instruments_are_exposed_as_the_librarys_own(amounts: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counts, spreads = LoopCounter("orders", "Orders", ("kind",)), LoopHistogram("wait", "Wait", ("kind",), (1, 2.5))
    ours.register(counts)
    ours.register(spreads)
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library says no types here
    their_counts = Counter("orders", "Orders", ("kind",), registry=theirs)
    their_spreads = Histogram("wait", "Wait", ("kind",), buckets=(1, 2.5), registry=theirs)
    for amount in amounts:
        counts("video").inc(amount)
        spreads("video").observe(amount)
        their_counts.labels("video").inc(amount)
        their_spreads.labels("video").observe(amount)
    assert generate_latest(ours) == generate_latest(theirs)


def test_an_instrument_takes_as_many_values_as_it_has_labels() -> None:
    with pytest.raises(ValueError, match="2 values for the labels kind"):
        LoopCounter("orders", "Orders", ("kind",))("video", "std")
    with pytest.raises(ValueError, match="0 values for the labels kind"):
        LoopHistogram("wait", "Wait", ("kind",), (1,))()


def test_a_request_is_counted_by_route_and_status_and_timed() -> None:
    metrics = Metrics()
    metrics.request_answered(request("show_task", 404))
    assert of(metrics, "requests_total", route="show_task", status="404") == 1
    assert of(metrics, "request_seconds_bucket", route="show_task", le="0.005") == 1
    assert of(metrics, "callbacks_total", outcome="forged") == 0


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "recorded"),
        (404, "forged"),
        (408, "too_slow"),
        (413, "too_large"),
        (503, "refused_busy"),
        (500, "failed"),
        (400, "malformed"),
    ],
)
def test_a_callback_is_counted_by_what_became_of_it(status: int, outcome: str) -> None:
    metrics = Metrics()
    assert of(metrics, "callbacks_total", outcome=outcome) == 0
    metrics.request_answered(request("callback", status))
    assert of(metrics, "callbacks_total", outcome=outcome) == 1
    assert of(metrics, "callback_seconds_count", outcome=outcome) == 1


def test_the_callback_route_has_the_name_that_callbacks_are_counted_by() -> None:
    assert [route.path for route in ROUTES if route.name == "callback"] == ["/callbacks/{task}/{token}"]


@pytest.mark.parametrize(
    ("outcome", "name", "code"),
    [
        (Accepted("p", Signal(kind=SignalKind.SUBMITTED)), "accepted", "0"),
        (Refused(1301, "risk", 400), "refused", "1301"),
        (Refused(1999, "new", 400), "refused", "other"),
        (RetryLater(1303, "slots"), "retry_later", "1303"),
        (AccountRefused(1102, "no balance"), "account_refused", "1102"),
        (Unknown("lost"), "unknown", "none"),
    ],
)
def test_submits_are_counted_by_outcome_and_a_code_that_is_known(outcome: SubmitOutcome, name: str, code: str) -> None:
    metrics = Metrics()
    metrics.order_sent(outcome, 0.7)
    assert of(metrics, "submits_total", outcome=name, code=code) == 1
    assert of(metrics, "submit_seconds_sum", outcome=name) == 0.7


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (answer(204), "2xx"),
        (answer(302), "3xx"),
        (answer(999), "other"),
        (answer(None, "dns: the name cannot be resolved"), "dns"),
        (answer(None, "timeout"), "timeout"),
        (answer(None, "something unexpected: 10.0.0.1"), "other"),
    ],
)
def test_attempts_are_counted_by_outcome_and_class_of_answer(given: SubscriberResponse, shown: str) -> None:
    metrics = Metrics()
    metrics.attempt_made("failed", given)
    assert of(metrics, "attempts_total", outcome="failed", response=shown) == 1
    assert of(metrics, "attempt_seconds_sum", outcome="failed") == 0.2


def test_moves_observations_batches_passes_and_lag_are_counted() -> None:
    metrics = Metrics()
    metrics.task_moved(
        Step(Task(id=TASK, status=Status.EXPIRED, sequence=1, updated_at=NOW), Signal(kind=SignalKind.EXPIRED)),
        "clock",
    )
    metrics.observation_applied("callback", "stale")
    metrics.observation_applied("somebody", "something")
    metrics.batch_started("ingest", 5, 0.002)
    metrics.sweep_finished(SweepCounts(polled=3, answered=2), 0.4)
    metrics.lag(0.3)
    assert of(metrics, "steps_total", status="expired") == 1
    assert of(metrics, "observations_total", source="callback", outcome="stale") == 1
    assert of(metrics, "observations_total", source="other", outcome="other") == 1
    assert of(metrics, "batch_items_sum", batch="ingest") == 5
    assert of(metrics, "batch_wait_seconds_bucket", batch="ingest", le="0.0025") == 1
    assert of(metrics, "sweep_tasks_total", action="polled") == 3
    assert of(metrics, "sweep_pass_seconds_count") == 1
    assert of(metrics, "event_loop_lag_seconds_bucket", le="0.25") == 0


def test_pools_and_work_in_progress_are_read_at_each_scrape() -> None:
    class Pool:
        idle = 2

        def get_size(self) -> int:
            return 5

        def get_idle_size(self) -> int:
            return self.idle

        def get_max_size(self) -> int:
            return 10

    metrics, pools, callbacks = Metrics(), {"lookup": Pool(), "ingest": Pool()}, [1]
    metrics.watch_pools(pools)
    metrics.watch(callbacks=lambda: len(callbacks))
    pools["ingest"].idle = 4
    callbacks.append(2)
    assert of(metrics, "pool_connections", pool="lookup", state="used") == 3
    assert of(metrics, "pool_connections", pool="ingest", state="used") == 1
    assert of(metrics, "pool_limit", pool="ingest") == 10
    assert of(metrics, "in_progress", kind="callbacks") == 2


def test_database_gauges_show_the_latest_reading_or_nothing() -> None:
    metrics = Metrics()
    assert of(metrics, "silent_tasks") is None
    metrics.fleet_stats_changed(READINGS)
    assert of(metrics, "pending_deliveries", subscriptions="healthy", age="under_1m") == 3
    assert of(metrics, "oldest_due_seconds", subscriptions="healthy") == 42
    assert of(metrics, "table_rows", table="pending_deliveries", state="live") == 21
    metrics.fleet_stats_changed(replace(READINGS, silent_tasks=2))
    assert of(metrics, "silent_tasks") == 2
    metrics.fleet_stats_changed(None)
    assert of(metrics, "silent_tasks") is None


def test_the_catalogue_names_everything_that_the_registry_shows() -> None:
    metrics = Metrics(version="1.0", slots_limit=5)
    everything_at_once(metrics)
    known = {each.name: each for each in metrics.catalogue}
    assert len(known) == len(metrics.catalogue)
    for family in metrics.registry.collect():
        if not family.name.startswith("relay_"):
            assert family.name.startswith(("process_", "python_"))
            continue
        described = known.pop(family.name)
        assert described.kind == family.type
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                assert sample.name in described.samples
                assert set(sample.labels) - {"le"} == set(described.labels)
    assert not known


def test_no_label_grows_with_what_strangers_send() -> None:
    metrics = Metrics(version="1.0", slots_limit=5)
    everything_at_once(metrics)
    before = series(metrics)
    for odd in range(200, 1200):
        metrics.order_sent(Refused(odd + 5000, "x", 400), 0.1)
        metrics.attempt_made("failed", answer(odd + 700))
        metrics.attempt_made("failed", answer(None, f"error {odd}"))
        metrics.observation_applied(f"source {odd}", f"outcome {odd}")
    assert series(metrics) - before <= 6  # three of "other", each with the time when it began
    assert before < 1500


def series(metrics: Metrics) -> int:
    return sum(len(family.samples) for family in metrics.registry.collect())


def everything_at_once(metrics: Metrics) -> None:
    for status in (200, 404, 503):
        metrics.request_answered(request("callback", status))
    metrics.request_answered(request("order", 200))
    for outcome in (Refused(1301, "", 400), RetryLater(1303, ""), AccountRefused(1102, ""), Unknown("")):
        metrics.order_sent(outcome, 1)
    for name in ATTEMPT_OUTCOMES:
        metrics.attempt_made(name, answer(200))
    metrics.observation_applied("callback", "moved")
    metrics.batch_started("ingest", 1, 0)
    metrics.fleet_stats_changed(READINGS)
    metrics.watch(attempts=lambda: 1)
    metrics.lag(0)


@pytest.mark.parametrize("observer", [Metrics, Log])
def test_an_observer_overrides_facts_with_their_own_parameters(observer: type[Observer]) -> None:
    for fact in FACTS:
        ours, base = (list(inspect.signature(getattr(of, fact)).parameters) for of in (observer, Observer))
        assert ours == base, fact


class Recorder(Observer):
    """Remembers the outcomes of observations."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    @override
    def observation_applied(self, source: str, outcome: str) -> None:
        self.outcomes.append(outcome)


class BatchRecorder(Recorder):
    """Remembers the sizes of batches, too."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    @override
    def batch_started(self, name: str, items: int, wait: float) -> None:
        self.batches.append(items)


def test_a_combined_observer_passes_each_fact_to_all_that_override_it() -> None:
    one, other = Recorder(), BatchRecorder()
    combined = combine(one, other)
    combined.observation_applied("callback", "moved")
    combined.batch_started("ingest", 3, 0.1)
    combined.database_failed("fetch", ConnectionError())
    assert (one.outcomes, other.outcomes, other.batches) == (["moved"], ["moved"], [3])
    assert combined.batch_started == other.batch_started, "a fact for one observer costs no extra call"


def test_actions_and_outcomes_are_those_of_the_flows() -> None:
    assert set(SWEEP_ACTIONS) == set(SweepCounts.__slots__)
    assert set(SUBMIT_OUTCOME) == set(SubmitOutcome.__args__)


async def test_the_exporter_serves_metrics_and_says_whether_the_process_is_ready() -> None:
    reasons: list[str | None] = [None]

    async def ready() -> str | None:
        reason = reasons[0]
        if reason == "raise":
            raise ConnectionError("postgresql://relay:secret@db")
        return reason

    metrics = Metrics(version="1.2.3")
    async with export(metrics, "127.0.0.1", 0, ready=ready) as port, aiohttp.ClientSession() as session:

        async def get(path: str) -> tuple[int, str]:
            async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                return answer.status, await answer.text()

        status, text = await get("/metrics")
        families = {family.name for family in text_string_to_metric_families(text)}
        assert status == 200
        assert 'relay_build{version="1.2.3"} 1.0' in text
        assert {"process_cpu_seconds", "python_gc_collections", "relay_steps"} <= families
        assert "_created" not in text
        assert await get("/livez") == (200, '{"status": "alive"}')
        assert await get("/readyz") == (200, '{"status": "ready"}')
        reasons[0] = "shutting down"
        assert await get("/readyz") == (503, '{"status": "shutting down"}')
        reasons[0] = "raise"
        assert await get("/readyz") == (503, '{"status": "ConnectionError"}')
        assert (await get("/else"))[0] == 404


async def test_a_blocked_loop_shows_as_lag() -> None:
    lags: list[float] = []
    watching = asyncio.create_task(loop_lag.watch(lags.append, every=0.01))
    await eventually(lambda: lags)
    asyncio.get_running_loop().call_soon(blocking(0.1))
    await eventually(lambda: max(lags) >= 0.05)
    watching.cancel()
    await asyncio.wait([watching])


def blocking(seconds: float) -> Callable[[], None]:
    import time

    def block() -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass

    return block
