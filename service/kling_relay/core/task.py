"""A task and its machine: MOVES is the whole of it, and what is absent there is stale and changes nothing.

A task is *recorded* before the provider hears of it, *submitted* once the provider took it (or is seen to
have it), and final as *succeed* or *failed*. *expired* is our own impatience: clients see it as failed, and a
late success still beats it, because the provider knows better than the clock.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID


class Status(StrEnum):
    """Where a task stands; `shown` says what a client sees of it."""

    RECORDED = "recorded"
    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEED = "succeed"
    FAILED = "failed"
    EXPIRED = "expired"


class SignalKind(StrEnum):
    """What a signal says of a task, in our words."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEED = "succeed"
    FAILED = "failed"
    EXPIRED = "expired"


MOVES: dict[Status, dict[SignalKind, Status]] = {
    Status.RECORDED: {
        SignalKind.SUBMITTED: Status.SUBMITTED,
        SignalKind.PROCESSING: Status.PROCESSING,
        SignalKind.SUCCEED: Status.SUCCEED,
        SignalKind.FAILED: Status.FAILED,
        SignalKind.EXPIRED: Status.EXPIRED,
    },
    Status.SUBMITTED: {
        SignalKind.PROCESSING: Status.PROCESSING,
        SignalKind.SUCCEED: Status.SUCCEED,
        SignalKind.FAILED: Status.FAILED,
        SignalKind.EXPIRED: Status.EXPIRED,
    },
    Status.PROCESSING: {
        SignalKind.SUCCEED: Status.SUCCEED,
        SignalKind.FAILED: Status.FAILED,
        SignalKind.EXPIRED: Status.EXPIRED,
    },
    Status.EXPIRED: {SignalKind.SUCCEED: Status.SUCCEED},
    Status.SUCCEED: {},
    Status.FAILED: {},
}

FINAL = frozenset({Status.SUCCEED, Status.FAILED, Status.EXPIRED})
"""Where a client stops waiting."""

CLIENT_STATUS: dict[Status, str] = {
    Status.RECORDED: "submitted",
    Status.SUBMITTED: "submitted",
    Status.PROCESSING: "processing",
    Status.SUCCEED: "succeed",
    Status.FAILED: "failed",
    Status.EXPIRED: "failed",
}


class Signal(NamedTuple):
    """One fact about a task, from the provider or from the clock.

    `result` is Kling's `task_result` ({"images": [...]} and/or {"videos": [...]}) on success, else None;
    `charge` the provider's `final_unit_deduction` where it said one.
    """

    kind: SignalKind
    reason: str = ""
    result: dict[str, Any] | None = None
    charge: str | None = None
    provider_task_id: str | None = None


class Task(NamedTuple):
    """A task as the machine sees it; `sequence` counts its steps, 0 before the first."""

    id: UUID
    status: Status
    sequence: int
    updated_at: datetime


class Step(NamedTuple):
    """What one signal did: the task as it is now, and the signal that moved it."""

    task: Task
    signal: Signal

    @property
    def is_final(self) -> bool:
        return self.task.status in FINAL


def advance(task: Task, signal: Signal, now: datetime) -> Step | None:
    """Return the step that `signal` makes of `task`, or None where it is stale and changes nothing.

    `updated_at` never goes back, even where a clock did.
    """
    status = MOVES[task.status].get(signal.kind)
    if status is None:
        return None
    return Step(Task(task.id, status, task.sequence + 1, max(now, task.updated_at)), signal)
