"""What goes out of /v1, and in Kling's envelope, as models; what comes in is in `asked.py`."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kling_relay.core.event import BodyFormat
from kling_relay.core.operation import Kind
from kling_relay.core.subscription import Ordering
from kling_relay.web.models.fields import ShownStatus


class Shown(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True)


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
    next_check_at: str | None


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
    format: BodyFormat
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
