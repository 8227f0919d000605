"""What the flows report about their work, one method per fact. `observe/` implements it; by default nothing happens.

Facts are reported from the event loop, many of them thousands of times a second. An implementation must return at
once and must not raise.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from kling_relay.core.delivery import SubscriberResponse
    from kling_relay.core.submission import AccountRefused, SubmitOutcome
    from kling_relay.core.task import Step
    from kling_relay.flows.poll import SweepCounts
    from kling_relay.store.deliveries.outbox import SettledAttempt
    from kling_relay.store.stats.readings import FleetReadings


MALFORMED = ("first_line", "header", "too_long", "body", "tls")
"""Why bytes that arrived are not an HTTP request."""


class AnsweredRequest(NamedTuple):
    """An HTTP request and its response. `route` is the name of the route, never a path; `code` is 0 on success."""

    route: str
    method: str
    status: int
    seconds: float
    request_id: str
    key: UUID | None
    code: int


class Observer:
    """Receives every fact and ignores it. Subclasses override the methods for the facts they need."""

    def request_answered(self, request: AnsweredRequest) -> None:
        """An HTTP request was answered; provider callbacks are requests, too."""

    def request_malformed(self, reason: str) -> None:
        """Bytes arrived that are not HTTP, and were refused. `reason` is one of MALFORMED."""

    def connections_cut(self, count: int) -> None:
        """This number of connections was cut because their clients did not read their responses."""

    def observation_applied(self, source: str, outcome: str) -> None:
        """Something learned about a task was written. `outcome` is "moved" or why the task did not move."""

    def task_moved(self, step: "Step", source: str) -> None:
        """A task moved. `source` is callback, query, submit or clock."""

    def batch_started(self, name: str, items: int, wait: float) -> None:
        """A batch of `items` is being written; its oldest item waited `wait` seconds."""

    def order_sent(self, outcome: "SubmitOutcome", seconds: float) -> None:
        """The provider answered an order, or did not, after `seconds`."""

    def provider_refused_account(self, task: UUID, refusal: "AccountRefused") -> None:
        """The provider refuses our key, account, address or configuration. An operator must act."""

    def attempt_made(self, outcome: str, response: "SubscriberResponse") -> None:
        """A delivery was attempted. `outcome` is delivered, failed, exhausted or gone."""

    def attempts_settled(self, batch: "Sequence[SettledAttempt]") -> None:
        """These attempts were written to the database."""

    def subscription_disabled(self, subscription: UUID, reason: str) -> None:
        """A subscription was disabled because of its answers."""

    def secrets_unreadable(self, subscription: UUID, error: Exception) -> None:
        """The secrets or headers of a subscription cannot be decrypted, so nothing is delivered to it."""

    def sweep_finished(self, counts: "SweepCounts", seconds: float) -> None:
        """One pass of the sweep is over."""

    def task_skipped(self, task: UUID, error: Exception) -> None:
        """The sweep could not handle a task now. The task comes due again."""

    def partitions_changed(self, created: int, dropped: int) -> None:
        """The sweep created or dropped partitions."""

    def retention_enforced(self, expired: int, hooks: int) -> None:
        """Deliveries of tasks older than the retention expired, or hooks were removed with their tasks."""

    def partitions_not_owned(self, error: Exception) -> None:
        """Our database role may not create or drop partitions."""

    def clock_compared(self, ahead: float) -> None:
        """The machine's clock was compared with the database's. `ahead` is in seconds; negative: it is behind."""

    def fleet_stats_changed(self, readings: "FleetReadings | None") -> None:
        """There are new figures of the whole database. None: another worker reads them, or they cannot be read."""

    def database_failed(self, flow: str, error: Exception) -> None:
        """A flow failed, most often because of the database. `web` answered 503; the others will try again."""


FACTS = tuple(name for name, member in vars(Observer).items() if callable(member) and not name.startswith("_"))
"""The names of the methods."""


def combine(*observers: Observer) -> Observer:
    """Return an observer that passes each fact to those of `observers` that override its method.

    A fact that only one of them needs calls its method directly, so that combining costs nothing there.
    """
    combined = Observer()
    for fact in FACTS:
        methods = [
            getattr(observer, fact)
            for observer in observers
            if getattr(type(observer), fact) is not getattr(Observer, fact)
        ]
        if methods:
            setattr(combined, fact, methods[0] if len(methods) == 1 else _in_turn(methods))
    return combined


def _in_turn(methods: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def report(*values: Any) -> None:
        for method in methods:
            method(*values)

    return report
