"""Metrics: counts the facts that flows and web report.

Every label has a closed set of values. Ids, addresses and texts from outside are never labels.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, assert_never

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from typing_extensions import override

from kling_relay.core.delivery import SubscriberResponse
from kling_relay.core.submission import (
    ACCOUNT_CODES,
    REFUSED_STATUS,
    RETRY_CODES,
    UNKNOWN_CODES,
    Accepted,
    AccountRefused,
    Refused,
    RetryLater,
    SubmitOutcome,
    Unknown,
)
from kling_relay.core.task import Status, Step
from kling_relay.flows.observer import MALFORMED, AnsweredRequest, Observer
from kling_relay.flows.poll import SweepCounts
from kling_relay.observe.database_gauges import DatabaseGauges
from kling_relay.observe.instruments import (
    FAST,
    SIZES,
    SLOW,
    CounterChild,
    HistogramChild,
    InstrumentDescription,
    Instruments,
)
from kling_relay.store.stats.readings import FleetReadings

CALLBACK = "callback"
"""The name of the route for the provider's callbacks."""
CALLBACK_OUTCOME = {200: "recorded", 404: "forged", 408: "too_slow", 413: "too_large", 503: "refused_busy"}
"""The outcome of a callback by the status of our response; other 5xx are `failed`, other 4xx `malformed`."""
SOURCES = ("callback", "query", "submit", "clock")
OBSERVATION_OUTCOMES = ("moved", "stale", "unreadable", "unsigned", "unconfirmed", "incomplete")
SUBMIT_OUTCOME: dict[type[SubmitOutcome], str] = {
    Accepted: "accepted",
    Refused: "refused",
    RetryLater: "retry_later",
    AccountRefused: "account_refused",
    Unknown: "unknown",
}
ERRORS = frozenset({"timeout", "refused", "unreachable", "dns", "tls", "reset", "blocked", "protocol"})
_FAILURES = ("3xx", "4xx", "5xx", *sorted(ERRORS))
ATTEMPT_OUTCOMES = {"delivered": ("2xx",), "failed": _FAILURES, "exhausted": _FAILURES, "gone": ("4xx",)}
"""The outcomes of an attempt, and the classes of responses that lead to each."""
SWEEP_ACTIONS = ("sent", "polled", "answered", "expired", "postponed")
_CODES = frozenset({0, *RETRY_CODES, *ACCOUNT_CODES, *UNKNOWN_CODES, *REFUSED_STATUS, 1302, 1303, 1304})


class ConnectionPool(Protocol):
    """A pool of database connections, read during each scrape."""

    def get_size(self) -> int: ...
    def get_idle_size(self) -> int: ...
    def get_max_size(self) -> int: ...


class Metrics(Observer):
    """The metrics of one process; `registry` is what the exporter serves."""

    def __init__(self, *, version: str = "", slots_limit: int | None = None) -> None:
        """`slots_limit` is RELAY_PROVIDER_SLOTS; `version` is ours."""
        make = Instruments()
        self.registry = make.registry
        self._catalogue = make.catalogue
        self._requests = make.counter("requests", "Requests by route and status", "route", "status")
        self._request_seconds = make.histogram("request_seconds", "Time until a request is answered", FAST, "route")
        self._malformed = make.counter("malformed_requests", "Requests that are not valid HTTP, by reason", "reason")
        self._unread = make.counter("unread_connections", "Connections cut because their clients did not read")
        self._callbacks = make.counter("callbacks", "Calls to the callback URL by outcome", "outcome")
        self._callback_seconds = make.histogram(
            "callback_seconds",
            "Time from a callback's headers to its response, which is after the commit",
            FAST,
            "outcome",
        )
        self._observations = make.counter(
            "observations", "Observations of tasks, by source and outcome", "source", "outcome"
        )
        self._steps = make.counter("steps", "Status changes of tasks, by new status", "status")
        self._submits = make.counter(
            "submits", "Orders sent to the provider by outcome and the provider's code", "outcome", "code"
        )
        self._submit_seconds = make.histogram(
            "submit_seconds", "Time until the provider responded to an order", SLOW, "outcome"
        )
        self._batch_items = make.histogram("batch_items", "Items written in one transaction", SIZES, "batch")
        self._batch_wait = make.histogram(
            "batch_wait_seconds", "Time that the oldest item of a batch waited for its transaction", FAST, "batch"
        )
        self._attempts = make.counter(
            "attempts", "Delivery attempts by outcome and class of the response", "outcome", "response"
        )
        self._attempt_seconds = make.histogram("attempt_seconds", "Time of one delivery attempt", SLOW, "outcome")
        self._lag = make.histogram("event_loop_lag_seconds", "How late the event loop wakes a sleeping task", FAST)
        self._sweep_seconds = make.histogram("sweep_pass_seconds", "Time of one pass of the sweep", SLOW)
        self._sweep_tasks = make.counter("sweep_tasks", "Tasks that the sweep handled, by action", "action")
        self._pools = make.gauge("pool_connections", "Connections to the database", "pool", "state")
        self._pool_limits = make.gauge("pool_limit", "Connections that a pool may open", "pool")
        self._clock_offset = make.gauge(
            "clock_offset_seconds", "By how much this machine's clock is ahead of the database's; negative if behind"
        )
        self._in_progress = make.gauge("in_progress", "Work that this process holds in memory, by kind", "kind")
        make.gauge("build", "Always 1; the label is the version", "version")(version).set(1)
        slots = ("slots_limit", "Tasks that may be in flight at the provider")
        if slots_limit is not None:
            make.gauge(*slots)().set(slots_limit)
        else:
            make.describe("gauge", *slots)
        self._by_response: dict[tuple[str, int], tuple[list[CounterChild], list[HistogramChild]]] = {}
        self._by_batch: dict[str, tuple[HistogramChild, HistogramChild]] = {}
        self._database_gauges = DatabaseGauges(make)
        self._start_at_zero()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    @property
    def catalogue(self) -> tuple[InstrumentDescription, ...]:
        """Every instrument of ours, by name."""
        return tuple(sorted(self._catalogue, key=lambda instrument: instrument.name))

    def _start_at_zero(self) -> None:
        """Create the series that alerts use at 0, so that the first failure is an increase."""
        for outcome in (*CALLBACK_OUTCOME.values(), "malformed", "failed"):
            self._callbacks(outcome)
        for reason in MALFORMED:
            self._malformed(reason)
        for status in Status:
            self._steps(status.value)
        for action in SWEEP_ACTIONS:
            self._sweep_tasks(action)
        for outcome in SUBMIT_OUTCOME.values():
            self._submit_seconds(outcome)
        for code in ACCOUNT_CODES:
            self._submits(SUBMIT_OUTCOME[AccountRefused], str(code))
        for outcome, responses in ATTEMPT_OUTCOMES.items():
            self._attempt_seconds(outcome)
            for response in responses:
                self._attempts(outcome, response)

    @override
    def request_answered(self, request: AnsweredRequest) -> None:
        """Count a request, and a callback also by its outcome."""
        key = request.route, request.status
        children = self._by_response.get(key)
        if children is None:
            children = self._by_response[key] = self._children(*key)
        counters, histograms = children
        for counter in counters:
            counter.value += 1
        for histogram in histograms:
            histogram.observe(request.seconds)

    def _children(self, route: str, status: int) -> tuple[list[CounterChild], list[HistogramChild]]:
        """Return the counters and histograms of requests to this route with this status."""
        counters, histograms = [self._requests(route, str(status))], [self._request_seconds(route)]
        if route == CALLBACK:
            outcome = callback_outcome(status)
            counters.append(self._callbacks(outcome))
            histograms.append(self._callback_seconds(outcome))
        return counters, histograms

    @override
    def request_malformed(self, reason: str) -> None:
        self._malformed(reason).inc()

    @override
    def connections_cut(self, count: int) -> None:
        self._unread().inc(count)

    @override
    def observation_applied(self, source: str, outcome: str) -> None:
        self._observations(
            source if source in SOURCES else "other", outcome if outcome in OBSERVATION_OUTCOMES else "other"
        ).inc()

    @override
    def task_moved(self, step: Step, source: str) -> None:
        self._steps(step.task.status.value).inc()

    @override
    def order_sent(self, outcome: SubmitOutcome, seconds: float) -> None:
        name = SUBMIT_OUTCOME[type(outcome)]
        self._submits(name, _code(outcome)).inc()
        self._submit_seconds(name).observe(seconds)

    @override
    def batch_started(self, name: str, items: int, wait: float) -> None:
        children = self._by_batch.get(name)
        if children is None:
            children = self._by_batch[name] = self._batch_items(name), self._batch_wait(name)
        children[0].observe(items)
        children[1].observe(wait)

    @override
    def attempt_made(self, outcome: str, response: SubscriberResponse) -> None:
        self._attempts(outcome, _class(response)).inc()
        self._attempt_seconds(outcome).observe(response.latency)

    @override
    def sweep_finished(self, counts: SweepCounts, seconds: float) -> None:
        self._sweep_seconds().observe(seconds)
        for action in SWEEP_ACTIONS:
            if count := getattr(counts, action):
                self._sweep_tasks(action).inc(count)

    @override
    def clock_compared(self, ahead: float) -> None:
        self._clock_offset().set(ahead)

    @override
    def fleet_stats_changed(self, readings: FleetReadings | None) -> None:
        self._database_gauges.readings = readings

    def lag(self, seconds: float) -> None:
        """Note how late the event loop was (`kling_relay.observe.loop_lag.watch`)."""
        self._lag().observe(seconds)

    def watch_pools(self, pools: Mapping[str, ConnectionPool]) -> None:
        """Read the sizes of these pools during each scrape."""
        for name, pool in pools.items():
            self._pools(name, "idle").set_function(pool.get_idle_size)
            self._pools(name, "used").set_function(partial(_used, pool))
            self._pool_limits(name).set(pool.get_max_size())

    def watch(self, **counts: Callable[[], float]) -> None:
        """Read these counts of work in progress during each scrape; the keyword is the value of the label `kind`."""
        for kind, count in counts.items():
            self._in_progress(kind).set_function(count)


def callback_outcome(status: int) -> str:
    """Return the outcome of a callback that was answered with this status."""
    return CALLBACK_OUTCOME.get(status) or ("failed" if status >= 500 else "malformed")


def _used(pool: ConnectionPool) -> int:
    return pool.get_size() - pool.get_idle_size()


def _code(outcome: SubmitOutcome) -> str:
    """Return the provider's code if it is a known one."""
    match outcome:
        case Accepted():
            return "0"
        case Unknown():
            return "none"
        case Refused(code=code) | RetryLater(code=code) | AccountRefused(code=code):
            return str(code) if code in _CODES else "other"
    assert_never(outcome)


def _class(response: SubscriberResponse) -> str:
    if response.status is not None:
        return f"{response.status // 100}xx" if 100 <= response.status <= 599 else "other"
    error = (response.error or "").partition(":")[0]
    return error if error in ERRORS else "other"
