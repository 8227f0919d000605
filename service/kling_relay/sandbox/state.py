"""The sandbox's state: tasks, account, callbacks and requests, in bounded memory.

Beyond `keep` tasks the oldest finished task is forgotten, as a provider would: polls for it get 1203.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from kling_relay.core.operation import OPERATIONS
from kling_relay.sandbox.errors import RefusalError
from kling_relay.sandbox.orders import Order
from kling_relay.sandbox.schedule import TaskSchedule

FINAL = frozenset({"succeed", "failed"})


@dataclass(slots=True, kw_only=True, eq=False)
class Task:
    """The provider's side of a task; `status` is one of Kling's four, `charge` is its final price.

    `is_gateway_dialect` says in which dialect it was ordered. Its result addresses start with `url`.
    """

    id: str
    order: Order
    schedule: TaskSchedule
    is_gateway_dialect: bool
    url: str
    created_at: datetime
    updated_at: datetime
    status: str = "submitted"
    reason: str = ""
    result: dict[str, Any] | None = None
    charge: Decimal | None = None
    timer: asyncio.TimerHandle | None = None
    poll_count: int = 0
    hides_result: bool = False
    hidden_polls: int = 0

    @property
    def published_result(self) -> dict[str, Any] | None:
        """The result as callbacks and answers have it: None while the task hides it."""
        return None if self.hides_result else self.result

    def count_poll(self) -> None:
        """Count a GET of the task. After the scheduled number of them it no longer hides its result."""
        self.poll_count += 1
        if self.hides_result and self.schedule.no_url_polls is not None:
            self.hidden_polls += 1
            self.hides_result = self.hidden_polls <= self.schedule.no_url_polls

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """A `charge` on acceptance, a `refund` on failure, or a `correction` if success cost a different sum.

    `units` is what the account paid, negative if it got units back.
    """

    at: datetime
    task_id: str
    external_task_id: str
    kind: str
    units: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class SentCallback:
    """A callback that was sent, or lost on purpose (`is_lost`).

    `answer` is the receiver's HTTP status, None without an answer. `body` is its first 64 KiB.
    """

    at: datetime
    task_id: str
    status: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    is_lost: bool = False
    answer: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """A request to the provider's API, refused or not; `body` is its first 16 KiB."""

    at: datetime
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True, eq=False)
class State:
    """All state of the sandbox. Each change calls `changed()`, which wakes the waiters whose condition holds."""

    balance: Decimal
    keep: int
    opened_at: datetime
    tasks: dict[str, Task] = field(default_factory=dict)
    by_operation: dict[str, dict[str, Task]] = field(
        default_factory=lambda: {operation: {} for operation in OPERATIONS}
    )
    by_external_id: dict[str, Task] = field(default_factory=dict)
    finished: deque[Task] = field(default_factory=deque)
    slots_held: int = 0
    spent: Decimal = Decimal(0)
    charges: int = 0
    refunds: int = 0
    ledger: deque[LedgerEntry] = field(init=False)
    callbacks: deque[SentCallback] = field(init=False)
    requests: deque[ReceivedRequest] = field(init=False)
    _waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger, self.callbacks, self.requests = (deque(maxlen=self.keep) for _ in range(3))

    def find(self, key: str) -> Task | None:
        """Return the task with this id or external_task_id."""
        return self.tasks.get(key) or self.by_external_id.get(key)

    def accept(self, task: Task, slots: int | None) -> None:
        """Add a task and charge it; raise RefusalError 1201, 1303 or 1102 and change nothing if it is refused."""
        order = task.order
        if order.external_task_id and order.external_task_id in self.by_external_id:
            raise RefusalError(1201, "external_task_id: already exists")
        if slots is not None and self.slots_held + order.slots > slots:
            raise RefusalError(1303)
        if order.price > self.balance:
            raise RefusalError(1102)
        self.tasks[task.id] = self.by_operation[order.operation][task.id] = task
        if order.external_task_id:
            self.by_external_id[order.external_task_id] = task
        self.slots_held += order.slots
        self._book(task, "charge", order.price)
        if len(self.tasks) > self.keep and self.finished:
            self._forget(self.finished.popleft())
        self.changed()

    def end(self, task: Task, charge: Decimal) -> None:
        """Free the slots of a task that has ended, and settle it at `charge` units."""
        task.charge = charge
        self.slots_held -= task.order.slots
        self.finished.append(task)
        if charge != task.order.price:
            self._book(task, "correction" if task.status == "succeed" else "refund", charge - task.order.price)

    def _book(self, task: Task, kind: str, units: Decimal) -> None:
        self.balance -= units
        self.spent += units
        self.charges += kind == "charge"
        self.refunds += kind == "refund"
        external = task.order.external_task_id
        self.ledger.append(
            LedgerEntry(at=task.updated_at, task_id=task.id, external_task_id=external, kind=kind, units=units)
        )

    def _forget(self, task: Task) -> None:
        self.tasks.pop(task.id, None)
        self.by_operation[task.order.operation].pop(task.id, None)
        if task.order.external_task_id:
            self.by_external_id.pop(task.order.external_task_id, None)

    def changed(self) -> None:
        """Wake the waiters whose condition holds now."""
        if self._waiters:
            for condition, waiter in self._waiters:
                if not waiter.done() and condition():
                    waiter.set_result(None)
            self._waiters = [pair for pair in self._waiters if not pair[1].done()]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds; it is called at each change, so it must be cheap."""
        if not condition():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((condition, waiter))
            await waiter
