"""The answers of the service as frozen values, with the API's names. Members unknown to this release are left out.

Times are milliseconds since 1970 if they are integers, as in Kling's API, otherwise RFC 3339. Amounts are decimal
text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

FINAL = frozenset({"succeed", "failed"})

Shape = TypeVar("Shape")


def read(shape: type[Shape], content: Mapping[str, Any]) -> Shape:
    """Return `content` as a dataclass, without unknown members. Raises TypeError if a required one is missing."""
    known = {member.name for member in fields(shape)}  # type: ignore[arg-type]  # every Shape here is a dataclass
    return shape(**{name: value for name, value in content.items() if name in known})


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task; its status is submitted, processing, succeed or failed.

    `kind` is text2image, image2image, text2video or image2video; for other operations it is their path.

    `sequence` counts its steps from 1. It is 0 in the answer to an order, which does not contain it.
    `result_missing`: it succeeded, but the provider named no file. If it does so later, the result is filled in.
    """

    task_id: str
    kind: str
    task_status: str
    created_at: int
    updated_at: int
    task_status_msg: str = ""
    external_task_id: str | None = None
    task_result: Mapping[str, Any] | None = None
    expires_at: int | None = None
    sequence: int = 0
    result_missing: bool = False

    @property
    def is_final(self) -> bool:
        return self.task_status in FINAL

    @property
    def has_succeeded(self) -> bool:
        return self.task_status == "succeed"

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of the pictures or videos, in the provider's order; empty before success."""
        result = self.task_result or {}
        return tuple(item["url"] for kind in ("images", "videos") for item in result.get(kind) or () if item.get("url"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDetail(Task):
    """A task with its order as parsed, its submission to the provider until it is final, and its charge.

    `unknown_fields` names the fields of the order that the service's rule book does not know, such as misspelt ones.
    """

    model: str = ""
    mode: str | None = None
    duration: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    unknown_fields: tuple[str, ...] = ()
    trace: str | None = None
    submission: Mapping[str, Any] | None = None
    charge: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event; `id` is its webhook-id, `cursor` its place in the log (None in a delivery)."""

    id: str
    type: str
    timestamp: str
    data: Mapping[str, Any]
    cursor: str | None = None

    @property
    def task(self) -> Task:
        """The task after this event. Raises ValueError if the event has no complete task.

        Events about subscriptions and budgets have none, and Kling's flat body lacks the kind.
        """
        if not self.type.startswith("task.") or "kind" not in self.data:
            raise ValueError(f"{self.id} ({self.type}) has no complete task")
        return read_task(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscriber's address and its types of events. Only the answer to `subscribe` has the `secret`."""

    id: str
    url: str
    events: tuple[str, ...]
    status: str
    description: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    format: str = "standard"
    ordering: str = "none"
    max_in_flight: int = 0
    is_hook: bool = False
    disabled_reason: str | None = None
    expired_deliveries: int = 0
    failing_since: str | None = None
    old_secrets_until: str | None = None
    created_at: str = ""
    updated_at: str = ""
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One POST of a delivery with the first 16 KiB of the answer."""

    attempt: int
    at: str
    latency_ms: float
    status: int | None
    outcome: str
    error: str | None
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one subscription: pending, delivered or exhausted. Lists omit `attempts`.

    `held` is why a pending one waits: `probe` (its subscription is broken and is probed at `next_attempt_at`),
    `paused` or `disabled`.
    """

    id: str
    event: str
    subscription: str
    status: str
    attempt_count: int
    type: str | None = None
    task_id: str | None = None
    held: str | None = None
    next_attempt_at: str | None = None
    last_attempt_at: str | None = None
    last_status: int | None = None
    last_error: str | None = None
    url: str | None = None
    body: str | None = None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The price of an order; `listed` is whether the price list has its model."""

    amount: str
    currency: str
    prices: str
    listed: bool = True
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """The tasks and amounts of one group; `by` names the group."""

    by: Mapping[str, str | None]
    currency: str
    tasks: int
    succeeded: int
    failed: int
    reserved: str
    charged: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was ordered and charged in a period, by group."""

    since: str
    until: str
    data: tuple[UsageLine, ...]


def read_task(content: Mapping[str, Any]) -> Task:
    """Return a task from a list or an event."""
    return read(Task, content)


def read_detail(content: Mapping[str, Any]) -> TaskDetail:
    """Return a task with all details."""
    unknown_fields = tuple(content.get("unknown_fields") or ())
    return read(TaskDetail, {**content, "unknown_fields": unknown_fields})


def read_created(kind: str, content: Mapping[str, Any]) -> Task:
    """Return the task from Kling's answer to an order of `kind`."""
    external = (content.get("task_info") or {}).get("external_task_id")
    return read(Task, {**content, "kind": kind, "external_task_id": external})


def read_event(content: Mapping[str, Any]) -> Event:
    """Return an event from the log."""
    return read(Event, content)


def read_subscription(content: Mapping[str, Any]) -> Subscription:
    """Return a subscription, with its secret if the answer has one."""
    return read(Subscription, {**content, "events": tuple(content["events"])})


def read_delivery(content: Mapping[str, Any]) -> Delivery:
    """Return a delivery, with its attempts if the answer has them."""
    return read(
        Delivery, {**content, "attempts": tuple(read(Attempt, attempt) for attempt in content.get("attempts") or ())}
    )


def read_quote(content: Mapping[str, Any]) -> Quote:
    """Return the price of an order."""
    return read(Quote, {**content, "lines": tuple(content.get("lines") or ())})


def read_usage(content: Mapping[str, Any]) -> Usage:
    """Return what was ordered and charged."""
    return read(Usage, {**content, "data": tuple(read(UsageLine, line) for line in content["data"])})
