"""The lifecycle of a task: accepted and charged, then processing, then ended; each change sends a callback.

Timers call the same methods that a test calls to make a change at once.
"""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from kling_relay.sandbox.callback_sender import CallbackSender, CurrentProfile
from kling_relay.sandbox.orders import Order
from kling_relay.sandbox.profile import RandomSource
from kling_relay.sandbox.results import task_result
from kling_relay.sandbox.schedule import Ending, TaskSchedule
from kling_relay.sandbox.state import State, Task

FAILURE = "Task execution failed"
MODERATION = "Failure to pass the risk control system"


@dataclass(slots=True, eq=False, kw_only=True)
class Lifecycle:
    """Moves tasks; once `closed`, timers move nothing."""

    current: CurrentProfile
    state: State
    sender: CallbackSender
    now: Callable[[], datetime]
    rng: RandomSource
    closed: bool = False

    def new_id(self) -> str:
        """Return an id that looks like Kling's: 128 bits in 22 letters."""
        return urlsafe_b64encode(self.rng.getrandbits(128).to_bytes(16)).rstrip(b"=").decode()

    def accept(self, order: Order, schedule: TaskSchedule, *, is_gateway_dialect: bool, url: str) -> Task:
        """Accept an order and return its task; result addresses start with `url`. Raise RefusalError as State does."""
        at = self.now()
        task = Task(
            id=self.new_id(),
            order=order,
            schedule=schedule,
            is_gateway_dialect=is_gateway_dialect,
            url=url,
            created_at=at,
            updated_at=at,
        )
        self.state.accept(task, self.current.profile.slots)
        self.sender.enqueue(task, "submitted")
        low, high = self.current.profile.seconds
        takes = schedule.takes
        if takes is None:
            takes = self.rng.uniform(low, high) if low < high else low
        wait = takes * self.current.profile.processing
        self._schedule(task, wait, lambda: self.turn_to_processing(task, takes - wait))
        return task

    def turn_to_processing(self, task: Task, rest: float | None = None) -> None:
        """Move a submitted task to processing; it ends `rest` seconds later, or stays so if `rest` is None."""
        self._cancel_timer(task)
        if task.status != "submitted":
            raise ValueError(f"the task is {task.status}")
        task.status, task.updated_at = "processing", self.now()
        self.sender.enqueue(task, "processing")
        self.state.changed()
        if rest is not None and task.schedule.ending is not Ending.NEVER:
            self._schedule(task, rest, lambda: self._end_as_scheduled(task))

    def finish(self, task: Task) -> None:
        """Let a task succeed now; raise ValueError if it has ended already."""
        charge = task.order.price if task.schedule.charge is None else task.schedule.charge
        self._end(task, "succeed", "", charge)

    def fail(self, task: Task, reason: str = "") -> None:
        """Let a task fail now, which costs nothing; raise ValueError if it has ended already."""
        self._end(task, "failed", reason or task.schedule.reason or FAILURE, Decimal(0))

    def close(self) -> None:
        """Cancel every timer."""
        self.closed = True
        for task in self.state.tasks.values():
            self._cancel_timer(task)

    def _end_as_scheduled(self, task: Task) -> None:
        match task.schedule.ending:
            case Ending.FAILED:
                self.fail(task)
            case Ending.MODERATED:
                self.fail(task, MODERATION)
            case _:
                self.finish(task)

    def _end(self, task: Task, status: str, reason: str, charge: Decimal) -> None:
        self._cancel_timer(task)
        if task.is_final:
            raise ValueError(f"the task is {task.status} already")
        task.status, task.reason, task.updated_at = status, reason, self.now()
        if status == "succeed":
            task.result = self._result(task)
            task.hides_result = task.schedule.no_url
            if task.schedule.late_url is not None:
                self._schedule(task, task.schedule.late_url, lambda: self._publish_result(task))
        self.state.end(task, charge)
        self.sender.enqueue(task, status, reason)
        if task.schedule.contradict:
            self._call_back(task, "failed" if status == "succeed" else "succeed")
        self.sender.release(task)
        self.state.changed()

    def _publish_result(self, task: Task) -> None:
        """Send a second callback for a success, with the result that the first one lacked."""
        task.hides_result = False
        self.call_back(task, task.status)
        self.state.changed()

    def call_back(self, task: Task, status: str) -> None:
        """Send a callback for `status` now; a status that the task is not in gets a made-up reason or result."""
        self._call_back(task, status)
        if task.is_final:
            self.sender.release(task)

    def _call_back(self, task: Task, status: str) -> None:
        if status == task.status:
            self.sender.enqueue(task, status, task.reason)
        else:
            result = self._result(task) if status == "succeed" else None
            self.sender.enqueue(task, status, FAILURE if status == "failed" else "", result=result, false=True)

    def _result(self, task: Task) -> dict[str, Any]:
        return task_result(task.url, task.id, task.order, self.rng.getrandbits(128))

    def _schedule(self, task: Task, wait: float, move: Callable[[], None]) -> None:
        if not self.closed:
            task.timer = asyncio.get_running_loop().call_later(wait, move)

    def _cancel_timer(self, task: Task) -> None:
        if task.timer is not None:
            task.timer.cancel()
            task.timer = None
