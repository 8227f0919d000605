"""Context: what a handler gets from the application. RequestLimits: bounds on requests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from kling_relay.core.address import PUBLIC_ONLY, DialPolicy
from kling_relay.core.key import Caller
from kling_relay.core.order import Order, PackedOrder
from kling_relay.core.price import Prices
from kling_relay.core.rulebook import Rulebook
from kling_relay.core.subscription import DEFAULT_IN_FLIGHT
from kling_relay.flows.memory import BodyMemory, BodyShare
from kling_relay.flows.observer import Observer
from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.events.log import WINDOW as EVENT_WINDOW
from kling_relay.store.postgres.database import REPORT_SECONDS, Database

Clock = Callable[[], datetime]
RandomBits = Callable[[int], int]
"""Returns a random number of the given number of bits."""


class OrderFlow(Protocol):
    """Turns an order into a task and returns the task as JSON: `Submit`, or `Submit` with a span around it."""

    def pack(self, order: Order, idempotency_key: str | None) -> PackedOrder: ...

    async def __call__(
        self,
        caller: Caller,
        packed: PackedOrder,
        *,
        idempotency_key: str | None,
        trace: str | None,
        now: datetime,
        share: BodyShare | None = None,
    ) -> Mapping[str, Any]: ...


class CallbackFlow(Protocol):
    """Records a callback, and returns when it is on disk: `Ingest`, or `Ingest` with a span around it."""

    async def callback(
        self, task: UUID, body: bytes, headers: Mapping[str, str], now: datetime, *, is_decoded: bool = True
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Bounds on requests; times are seconds, sizes are bytes."""

    order_bytes: int = 32 * 1024 * 1024
    callback_bytes: int = 1024 * 1024
    body_bytes: int = 1024 * 1024
    header_bytes: int = 16 * 1024
    """The request line, or one header."""
    in_flight: int = DEFAULT_IN_FLIGHT
    """Concurrent attempts for a subscription without `max_in_flight`."""
    json_depth: int = 32
    body_seconds: float = 60.0
    idle_seconds: float = 75.0
    unread_seconds: float = 15.0
    """How long a response may stay unread."""
    max_wait: float = 60.0
    waiters: int = 10_000
    waiters_per_key: int = 1_000
    streams: int = 12_000
    streams_per_key: int = 20
    stream_buffer: int = 1_000
    """Events buffered for one reader; a reader that is slower is disconnected."""
    event_window: int = EVENT_WINDOW
    """Events that one statement looks at for a page of some types."""
    stream_stall: float = 10.0
    heartbeat: float = 15.0
    rate: float | None = None
    """Requests per second for each key in each process; None means no limit."""
    burst: int = 100
    report_rate: float | None = None
    """Reports, lists and searches per second, as above."""
    report_burst: int = 100
    report_seconds: float = REPORT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What `kling_relay.app` gives to the handlers, created once per process.

    `callback_keys` sign callback tokens, newest first; `random_bits` makes secrets, `new_id` names requests; `slots`
    is the number of tasks that may be in flight at the provider; None means no limit. `web_wakeup` wakes the
    LogFollower if there may be new events, `delivery_wakeup` the worker of this process if a delivery may be due,
    `partition_missing` the flow that creates partitions. `is_draining` is true while the process prepares to stop.
    `memory` counts the bodies of requests. `deployment` is the same for all processes with this database.
    """

    submit: OrderFlow
    ingest: CallbackFlow
    database: Database
    encryptor: Encryptor
    callback_keys: Sequence[bytes] = field(repr=False)
    rulebook: Rulebook
    prices: Prices
    now: Clock
    random_bits: RandomBits
    new_id: Callable[[datetime], UUID]
    web_wakeup: Wakeup
    limits: RequestLimits = RequestLimits()
    dial_policy: DialPolicy = PUBLIC_ONLY
    public_url: str = ""
    deployment: str = ""
    slots: int | None = None
    memory: BodyMemory = field(default_factory=BodyMemory)
    delivery_wakeup: Wakeup = field(default_factory=Wakeup)
    partition_missing: Wakeup = field(default_factory=Wakeup)
    is_draining: Callable[[], bool] = lambda: False
    observer: Observer = field(default_factory=Observer)
