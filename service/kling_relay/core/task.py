"""A task and its state machine. MOVES is the whole machine; a signal that is absent there is stale and changes nothing.

A task is *recorded* before the provider gets it, *submitted* once the provider accepted it (or is known to have it),
and final as *succeed* or *failed*. *expired* is our own deadline: clients see it as failed, and a late success still
overrides it, because the provider knows better than our clock.

A success that names no file is not the end (*incomplete*): the provider is asked again. If it keeps naming none, the
task ends as *result_missing*, which clients see as succeed. A later success with files still fills it in.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID


class Status(StrEnum):
    """The status of a task. `CLIENT_STATUS` maps it to the one that clients see."""

    RECORDED = "recorded"
    SUBMITTED = "submitted"
    PROCESSING = "processing"
    RESULT_MISSING = "result_missing"
    SUCCEED = "succeed"
    FAILED = "failed"
    EXPIRED = "expired"


class SignalKind(StrEnum):
    """What a signal says about a task, in our words.

    *incomplete* is a success without a file. *result_missing* is our own: the provider was asked often enough.
    """

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    INCOMPLETE = "incomplete"
    RESULT_MISSING = "result_missing"
    SUCCEED = "succeed"
    FAILED = "failed"
    EXPIRED = "expired"


MOVES: dict[Status, dict[SignalKind, Status]] = {
    Status.RECORDED: {
        SignalKind.SUBMITTED: Status.SUBMITTED,
        SignalKind.PROCESSING: Status.PROCESSING,
        SignalKind.INCOMPLETE: Status.PROCESSING,
        SignalKind.RESULT_MISSING: Status.RESULT_MISSING,
        SignalKind.SUCCEED: Status.SUCCEED,
        SignalKind.FAILED: Status.FAILED,
        SignalKind.EXPIRED: Status.EXPIRED,
    },
    Status.SUBMITTED: {
        SignalKind.PROCESSING: Status.PROCESSING,
        SignalKind.INCOMPLETE: Status.PROCESSING,
        SignalKind.RESULT_MISSING: Status.RESULT_MISSING,
        SignalKind.SUCCEED: Status.SUCCEED,
        SignalKind.FAILED: Status.FAILED,
        SignalKind.EXPIRED: Status.EXPIRED,
    },
    Status.PROCESSING: {
        SignalKind.RESULT_MISSING: Status.RESULT_MISSING,
        SignalKind.SUCCEED: Status.SUCCEED,
        SignalKind.FAILED: Status.FAILED,
        SignalKind.EXPIRED: Status.EXPIRED,
    },
    Status.EXPIRED: {
        SignalKind.INCOMPLETE: Status.RESULT_MISSING,  # nobody asks about an expired task any more
        SignalKind.RESULT_MISSING: Status.RESULT_MISSING,
        SignalKind.SUCCEED: Status.SUCCEED,
    },
    Status.RESULT_MISSING: {SignalKind.SUCCEED: Status.SUCCEED},
    Status.SUCCEED: {},
    Status.FAILED: {},
}

FINAL = frozenset({Status.RESULT_MISSING, Status.SUCCEED, Status.FAILED, Status.EXPIRED})
"""The statuses at which a client stops waiting."""

CLIENT_STATUS: dict[Status, str] = {
    Status.RECORDED: "submitted",
    Status.SUBMITTED: "submitted",
    Status.PROCESSING: "processing",
    Status.RESULT_MISSING: "succeed",
    Status.SUCCEED: "succeed",
    Status.FAILED: "failed",
    Status.EXPIRED: "failed",
}


class Signal(NamedTuple):
    """One fact about a task, from the provider or from our clock.

    On success `result` is Kling's `task_result` ({"images": [...]} and/or {"videos": [...]}), otherwise None. That of
    an incomplete success has only files with a watermark, or is None.
    `charge` is the provider's `final_unit_deduction`, or None if it sent none.
    """

    kind: SignalKind
    reason: str = ""
    result: dict[str, Any] | None = None
    charge: str | None = None
    provider_task_id: str | None = None


class Task(NamedTuple):
    """A task as the state machine sees it. `sequence` counts its steps and is 0 before the first."""

    id: UUID
    status: Status
    sequence: int
    updated_at: datetime


class Step(NamedTuple):
    """One move: the task after it, and the signal that caused it."""

    task: Task
    signal: Signal

    @property
    def is_final(self) -> bool:
        return self.task.status in FINAL


def advance(task: Task, signal: Signal, now: datetime) -> Step | None:
    """Return the step that `signal` causes, or None if the signal is stale and changes nothing.

    `updated_at` never goes back, even if the clock does.
    """
    status = MOVES[task.status].get(signal.kind)
    if status is None:
        return None
    return Step(Task(task.id, status, task.sequence + 1, max(now, task.updated_at)), signal)
