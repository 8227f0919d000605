"""What the service tells, as frozen values with the API's own names; members unknown to this release are left out.

Times that are integers are milliseconds since 1970 (as Kling writes them), times that are text are RFC 3339; amounts
are decimal text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from kling_relay.core.operation import Kind

FINAL = frozenset({"succeed", "failed"})

Shape = TypeVar("Shape")


def read(shape: type[Shape], content: Mapping[str, Any]) -> Shape:
    """Return `content` as a dataclass, without the members that it does not have. Raises TypeError where one lacks."""
    known = {each.name for each in fields(shape)}  # type: ignore[arg-type]  # every Shape here is a dataclass
    return shape(**{name: value for name, value in content.items() if name in known})


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """An order that was taken, and how far it is: submitted, processing, succeed or failed.

    `sequence` counts its steps from 1; it is 0 in the answer to an order, which does not tell it.
    """

    task_id: str
    kind: Kind
    task_status: str
    created_at: int
    updated_at: int
    task_status_msg: str = ""
    external_task_id: str | None = None
    task_result: Mapping[str, Any] | None = None
    expires_at: int | None = None
    sequence: int = 0

    @property
    def is_final(self) -> bool:
        return self.task_status in FINAL

    @property
    def has_succeeded(self) -> bool:
        return self.task_status == "succeed"

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the pictures or videos are, in the provider's order; empty before success."""
        result = self.task_result or {}
        return tuple(each["url"] for kind in ("images", "videos") for each in result.get(kind) or () if each.get("url"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDetail(Task):
    """A task with its order as it was understood, its way to the provider while it is not final, and its money."""

    model: str = ""
    mode: str | None = None
    duration: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    trace: str | None = None
    submission: Mapping[str, Any] | None = None
    charge: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One announced step; `id` is its webhook-id, `cursor` its place in the log (None where it came as a delivery)."""

    id: str
    type: str
    timestamp: str
    data: Mapping[str, Any]
    cursor: str | None = None

    @property
    def task(self) -> Task:
        """The task as this step made it. Raises ValueError where the event does not tell one.

        Events about subscriptions and budgets do not, and Kling's flat body does not say the kind.
        """
        if not self.type.startswith("task.") or "kind" not in self.data:
            raise ValueError(f"{self.id} ({self.type}) does not tell a whole task")
        return read_task(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscriber's address and the events it wants; `secret` is told only when the subscription was just made."""

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
    failing_since: str | None = None
    old_secrets_until: str | None = None
    created_at: str = ""
    updated_at: str = ""
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One POST of a delivery and what came back, the first 16 KiB of it."""

    attempt: int
    at: str
    latency_ms: float
    status: int | None
    outcome: str
    error: str | None
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one subscription: pending, delivered or exhausted; `attempts` where it is shown alone."""

    id: str
    event: str
    subscription: str
    status: str
    attempt_count: int
    type: str | None = None
    task_id: str | None = None
    next_attempt_at: str | None = None
    last_attempt_at: str | None = None
    last_status: int | None = None
    last_error: str | None = None
    url: str | None = None
    body: str | None = None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What an order would cost; `listed` is whether the price list names its model."""

    amount: str
    currency: str
    prices: str
    listed: bool = True
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """One group of tasks and its money; `by` says which group."""

    by: Mapping[str, str | None]
    currency: str
    tasks: int
    succeeded: int
    failed: int
    reserved: str
    charged: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was ordered and charged between two times, by group."""

    since: str
    until: str
    data: tuple[UsageLine, ...]


def read_task(content: Mapping[str, Any]) -> Task:
    """Return a task as lists and events show it."""
    return read(Task, {**content, "kind": Kind(content["kind"])})


def read_detail(content: Mapping[str, Any]) -> TaskDetail:
    """Return a task as it is shown alone."""
    return read(TaskDetail, {**content, "kind": Kind(content["kind"])})


def read_created(kind: Kind, content: Mapping[str, Any]) -> Task:
    """Return the task in Kling's answer to an order of `kind`."""
    external = (content.get("task_info") or {}).get("external_task_id")
    return read(Task, {**content, "kind": kind, "external_task_id": external})


def read_event(content: Mapping[str, Any]) -> Event:
    """Return an event of the log."""
    return read(Event, content)


def read_subscription(content: Mapping[str, Any]) -> Subscription:
    """Return a subscription, with its secret where that is told."""
    return read(Subscription, {**content, "events": tuple(content["events"])})


def read_delivery(content: Mapping[str, Any]) -> Delivery:
    """Return a delivery, with its attempts where they are told."""
    return read(Delivery, {**content, "attempts": tuple(read(Attempt, each) for each in content.get("attempts") or ())})


def read_quote(content: Mapping[str, Any]) -> Quote:
    """Return what an order would cost."""
    return read(Quote, {**content, "lines": tuple(content.get("lines") or ())})


def read_usage(content: Mapping[str, Any]) -> Usage:
    """Return what was ordered and charged."""
    return read(Usage, {**content, "data": tuple(read(UsageLine, each) for each in content["data"])})
