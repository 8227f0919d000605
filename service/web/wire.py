"""What comes in and goes out of /v1, as models: requests forbid unknown members and tell every fault at once.

Kling's paths have answers here too; their orders are checked by the rule book, not by a model.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from service.core.event import Format
from service.core.kind import Kind
from service.core.subscription import (
    DEFAULT_IN_FLIGHT,
    MOST_DESCRIPTION,
    MOST_IN_FLIGHT,
    Ordering,
    event_faults,
    header_faults,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_LISTED = 500
LONGEST_OVERLAP = 7 * 86_400


def _moment(at: datetime) -> datetime:
    """Return `at` in UTC, times without a zone taken as UTC, none before 1970."""
    return max(_EPOCH, at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL")
    return text


def _fine(faults: list[str]) -> None:
    if faults:
        raise ValueError("; ".join(faults))


def _good_headers(headers: dict[str, str]) -> dict[str, str]:
    _fine(header_faults(headers))
    return headers


def _good_events(events: list[str]) -> list[str]:
    _fine(event_faults(events))
    return list(dict.fromkeys(events))


def _split(text: object) -> object:
    return [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


Moment = Annotated[datetime, AfterValidator(_moment)]
"""RFC 3339, or seconds or milliseconds since 1970."""
Text = Annotated[str, AfterValidator(_storable)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_storable)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2048), AfterValidator(_storable)]
Headers = Annotated[dict[str, str], AfterValidator(_good_headers)]
Events = Annotated[list[str], AfterValidator(_good_events)]
Types = Annotated[list[str], BeforeValidator(_split), AfterValidator(_good_events)]
ShownStatus = Literal["submitted", "processing", "succeed", "failed"]
Statuses = Annotated[list[ShownStatus], BeforeValidator(_split)]
Kinds = Annotated[list[Kind], BeforeValidator(_split)]
By = Annotated[
    list[Literal["day", "month", "kind", "model", "mode", "key", "client", "currency"]], BeforeValidator(_split)
]


class Asked(BaseModel):
    """A request: nothing that we do not know may stand in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Shown(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True)


class Paged(Asked):
    limit: int = Field(50, ge=1, le=MOST_LISTED)
    cursor: Word | None = None


class TasksAsked(Paged):
    status: Statuses | None = None
    kind: Kinds | None = None
    since: Moment | None = None
    until: Moment | None = None
    text: Word | None = Field(None, description="looked for in ids, models and orders")


class TaskAsked(Asked):
    wait: float = Field(0, ge=0, le=3600, description="seconds to wait for the task to be final; bounded by a setting")


class EventsAsked(Paged):
    after: Word | None = Field(None, description="the cursor of the last event that you have; 0 is the beginning")
    type: Types | None = None
    task: Word | None = None


class StreamAsked(Asked):
    after: Word | None = Field(None, description="as Last-Event-ID; without either the stream begins now")
    type: Types | None = None
    task: Word | None = None


class SubscriptionAsked(Asked):
    url: Url
    events: Events = ["*"]
    description: Text = Field("", max_length=MOST_DESCRIPTION)
    headers: Headers = {}
    format: Format = Format.STANDARD
    ordering: Ordering = Ordering.NONE
    max_in_flight: int = Field(DEFAULT_IN_FLIGHT, ge=1, le=MOST_IN_FLIGHT)


class SubscriptionChange(Asked):
    """Only what is to change; null leaves a member as it is."""

    url: Url | None = None
    events: Events | None = None
    description: Text | None = Field(None, max_length=MOST_DESCRIPTION)
    headers: Headers | None = None
    format: Format | None = None
    ordering: Ordering | None = None
    max_in_flight: int | None = Field(None, ge=1, le=MOST_IN_FLIGHT)


class RotationAsked(Asked):
    overlap_seconds: int = Field(86_400, ge=0, le=LONGEST_OVERLAP)


class ReplayAsked(Asked):
    since: Moment
    until: Moment | None = None
    only: Literal["failed", "all"] = "failed"


class DeliveriesAsked(Paged):
    subscription: Word | None = None
    status: Literal["pending", "delivered", "exhausted"] | None = None
    event: Word | None = Field(None, description="a webhook-id")
    task: Word | None = None


class UsageAsked(Asked):
    since: Moment | None = None
    until: Moment | None = None
    by: By = ["day"]
    format: Literal["json", "csv"] | None = Field(None, description="goes before the header Accept")


class Nothing(Asked):
    """A request that says nothing."""


class Task(Shown):
    """A task as events and lists show it; times are milliseconds since 1970."""

    task_id: str
    external_task_id: str | None
    kind: Kind
    task_status: ShownStatus
    task_status_msg: str
    created_at: int
    updated_at: int
    task_result: dict[str, Any] | None
    expires_at: int | None
    sequence: int


class Submission(Shown):
    """What is known of the order's way to the provider, while the task is not final."""

    state: Literal["recorded", "sending", "accepted", "unknown"]
    reason: str | None
    provider_task_id: str | None
    next_look_at: str | None


class Charge(Shown):
    """A task's money; amounts are decimal text."""

    quote: str
    charged: str
    currency: str
    prices: str = Field(description="the price list of the quote, name@version")
    state: Literal["reserved", "unknown", "settled", "released"] = Field(
        description="unknown: still reserved, because nobody knows whether the provider took the order"
    )
    note: str | None = Field(description="why the charge is not what the provider said, where it is not")


class TaskDetail(Task):
    model: str
    mode: str | None
    duration: str | None
    fields: dict[str, Any]
    trace: str | None
    is_final: bool
    submission: Submission | None
    charge: Charge


class TaskPage(Shown):
    data: list[Task]
    next_cursor: str | None


class EventShown(Shown):
    id: str = Field(description="the webhook-id")
    cursor: str
    type: str
    timestamp: str
    data: dict[str, Any]


class EventPage(Shown):
    data: list[EventShown]
    next_cursor: str | None


class CallbackShown(Shown):
    """What the provider said, as it came; `text` where it is UTF-8, else `base64`."""

    received_at: str
    source: str
    outcome: str
    text: str | None
    base64: str | None


class CallbackPage(Shown):
    data: list[CallbackShown]
    next_cursor: str | None


class Subscription(Shown):
    id: str
    url: str
    events: list[str]
    description: str
    headers: Mapping[str, str]
    format: Format
    ordering: Ordering
    max_in_flight: int
    status: Literal["active", "paused", "disabled"]
    is_hook: bool
    disabled_reason: str | None
    failing_since: str | None
    old_secrets_until: str | None
    created_at: str
    updated_at: str


class SubscriptionWithSecret(Subscription):
    secret: str = Field(description="whsec_…; shown this once")


class SubscriptionPage(Shown):
    data: list[Subscription]
    next_cursor: str | None


class Secret(Shown):
    secret: str
    old_secrets_until: str | None = None


class HookSecret(Shown):
    secret: str


class Count(Shown):
    count: int


class Tested(Shown):
    delivery: str
    event: str


class Attempt(Shown):
    attempt: int
    at: str
    latency_ms: float
    status: int | None
    outcome: str
    error: str | None
    answer: str | None = Field(description="the first 16 KiB, what is not UTF-8 replaced")


class Delivery(Shown):
    id: str
    event: str
    type: str | None
    task_id: str | None
    subscription: str
    status: Literal["pending", "delivered", "exhausted"]
    attempt_count: int
    next_attempt_at: str | None
    last_attempt_at: str | None
    last_status: int | None
    last_error: str | None


class DeliveryDetail(Delivery):
    url: str
    body: str | None
    attempts: list[Attempt]


class DeliveryPage(Shown):
    data: list[Delivery]
    next_cursor: str | None


class QuoteShown(Shown):
    amount: str
    currency: str
    prices: str
    listed: bool
    lines: list[str]
    kind: Kind


class UsageLine(Shown):
    """One group of tasks; amounts are decimal text."""

    by: dict[str, str | None]
    currency: str
    tasks: int
    succeeded: int
    failed: int
    reserved: str
    charged: str


class Usage(Shown):
    since: str
    until: str
    data: list[UsageLine]


class Amounts(Shown):
    """Decimal texts, one per limit: in all, today, this month (both UTC's), reserved at once."""

    total: str | None
    day: str | None
    month: str | None
    open: str | None


class Budget(Shown):
    """What a client or a key may spend; a limit of null is none."""

    name: str
    limits: Amounts
    spent: Amounts
    left: Amounts


class Budgets(Shown):
    currency: str
    day_since: str
    month_since: str
    client: Budget | None
    key: Budget | None


class Free(Shown):
    """An object whose members are described elsewhere in the documents."""

    model_config = ConfigDict(extra="allow")


class KlingTask(Shown):
    task_id: str
    task_status: ShownStatus
    task_status_msg: str | None = None
    task_info: dict[str, str] | None = None
    created_at: int
    updated_at: int
    task_result: dict[str, Any] | None = None


class KlingAnswer(Shown):
    code: Literal[0]
    message: str
    request_id: str
    data: KlingTask


class KlingPage(Shown):
    code: Literal[0]
    message: str
    request_id: str
    data: list[KlingTask]


class Acknowledged(Shown):
    code: Literal[0]
    message: str


class Health(Shown):
    status: str
