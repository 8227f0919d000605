"""The log: one line for each request, callback, batch of attempts and pass of the sweep.

Levels: `debug` logs everything, `info` normal work, `warning` what to look into if it repeats, `error` what needs
action.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from kling_relay.core.event import webhook_id
from kling_relay.core.submission import Accepted, AccountRefused, Refused, RetryLater, SubmitOutcome, Unknown
from kling_relay.core.task import Status, Step
from kling_relay.flows.coalesce import OverloadedError
from kling_relay.flows.log_context import current_fields
from kling_relay.flows.observer import AnsweredRequest, Observer
from kling_relay.flows.poll import SweepCounts
from kling_relay.observe.metrics import CALLBACK, SUBMIT_OUTCOME, SWEEP_ACTIONS
from kling_relay.store.deliveries.outbox import SettledAttempt
from kling_relay.store.postgres.statement import StoreError

FAILURE_EVERY = 1.0
"""Seconds between two lines about the same failure of the database."""
MALFORMED_EVERY = 1.0
"""Seconds between two lines about requests that are not HTTP."""
MAX_CLOCK_OFFSET = 2.0
"""Seconds by which the machine's clock may differ from the database's."""
_PROBES = frozenset({"livez", "readyz"})


class Log(Observer):
    """Writes facts as lines. `debug`, `info`, `warning`, `error` write any other event with fields."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._logger = logger
        self.debug = logger.debug
        self.info = logger.info
        self.warning = logger.warning
        self.error = logger.error
        self._failed_at: dict[tuple[str, str], float] = {}
        self._malformed: Counter[str] = Counter()
        self._malformed_at = float("-inf")
        self._is_clock_wrong = False
        self._writes_debug = logger.is_enabled_for(logging.DEBUG)
        self._writes_info = logger.is_enabled_for(logging.INFO)

    @override
    def request_answered(self, request: AnsweredRequest) -> None:
        """Write the line of a request, with the fields that it collected on its way."""
        if request.status >= 500:
            write = self.warning if request.status == 503 else self.error
        else:
            if not self._writes_info:
                return
            write = self.debug if request.route in _PROBES else self.info
        fields: dict[str, Any] = {
            "method": request.method,
            "route": request.route,
            "status": request.status,
            "seconds": round(request.seconds, 6),
            "request_id": request.request_id,
        }
        if request.key is not None:
            fields["key_id"] = request.key
        if request.code:
            fields["code"] = request.code
        write("callback" if request.route == CALLBACK else "request", **{**current_fields(), **fields})

    @override
    def request_malformed(self, reason: str) -> None:
        """Write at most one line a second, with the counts by reason since the line before."""
        self._malformed[reason] += 1
        now = time.monotonic()
        if now - self._malformed_at >= MALFORMED_EVERY:
            self._malformed_at = now
            self.info("malformed requests", count=self._malformed.total(), reasons=dict(self._malformed))
            self._malformed.clear()

    @override
    def connections_cut(self, count: int) -> None:
        self.warning("cut connections whose clients do not read", count=count)

    @override
    def task_moved(self, step: Step, source: str) -> None:
        """Write that a task ended, unless the line of a callback says it already; other moves at `debug`.

        A task that ends without its result is a warning.
        """
        task = step.task
        is_missing = task.status is Status.RESULT_MISSING
        is_news = is_missing or (step.is_final and source != "callback")
        if not (is_news or self._writes_debug):
            return
        write = self.warning if is_missing else self.info if is_news else self.debug
        write(
            "task moved",
            source=source,
            task=task.id,
            status=task.status.value,
            sequence=task.sequence,
            reason=step.signal.reason or None,
        )

    @override
    def order_sent(self, outcome: SubmitOutcome, seconds: float) -> None:
        if isinstance(outcome, Accepted) and not self._writes_debug:
            return
        fields: dict[str, Any] = {"outcome": SUBMIT_OUTCOME[type(outcome)], "seconds": round(seconds, 6)}
        match outcome:
            case Accepted(provider_task_id=name):
                self.debug("order sent", **fields, provider_task_id=name)
            case Refused(code=code, message=reason):
                self.info("order sent", **fields, code=code, reason=reason)
            case RetryLater(code=code, reason=reason) | AccountRefused(code=code, reason=reason):
                self.warning("order sent", **fields, code=code, reason=reason)
            case Unknown(reason=reason):
                self.warning("order sent", **fields, reason=reason)

    @override
    def provider_refused_account(self, task: UUID, refusal: AccountRefused) -> None:
        self.error(
            "the provider refuses our account",
            task=task,
            code=refusal.code,
            reason=refusal.reason,
            action="check RELAY_PROVIDER_KEY, RELAY_PROVIDER_URL and the account's balance",
        )

    @override
    def attempts_settled(self, batch: Sequence[SettledAttempt]) -> None:
        """Write one line for the batch, and one for each attempt that failed; the others at `debug`."""
        outcomes = Counter(attempt.outcome for attempt in batch)
        slowest = max((attempt.latency for attempt in batch), default=0.0)
        for attempt in batch:
            has_ended = attempt.outcome not in {"delivered", "failed"}
            write = self.warning if has_ended else self.info if attempt.outcome == "failed" else self.debug
            write(
                "attempt",
                task=attempt.subject,
                webhook_id=webhook_id(attempt.subject, attempt.sequence),
                subscription=attempt.subscription,
                attempt=attempt.attempt,
                outcome=attempt.outcome,
                status=attempt.status,
                error=attempt.error,
                seconds=round(attempt.latency, 6),
                retry_in=round(attempt.wait, 3) if attempt.outcome == "failed" else None,
            )
        self.info("attempts", attempts=len(batch), **outcomes, slowest=round(slowest, 6))

    @override
    def subscription_disabled(self, subscription: UUID, reason: str) -> None:
        self.warning("subscription disabled", subscription=subscription, reason=reason)

    @override
    def secrets_unreadable(self, subscription: UUID, error: Exception) -> None:
        self.error(
            "cannot decrypt a subscription's secrets or headers, so nothing is delivered to it",
            subscription=subscription,
            error=str(error),
            action="add the missing key to RELAY_SIGNING_KEYS",
        )

    @override
    def sweep_finished(self, counts: SweepCounts, seconds: float) -> None:
        """Write the line of a pass; one that did nothing at `debug`."""
        actions = {action: getattr(counts, action) for action in SWEEP_ACTIONS}
        (self.info if any(actions.values()) else self.debug)("sweep", **actions, seconds=round(seconds, 6))

    @override
    def task_skipped(self, task: UUID, error: Exception) -> None:
        self.warning("the sweep skipped a task and will try again", flow="sweep", task=task, error=_text(error))

    @override
    def partitions_changed(self, created: int, dropped: int) -> None:
        self.info("partitions changed", flow="partitions", created=created, dropped=dropped)

    @override
    def retention_enforced(self, expired: int, hooks: int) -> None:
        """Write what expired as a warning: these deliveries were never made."""
        write = self.warning if expired else self.info
        write("older than the retention", flow="partitions", expired_deliveries=expired, removed_hooks=hooks)

    @override
    def partitions_not_owned(self, error: Exception) -> None:
        self.warning(
            "cannot create or drop partitions: this database user does not own the tables",
            flow="partitions",
            error=str(error),
        )

    @override
    def clock_compared(self, ahead: float) -> None:
        """Write a line when the clocks begin to differ, and one when they agree again."""
        is_wrong = abs(ahead) > MAX_CLOCK_OFFSET
        if is_wrong and not self._is_clock_wrong:
            self.error(
                "this machine's clock differs from the database's, by which the service goes",
                flow="clock",
                seconds_ahead=round(ahead, 3),
                action="synchronise both by NTP; `kling-relay doctor` compares them with the provider's",
            )
        elif self._is_clock_wrong and not is_wrong:
            self.info("this machine's clock agrees with the database's again", flow="clock")
        self._is_clock_wrong = is_wrong

    @override
    def database_failed(self, flow: str, error: Exception) -> None:
        """Write at most one line a second for each flow and kind of error; a bug comes with its traceback."""
        kind, now = type(error).__name__, time.monotonic()
        if now - self._failed_at.get((flow, kind), -FAILURE_EVERY) < FAILURE_EVERY:
            return
        self._failed_at[flow, kind] = now
        is_known = isinstance(error, StoreError | OverloadedError | OSError)
        self.error(
            "a database operation failed",
            flow=flow,
            kind=kind,
            error=_text(error),
            **({} if is_known else {"exc_info": error}),
        )


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
