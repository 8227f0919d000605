"""The sandbox's own record of truth: tasks, account, callbacks sent and requests heard, all in bounded memory.

Beyond `keep` tasks the oldest finished one is forgotten, as a provider forgets, and polls of it answer 1203.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from kling_relay.core.operation import Operation
from kling_relay.sandbox.errors import RefusalError
from kling_relay.sandbox.orders import Order
from kling_relay.sandbox.schedule import Plan

FINAL = frozenset({"succeed", "failed"})


@dataclass(slots=True, kw_only=True, eq=False)
class Task:
    """The provider's side of a task; `status` is one of Kling's four words, `charge` what it costs in the end.

    `gateway` says which dialect it was ordered in, `url` what the addresses of its results begin with.
    """

    id: str
    order: Order
    plan: Plan
    gateway: bool
    url: str
    created_at: datetime
    updated_at: datetime
    status: str = "submitted"
    reason: str = ""
    result: dict[str, Any] | None = None
    charge: Decimal | None = None
    timer: asyncio.TimerHandle | None = None
    polled: int = 0

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the ledger: `charge` on acceptance, `refund` on failure, `correction` where success cost another sum.

    `units` is what left the account: negative for what came back.
    """

    at: datetime
    task_id: str
    external_task_id: str
    kind: str
    units: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One callback that was sent, or was to be (`lost`); `answer` is the receiver's status, None where none came.

    Of the body the first 64 KiB are kept.
    """

    at: datetime
    task_id: str
    status: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    lost: bool = False
    answer: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One request to the provider's API, refused ones too; of the body the first 16 KiB."""

    at: datetime
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True, eq=False)
class Record:
    """All that the sandbox knows. `changed()` is called at each change and wakes those who wait for a fact."""

    balance: Decimal
    keep: int
    opened_at: datetime
    tasks: dict[str, Task] = field(default_factory=dict)
    by_operation: dict[Operation, dict[str, Task]] = field(
        default_factory=lambda: {operation: {} for operation in Operation}
    )
    by_external_id: dict[str, Task] = field(default_factory=dict)
    finished: deque[Task] = field(default_factory=deque)
    slots_held: int = 0
    spent: Decimal = Decimal(0)
    charges: int = 0
    refunds: int = 0
    ledger: deque[Entry] = field(init=False)
    sent: deque[Sent] = field(init=False)
    heard: deque[Heard] = field(init=False)
    _waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger, self.sent, self.heard = (deque(maxlen=self.keep) for _ in range(3))

    def find(self, key: str) -> Task | None:
        """Return the task of that id or external_task_id."""
        return self.tasks.get(key) or self.by_external_id.get(key)

    def accept(self, task: Task, slots: int | None) -> None:
        """Take a task in and charge it; raise RefusalError 1201, 1303 or 1102 and leave everything as it was."""
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
        """Free the slots of a task that is final now, and settle it at `charge` units."""
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
            Entry(at=task.updated_at, task_id=task.id, external_task_id=external, kind=kind, units=units)
        )

    def _forget(self, task: Task) -> None:
        self.tasks.pop(task.id, None)
        self.by_operation[task.order.operation].pop(task.id, None)
        if task.order.external_task_id:
            self.by_external_id.pop(task.order.external_task_id, None)

    def changed(self) -> None:
        """Wake whoever waits for a fact that holds now."""
        if self._waiting:
            for fact, waiter in self._waiting:
                if not waiter.done() and fact():
                    waiter.set_result(None)
            self._waiting = [one for one in self._waiting if not one[1].done()]

    async def until(self, fact: Callable[[], bool]) -> None:
        """Return once `fact` holds; it is asked at each change, so it must be cheap."""
        if not fact():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((fact, waiter))
            await waiter
