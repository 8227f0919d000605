"""Events: published steps. An event's bytes are made once, when the step is written, and never change.

An event is identified by its subject (a task, or an id of its own) and its sequence. `webhook-id` is made of the two,
so every attempt, replay and restart uses the same one. Clients see a task as one object everywhere (`task_json`); its
times are milliseconds since 1970, as Kling writes them.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from math import floor
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from kling_relay.core.ids import milliseconds
from kling_relay.core.task import CLIENT_STATUS, Signal, Status, Task

_EVENT_TYPES = {status: f"task.{word}" for status, word in CLIENT_STATUS.items()}
RESULT_LIFE = timedelta(days=30)
"""How long the provider keeps results, according to Kling's documentation."""
_RESULT_LIFE = RESULT_LIFE // timedelta(milliseconds=1)
_NO_FILE = "the provider says that it succeeded, but names no file"


class EventType(StrEnum):
    """What an event reports."""

    TASK_SUBMITTED = "task.submitted"
    TASK_PROCESSING = "task.processing"
    TASK_SUCCEED = "task.succeed"
    TASK_FAILED = "task.failed"
    SUBSCRIPTION_DISABLED = "subscription.disabled"
    SUBSCRIPTION_TEST = "subscription.test"
    BUDGET_THRESHOLD = "budget.threshold"


PATTERNS = frozenset({"*", *(f"{event_type.split('.')[0]}.*" for event_type in EventType), *EventType})
"""What a subscription may filter by."""


def matching_types(patterns: Iterable[str]) -> list[str]:
    """Return the event types that match any of `patterns`."""
    names = set(patterns)
    return [
        event_type.value
        for event_type in EventType
        if "*" in names or event_type.value in names or f"{event_type.value.split('.')[0]}.*" in names
    ]


class BodyFormat(StrEnum):
    """The format of the bodies that a subscriber gets."""

    STANDARD = "standard"
    KLING = "kling"
    CLOUDEVENTS = "cloudevents"


CONTENT_TYPE = {
    BodyFormat.STANDARD: "application/json",
    BodyFormat.KLING: "application/json",
    BodyFormat.CLOUDEVENTS: "application/cloudevents+json; charset=utf-8",
}


def to_json_bytes(value: Any) -> bytes:
    """Return `value` as compact JSON in UTF-8. Its texts must not contain lone surrogates."""
    return orjson.dumps(value)


class Event(NamedTuple):
    """One event. `body` is what the format `standard` sends: {"type", "timestamp", "data"}."""

    subject: UUID
    sequence: int
    client: UUID
    type: str
    at: datetime
    body: bytes


class TaskIdentity(NamedTuple):
    """The part of a task that never changes and appears in its events."""

    id: UUID
    client: UUID
    kind: str
    external_task_id: str | None
    created_at: datetime


def webhook_id(subject: UUID, sequence: int) -> str:
    """Return the id that a subscriber gets for this event, the same on every attempt."""
    return f"evt_{subject.hex}_{sequence}"


def task_json(
    identity: TaskIdentity, task: Task, reason: str = "", result: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a task as clients see it in events and under /v1/tasks.

    `result_missing` is there, and true, only if the provider named no file of a task that succeeded.
    """
    is_missing = task.status is Status.RESULT_MISSING
    is_succeeded = is_missing or task.status is Status.SUCCEED
    updated_at = milliseconds(task.updated_at)
    content = {
        "task_id": str(identity.id),
        "external_task_id": identity.external_task_id,
        "kind": identity.kind,
        "task_status": CLIENT_STATUS[task.status],
        "task_status_msg": reason or (_NO_FILE if is_missing else ""),
        "created_at": milliseconds(identity.created_at),
        "updated_at": updated_at,
        "task_result": (result or {}) if is_succeeded else None,
        "expires_at": updated_at + _RESULT_LIFE if is_succeeded else None,
        "sequence": task.sequence,
    }
    if is_missing:
        content["result_missing"] = True
    return content


def rfc3339(at: datetime) -> str:
    """Return an aware UTC time as RFC 3339 with milliseconds."""
    return f"{_format_second(floor(at.timestamp()))}.{at.microsecond // 1000:03d}Z"


@lru_cache(maxsize=64)
def _format_second(second: int) -> str:
    """Return a second since 1970 as text without its zone. Cached, because thousands of events share a second."""
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]


def make_task_event(identity: TaskIdentity, task: Task, signal: Signal) -> Event:
    """Return the event of the step in which `signal` moved `task` to its present status."""
    return make_event(
        identity.id,
        task.sequence,
        client=identity.client,
        event_type=_EVENT_TYPES[task.status],
        at=task.updated_at,
        content=task_json(identity, task, signal.reason, signal.result),
    )


def make_event(
    subject: UUID, sequence: int, *, client: UUID, event_type: str, at: datetime, content: Mapping[str, Any]
) -> Event:
    """Return an event of any type, with its bytes."""
    body = to_json_bytes({"type": event_type, "timestamp": rfc3339(at), "data": content})
    return Event(subject, sequence, client, event_type, at, body)


def render(event: Event, form: BodyFormat, source: str) -> bytes:
    """Return the body of `event` in a subscriber's format. `source` is our public URL.

    Kling's format exists for task events only; other events use `standard` instead.
    """
    if form is BodyFormat.STANDARD or (form is BodyFormat.KLING and not event.type.startswith("task.")):
        return event.body
    content = orjson.loads(event.body)["data"]
    if form is BodyFormat.KLING:
        return to_json_bytes(kling_body(content))
    return to_json_bytes(
        {
            "specversion": "1.0",
            "id": webhook_id(event.subject, event.sequence),
            "source": source,
            "type": event.type,
            "subject": str(event.subject),
            "time": rfc3339(event.at),
            "datacontenttype": "application/json",
            "sequence": f"{event.sequence:010d}",
            "data": content,
        }
    )


def kling_body(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return Kling's flat callback body for a task given as `task_json`."""
    return {
        "task_id": content["task_id"],
        "task_status": content["task_status"],
        "task_status_msg": content["task_status_msg"],
        "created_at": content["created_at"],
        "updated_at": content["updated_at"],
        "task_info": {"external_task_id": content["external_task_id"]} if content["external_task_id"] else {},
        "task_result": content["task_result"] or {},
    }
