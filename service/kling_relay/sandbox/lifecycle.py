"""A task's life: accepted and charged, processing after a while, and its end; each change is called back.

The timers only call the same methods that a test calls to have it at once.
"""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from kling_relay.sandbox.callback_sender import Courier, Mood
from kling_relay.sandbox.orders import Order
from kling_relay.sandbox.profile import Chance
from kling_relay.sandbox.results import task_result
from kling_relay.sandbox.schedule import Fate, Plan
from kling_relay.sandbox.state import Record, Task

FAILURE = "Task execution failed"
MODERATION = "Failure to pass the risk control system"


@dataclass(slots=True, eq=False, kw_only=True)
class Life:
    """Moves tasks; `closed` stops every move that a timer would still make."""

    mood: Mood
    record: Record
    courier: Courier
    now: Callable[[], datetime]
    chance: Chance
    closed: bool = False

    def new_id(self) -> str:
        """Return an id that looks like Kling's: 22 letters of 128 bits."""
        return urlsafe_b64encode(self.chance.getrandbits(128).to_bytes(16)).rstrip(b"=").decode()

    def accept(self, order: Order, plan: Plan, *, gateway: bool, url: str) -> Task:
        """Take an order in; `url` begins the addresses of its results. Raise RefusalError as Record does."""
        at = self.now()
        task = Task(id=self.new_id(), order=order, plan=plan, gateway=gateway, url=url, created_at=at, updated_at=at)
        self.record.accept(task, self.mood.temper.slots)
        self.courier.tell(task, "submitted")
        low, high = self.mood.temper.seconds
        takes = plan.takes
        if takes is None:
            takes = self.chance.uniform(low, high) if low < high else low
        first = takes * self.mood.temper.processing
        self._later(task, first, lambda: self.turn_to_processing(task, takes - first))
        return task

    def turn_to_processing(self, task: Task, rest: float | None = None) -> None:
        """Move a submitted task on; it ends `rest` seconds later, or never by itself."""
        self._stop(task)
        if task.status != "submitted":
            raise ValueError(f"the task is {task.status}")
        task.status, task.updated_at = "processing", self.now()
        self.courier.tell(task, "processing")
        self.record.changed()
        if rest is not None and task.plan.fate is not Fate.FOREVER:
            self._later(task, rest, lambda: self._meet_fate(task))

    def finish(self, task: Task) -> None:
        """Let a task succeed now; ValueError where it is final already."""
        charge = task.order.price if task.plan.charge is None else task.plan.charge
        self._end(task, "succeed", "", charge)

    def fail(self, task: Task, reason: str = "") -> None:
        """Let a task fail now, which costs nothing; ValueError where it is final already."""
        self._end(task, "failed", reason or task.plan.reason or FAILURE, Decimal(0))

    def close(self) -> None:
        """Stop every timer."""
        self.closed = True
        for task in self.record.tasks.values():
            self._stop(task)

    def _meet_fate(self, task: Task) -> None:
        match task.plan.fate:
            case Fate.FAILED:
                self.fail(task)
            case Fate.MODERATED:
                self.fail(task, MODERATION)
            case _:
                self.finish(task)

    def _end(self, task: Task, status: str, reason: str, charge: Decimal) -> None:
        self._stop(task)
        if task.is_final:
            raise ValueError(f"the task is {task.status} already")
        task.status, task.reason, task.updated_at = status, reason, self.now()
        if status == "succeed":
            task.result = self._result(task)
        self.record.end(task, charge)
        self.courier.tell(task, status, reason)
        if task.plan.contradict:
            self._tell(task, "failed" if status == "succeed" else "succeed")
        self.courier.let_go(task)
        self.record.changed()

    def repeat(self, task: Task, status: str) -> None:
        """Call back `status` now, with what would come with it where it is not true."""
        self._tell(task, status)
        if task.is_final:
            self.courier.let_go(task)

    def _tell(self, task: Task, status: str) -> None:
        if status == task.status:
            self.courier.tell(task, status, task.reason)
        else:
            result = self._result(task) if status == "succeed" else None
            self.courier.tell(task, status, FAILURE if status == "failed" else "", result=result, lie=True)

    def _result(self, task: Task) -> dict[str, Any]:
        return task_result(task.url, task.id, task.order, self.chance.getrandbits(128))

    def _later(self, task: Task, wait: float, move: Callable[[], None]) -> None:
        if not self.closed:
            task.timer = asyncio.get_running_loop().call_later(wait, move)

    def _stop(self, task: Task) -> None:
        if task.timer is not None:
            task.timer.cancel()
            task.timer = None
