"""Events: their bytes, formats and ids."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.core.event import (
    BodyFormat,
    Event,
    EventType,
    TaskIdentity,
    make_event,
    make_task_event,
    render,
    rfc3339,
    webhook_id,
)
from kling_relay.core.task import Signal, SignalKind, Status, Task

NOW = datetime(2026, 11, 20, 12, 30, 15, 123456, tzinfo=UTC)
FACTS = TaskIdentity(
    id=UUID("01a20444-32e8-7000-97b9-70b16df0d6b3"),
    client=UUID(int=7),
    kind="text2image",
    external_task_id="mine-1",
    created_at=NOW,
)
RESULT = {"images": [{"index": 0, "url": "https://cdn.example.com/0.png"}]}


def succeeded(reason: str = "") -> Event:
    task = Task(id=FACTS.id, status=Status.SUCCEED, sequence=3, updated_at=NOW)
    return make_task_event(FACTS, task, Signal(kind=SignalKind.SUCCEED, result=RESULT, reason=reason))


def rendered(event: Event, form: BodyFormat) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(render(event, form, "https://relay.example.com"))
    return body


def test_the_standard_body_has_exactly_the_documented_members() -> None:
    body = rendered(succeeded(), BodyFormat.STANDARD)
    assert (body["type"], body["timestamp"]) == ("task.succeed", "2026-11-20T12:30:15.123Z")
    assert body["data"] == {
        "task_id": str(FACTS.id),
        "external_task_id": "mine-1",
        "kind": "text2image",
        "task_status": "succeed",
        "task_status_msg": "",
        "created_at": 1795177815123,
        "updated_at": 1795177815123,
        "task_result": RESULT,
        "expires_at": 1795177815123 + 30 * 86_400_000,
        "sequence": 3,
    }


def test_the_kling_body_is_flat() -> None:
    assert rendered(succeeded(), BodyFormat.KLING) == {
        "task_id": str(FACTS.id),
        "task_status": "succeed",
        "task_status_msg": "",
        "created_at": 1795177815123,
        "updated_at": 1795177815123,
        "task_info": {"external_task_id": "mine-1"},
        "task_result": RESULT,
    }


def test_an_event_without_a_task_has_no_flat_form() -> None:
    event = make_event(
        subject=UUID(int=9),
        sequence=1,
        client=UUID(int=7),
        event_type=EventType.SUBSCRIPTION_DISABLED,
        at=NOW,
        content={"a": 1},
    )
    assert render(event, BodyFormat.KLING, "https://relay.example.com") == event.body


def test_a_task_without_its_result_is_reported_as_a_success_that_says_so() -> None:
    task = Task(id=FACTS.id, status=Status.RESULT_MISSING, sequence=3, updated_at=NOW)
    event = make_task_event(FACTS, task, Signal(kind=SignalKind.RESULT_MISSING))
    body = rendered(event, BodyFormat.STANDARD)
    assert (body["type"], body["data"]["task_status"]) == ("task.succeed", "succeed")
    assert (body["data"]["task_result"], body["data"]["result_missing"]) == ({}, True)
    flat = rendered(event, BodyFormat.KLING)
    assert (flat["task_result"], flat["task_status_msg"]) == (
        {},
        "the provider says that it succeeded, but names no file",
    )
    assert "result_missing" not in rendered(succeeded(), BodyFormat.STANDARD)["data"]


def test_an_expired_task_is_reported_as_failed() -> None:
    task = Task(id=FACTS.id, status=Status.EXPIRED, sequence=2, updated_at=NOW)
    event = make_task_event(FACTS, task, Signal(kind=SignalKind.EXPIRED, reason="given up"))
    body = rendered(event, BodyFormat.STANDARD)
    assert (body["type"], body["data"]["task_status"], body["data"]["expires_at"]) == ("task.failed", "failed", None)


def test_the_cloudevents_sdk_reads_the_cloudevents_body() -> None:
    body = render(succeeded(), BodyFormat.CLOUDEVENTS, "https://relay.example.com")
    message = HTTPMessage(headers={"content-type": "application/cloudevents+json"}, body=body)
    event = from_structured_event(message)
    assert event.get_type() == "task.succeed"
    assert event.get_id() == webhook_id(FACTS.id, 3)
    assert event.get_subject() == str(FACTS.id)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_reason_survives_encoding_and_decoding(reason: str) -> None:
    assert rendered(succeeded(reason), BodyFormat.STANDARD)["data"]["task_status_msg"] == reason


@given(st.uuids(), st.integers(1, 32_767))
def test_different_events_have_different_ids(subject: UUID, sequence: int) -> None:
    name = webhook_id(subject, sequence)
    assert name == f"evt_{subject.hex}_{sequence}"
    assert not set(name) & set(". ")


def test_times_are_in_milliseconds() -> None:
    assert rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05.000Z"
