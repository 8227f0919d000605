"""Metrics: one method for each thing that happens, made to be handed to flows and web as the callable they tell.

Every label has a closed set of values; ids, addresses and texts from outside are never labels.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, assert_never

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector

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
from kling_relay.observe.database_gauges import FiguresShown
from kling_relay.observe.instruments import FAST, SIZES, SLOW, Described, Instruments
from kling_relay.observe.tallies import Count, Spread
from kling_relay.store.stats.readings import FleetReadings

CALLBACK = "callback"
"""The name of the provider's door in the table of routes."""
CALLBACK_OUTCOME = {200: "recorded", 404: "forged", 408: "too_slow", 413: "too_large", 503: "refused_busy"}
"""What an answer to the provider means; other 5xx are `failed`, other 4xx `malformed`."""
SOURCES = ("callback", "query", "submit", "clock")
SIGNAL_OUTCOMES = ("moved", "stale", "unreadable", "unsigned", "unconfirmed")
SUBMIT_OUTCOME: dict[type[SubmitOutcome], str] = {
    Accepted: "accepted",
    Refused: "refused",
    RetryLater: "wait",
    AccountRefused: "never",
    Unknown: "unknown",
}
ERRORS = frozenset({"timeout", "refused", "unreachable", "dns", "tls", "reset", "blocked", "protocol"})
_BAD = ("3xx", "4xx", "5xx", *sorted(ERRORS))
ATTEMPT_OUTCOMES = {"delivered": ("2xx",), "failed": _BAD, "exhausted": _BAD, "gone": ("4xx",)}
"""What can become of a delivery, and the classes of answers that bring it about."""
ACTS = ("sent", "asked", "answered", "expired", "postponed")
_CODES = frozenset({0, *RETRY_CODES, *ACCOUNT_CODES, *UNKNOWN_CODES, *REFUSED_STATUS, 1302, 1303, 1304})


class Seen(Protocol):
    """A request and its answer, as far as it is counted; `route` is a name from the table of routes."""

    @property
    def route(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class Passed(Protocol):
    """What one pass of the sweep did."""

    @property
    def sent(self) -> int: ...
    @property
    def asked(self) -> int: ...
    @property
    def answered(self) -> int: ...
    @property
    def expired(self) -> int: ...
    @property
    def postponed(self) -> int: ...


class Pool(Protocol):
    """A pool of connections, asked when somebody looks."""

    def get_size(self) -> int: ...
    def get_idle_size(self) -> int: ...
    def get_max_size(self) -> int: ...


class Metrics:
    """The metrics of one process; `registry` is what the exporter serves."""

    def __init__(self, *, version: str = "", slots_limit: int | None = None) -> None:
        """`slots_limit` is RELAY_PROVIDER_SLOTS; `version` is ours."""
        made = Instruments()
        self.registry = made.registry
        self._catalogue = made.catalogue
        self._requests = made.counter("requests", "Requests by route and status of the answer", "route", "status")
        self._request_seconds = made.histogram("request_seconds", "Time to answer a request", FAST, "route")
        self._callbacks = made.counter("callbacks", "Calls at the provider's door by what became of them", "outcome")
        self._callback_seconds = made.histogram(
            "callback_seconds", "Time from a callback's head to its answer, which is after the commit", FAST, "outcome"
        )
        self._signals = made.counter(
            "signals", "Signals by where they came from and what they did", "source", "outcome"
        )
        self._steps = made.counter("steps", "Steps by the status they led to", "status")
        self._submits = made.counter(
            "submits", "Orders given to the provider by outcome and its code", "outcome", "code"
        )
        self._submit_seconds = made.histogram("submit_seconds", "Time of the provider's answer", SLOW, "outcome")
        self._batch_items = made.histogram("batch_items", "Items written in one transaction", SIZES, "batch")
        self._batch_wait = made.histogram(
            "batch_wait_seconds", "Wait of a batch's oldest item for its transaction", FAST, "batch"
        )
        self._attempts = made.counter(
            "attempts", "Attempts by what becomes of the delivery, and the class of answer", "outcome", "answer"
        )
        self._attempt_seconds = made.histogram("attempt_seconds", "Time of one attempt", SLOW, "outcome")
        self._lag = made.histogram("event_loop_lag_seconds", "How late the event loop wakes who slept", FAST)
        self._pass_seconds = made.histogram("sweep_pass_seconds", "Time of one pass of the sweep", SLOW)
        self._swept = made.counter("sweep_tasks", "Tasks that the sweep dealt with", "act")
        self._pools = made.gauge("pool_connections", "Connections to the database", "pool", "state")
        self._pool_limits = made.gauge("pool_limit", "Most connections of a pool", "pool")
        self._in_hand = made.gauge("in_hand", "What this process holds at this moment", "what")
        made.gauge("build", "1, with the version", "version")(version).set(1)
        if slots_limit is not None:
            made.gauge("slots_limit", "Tasks that may be in flight at the provider")().set(slots_limit)
        else:
            made.described("gauge", "slots_limit", "Tasks that may be in flight at the provider")
        self._answered: dict[tuple[str, int], tuple[list[Count], list[Spread]]] = {}
        self._shown = FiguresShown(made)
        self._begin()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    @property
    def catalogue(self) -> tuple[Described, ...]:
        """Every instrument of ours, by name."""
        return tuple(sorted(self._catalogue, key=lambda each: each.name))

    def _begin(self) -> None:
        """Show at 0 what alerts divide by, so that a first failure is an increase."""
        for outcome in (*CALLBACK_OUTCOME.values(), "malformed", "failed"):
            self._callbacks(outcome)
        for status in Status:
            self._steps(status.value)
        for act in ACTS:
            self._swept(act)
        for outcome in SUBMIT_OUTCOME.values():
            self._submit_seconds(outcome)
        for code in ACCOUNT_CODES:
            self._submits("never", str(code))
        for outcome, answers in ATTEMPT_OUTCOMES.items():
            self._attempt_seconds(outcome)
            for answer in answers:
                self._attempts(outcome, answer)

    def request(self, seen: Seen) -> None:
        """Count a request (`Context.seen`); a callback is counted by its outcome besides."""
        answered = seen.route, seen.status
        kept = self._answered.get(answered)
        if kept is None:
            kept = self._answered[answered] = self._of(*answered)
        counts, spreads = kept
        for count in counts:
            count.value += 1
        for spread in spreads:
            spread.observe(seen.seconds)

    def _of(self, route: str, status: int) -> tuple[list[Count], list[Spread]]:
        """Return what is counted and observed of a request that was answered so."""
        counts, spreads = [self._requests(route, str(status))], [self._request_seconds(route)]
        if route == CALLBACK:
            outcome = callback_outcome(status)
            counts.append(self._callbacks(outcome))
            spreads.append(self._callback_seconds(outcome))
        return counts, spreads

    def signal(self, source: str, outcome: str) -> None:
        """Count something heard of a task."""
        self._signals(
            source if source in SOURCES else "other", outcome if outcome in SIGNAL_OUTCOMES else "other"
        ).inc()

    def step(self, step: Step, _source: str = "") -> None:
        """Count a step (`Ingest.observe_step`); where it came from is counted with the signals."""
        self._steps(step.task.status.value).inc()

    def submit(self, outcome: SubmitOutcome, seconds: float) -> None:
        """Count what the provider said to an order, or did not (`Send.observe`)."""
        name = SUBMIT_OUTCOME[type(outcome)]
        self._submits(name, _code(outcome)).inc()
        self._submit_seconds(name).observe(seconds)

    def batch(self, name: str) -> Callable[[int, float], None]:
        """Return what hears of the batches of one coalescer (`Ingest.observe`), `name` being a constant."""
        items, wait = self._batch_items(name), self._batch_wait(name)

        def observe(size: int, wait_seconds: float) -> None:
            items.observe(size)
            wait.observe(wait_seconds)

        return observe

    def attempt(self, outcome: str, answer: SubscriberResponse) -> None:
        """Count an attempt (`Deliver.observe`)."""
        self._attempts(outcome, _class(answer)).inc()
        self._attempt_seconds(outcome).observe(answer.latency)

    def swept(self, passed: Passed, seconds: float) -> None:
        """Count a pass of the sweep (`Sweep.swept`)."""
        self._pass_seconds().observe(seconds)
        for act in ACTS:
            if count := getattr(passed, act):
                self._swept(act).inc(count)

    def lag(self, seconds: float) -> None:
        """Note how late the event loop was (`kling_relay.observe.loop_lag.watch`)."""
        self._lag().observe(seconds)

    def watch_pools(self, pools: Mapping[str, Pool]) -> None:
        """Show these pools whenever somebody looks."""
        for name, pool in pools.items():
            self._pools(name, "idle").set_function(pool.get_idle_size)
            self._pools(name, "used").set_function(partial(_used, pool))
            self._pool_limits(name).set(pool.get_max_size())

    def watch(self, **in_hand: Callable[[], float]) -> None:
        """Show these counts whenever somebody looks: `callbacks`, `attempts`, `settlements`, `queues`, `shards`, …"""
        for what, count in in_hand.items():
            self._in_hand(what).set_function(count)

    def figures(self, figures: FleetReadings | None) -> None:
        """Show the latest figures of the whole database; None: they are somebody else's to show, or unknown."""
        self._shown.figures = figures


def callback_outcome(status: int) -> str:
    """Return what an answer to the provider says of its callback."""
    return CALLBACK_OUTCOME.get(status) or ("failed" if status >= 500 else "malformed")


def _used(pool: Pool) -> int:
    return pool.get_size() - pool.get_idle_size()


def _code(outcome: SubmitOutcome) -> str:
    """Return the provider's code, of those that it is known to have."""
    match outcome:
        case Accepted():
            return "0"
        case Unknown():
            return "none"
        case Refused(code=code) | RetryLater(code=code) | AccountRefused(code=code):
            return str(code) if code in _CODES else "other"
    assert_never(outcome)


def _class(answer: SubscriberResponse) -> str:
    if answer.status is not None:
        return f"{answer.status // 100}xx" if 100 <= answer.status <= 599 else "other"
    word = (answer.error or "").partition(":")[0]
    return word if word in ERRORS else "other"
