"""The log: one canonical line for each request, callback, batch of attempts and pass of the sweep.

Methods take what flows and web tell, so that those are handed callables and never a logger. Levels: `debug` is each
single thing, `info` is what a day is told from, `warning` is what somebody should look at, `error` is what somebody
must mend.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

from structlog.typing import FilteringBoundLogger

from kling_relay.core.delivery import SubscriberResponse
from kling_relay.core.event import webhook_id
from kling_relay.core.submission import Accepted, AccountRefused, Refused, RetryLater, SubmitOutcome, Unknown
from kling_relay.core.task import Step
from kling_relay.flows.log_context import noted
from kling_relay.observe import metrics
from kling_relay.observe.metrics import CALLBACK, SUBMIT_OUTCOME, Passed

_QUIET = frozenset({"livez", "readyz"})


class Seen(metrics.Seen, Protocol):
    """A request and its answer, as `kling_relay.web.http.context.Seen` has it."""

    @property
    def method(self) -> str: ...
    @property
    def request_id(self) -> str: ...
    @property
    def key(self) -> UUID | None: ...
    @property
    def code(self) -> int: ...


class Settled(Protocol):
    """An attempt that is on disk, as `kling_relay.store.deliveries.outbox.Settled` has it."""

    @property
    def subscription(self) -> UUID: ...
    @property
    def subject(self) -> UUID: ...
    @property
    def sequence(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def outcome(self) -> str: ...
    @property
    def wait(self) -> float: ...
    @property
    def latency(self) -> float: ...
    @property
    def status(self) -> int | None: ...
    @property
    def error(self) -> str | None: ...


class Log:
    """Lines; see the module for the levels. `debug`, `info`, `warning`, `error` take an event and fields."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._logger = logger
        self.debug = logger.debug
        self.info = logger.info
        self.warning = logger.warning
        self.error = logger.error
        self._tells_all = logger.is_enabled_for(logging.DEBUG)
        self._tells_requests = logger.is_enabled_for(logging.INFO)

    def request(self, seen: Seen) -> None:
        """Write the line of a request (`Context.seen`), with all that was noted on its way."""
        if seen.status >= 500:
            tell = self.warning if seen.status == 503 else self.error
        else:
            if not self._tells_requests:
                return
            tell = self.debug if seen.route in _QUIET else self.info
        fields: dict[str, Any] = {
            "method": seen.method,
            "route": seen.route,
            "status": seen.status,
            "seconds": round(seen.seconds, 6),
            "request_id": seen.request_id,
        }
        if seen.key is not None:
            fields["key_id"] = seen.key
        if seen.code:
            fields["code"] = seen.code
        tell("callback" if seen.route == CALLBACK else "request", **{**noted(), **fields})

    def step(self, step: Step, source: str) -> None:
        """Write down a step (`Ingest.observe_step`); a callback's own line tells of its step already."""
        is_told = step.is_final and source != "callback"
        if not (is_told or self._tells_all):
            return
        tell = self.info if is_told else self.debug
        task = step.task
        tell(
            "step",
            source=source,
            task=task.id,
            status=task.status.value,
            sequence=task.sequence,
            reason=step.signal.reason or None,
        )

    def submit(self, outcome: SubmitOutcome, seconds: float) -> None:
        """Write down what the provider said to an order (`Send.observe`)."""
        if isinstance(outcome, Accepted) and not self._tells_all:
            return
        fields: dict[str, Any] = {"outcome": SUBMIT_OUTCOME[type(outcome)], "seconds": round(seconds, 6)}
        match outcome:
            case Accepted(provider_task_id=name):
                self.debug("submit", **fields, provider_task_id=name)
            case Refused(code=code, message=said):
                self.info("submit", **fields, code=code, reason=said)
            case RetryLater(code=code, reason=said) | AccountRefused(code=code, reason=said):
                self.warning("submit", **fields, code=code, reason=said)
            case Unknown(reason=said):
                self.warning("submit", **fields, reason=said)

    def never(self, task: UUID, never: AccountRefused) -> None:
        """Write down that the provider takes nothing from us (`Send.alert`): an operator must mend it."""
        self.error("the provider refuses us", task=task, code=never.code, reason=never.reason)

    def attempt(self, outcome: str, answer: SubscriberResponse) -> None:
        """Write down one attempt's answer (`Deliver.observe`), at `debug`; the batch's line comes with `attempts`."""
        self.debug("attempt", outcome=outcome, status=answer.status, error=answer.error, seconds=answer.latency)

    def attempts(self, batch: Sequence[Settled]) -> None:
        """Write the line of a batch of attempts that is on disk, and one for each that went wrong."""
        outcomes = Counter(each.outcome for each in batch)
        slowest = max((each.latency for each in batch), default=0.0)
        for each in batch:
            ended_badly = each.outcome not in {"delivered", "failed"}
            tell = self.warning if ended_badly else self.info if each.outcome == "failed" else self.debug
            tell(
                "attempt",
                task=each.subject,
                webhook_id=webhook_id(each.subject, each.sequence),
                subscription=each.subscription,
                attempt=each.attempt,
                outcome=each.outcome,
                status=each.status,
                error=each.error,
                seconds=round(each.latency, 6),
                retry_in=round(each.wait, 3) if each.outcome == "failed" else None,
            )
        self.info("attempts", attempts=len(batch), **outcomes, slowest=round(slowest, 6))

    def swept(self, passed: Passed, seconds: float) -> None:
        """Write the line of a pass of the sweep (`Sweep.swept`); one that found nothing is told at `debug`."""
        acts = {act: getattr(passed, act) for act in metrics.ACTS}
        (self.info if any(acts.values()) else self.debug)("sweep", **acts, seconds=round(seconds, 6))

    def said(self, about: str, what: str) -> None:
        """Write down what a flow says of itself (`Fetch.log`, `Sweep.log`): somebody should look, if it goes on."""
        (self.info if about == "partitions" else self.warning)(what, about=about)
