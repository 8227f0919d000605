"""Settling an attempt: success, 410, and the schedule with its jitter and Retry-After."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.core.delivery import (
    BREAK_AFTER,
    HEALTHY,
    Delivered,
    Delivery,
    Exhausted,
    Gone,
    Retry,
    SubscriberResponse,
    parse_delivery_id,
    verdict_on,
)
from kling_relay.core.schedule import MAX_RETRY_AFTER, Schedule
from kling_relay.core.subscription import HEADER_NAME, event_faults, header_faults

NOW = datetime(2026, 11, 20, tzinfo=UTC)
WAITS = st.lists(st.floats(0, 86_400), max_size=12).map(lambda waits: Schedule(tuple(waits)))
JITTER = st.floats(0, 1, exclude_max=True)


def answer(status: int | None, retry_after: float | None = None) -> SubscriberResponse:
    error = None if status else "timeout"
    return SubscriberResponse(status=status, error=error, retry_after=retry_after, body=b"", latency=0.1)


@given(st.integers(200, 299), WAITS, JITTER)
def test_any_2xx_is_success(status: int, schedule: Schedule, jitter: float) -> None:
    assert verdict_on(1, answer(status), schedule, jitter) == Delivered()


@given(WAITS, JITTER)
def test_410_ends_the_subscription_under_any_schedule(schedule: Schedule, jitter: float) -> None:
    assert verdict_on(1, answer(410), schedule, jitter) == Gone()


@given(st.sampled_from([None, 301, 302, 307, 308, 400, 401, 404, 409, 429, 500, 503]), WAITS, JITTER)
def test_any_other_response_is_retried_once_per_wait_and_then_exhausted(
    status: int | None, schedule: Schedule, jitter: float
) -> None:
    for attempt in range(1, len(schedule.waits) + 1):
        verdict = verdict_on(attempt, answer(status), schedule, jitter)
        assert isinstance(verdict, Retry)
        assert 0 <= verdict.wait <= schedule.waits[attempt - 1]
    assert verdict_on(len(schedule.waits) + 1, answer(status), schedule, jitter) == Exhausted()


@given(st.floats(0, 10 * MAX_RETRY_AFTER), JITTER)
def test_retry_after_is_honoured_up_to_a_day(retry_after: float, jitter: float) -> None:
    verdict = verdict_on(1, answer(503, retry_after), Schedule((5.0,)), jitter)
    assert isinstance(verdict, Retry)
    assert verdict.wait >= min(retry_after, MAX_RETRY_AFTER)


def test_a_retry_after_adds_no_attempt() -> None:
    assert verdict_on(2, answer(503, 60), Schedule((5.0,)), 0.5) == Exhausted()


def test_failures_in_a_row_open_the_breaker_and_one_success_closes_it() -> None:
    health = HEALTHY
    for failure in range(BREAK_AFTER):
        assert health.probe_wait() is None, failure
        health = health.after(Retry(1.0), NOW)
    assert health.probe_wait() == 1.0
    assert health.failing_since == NOW
    assert health.after(Delivered(), NOW) == HEALTHY


def test_a_subscription_is_hopeless_after_five_days_of_failures() -> None:
    health = HEALTHY.after(Exhausted(), NOW)
    assert not health.is_hopeless(NOW + timedelta(days=4, hours=23))
    assert health.after(Retry(1.0), NOW + timedelta(days=5)).is_hopeless(NOW + timedelta(days=5))


@given(st.uuids(), st.integers(1, 32_767), st.uuids())
def test_the_id_of_a_delivery_is_parsed_back(subject: UUID, sequence: int, subscription: UUID) -> None:
    delivery = Delivery(subject=subject, sequence=sequence, subscription=subscription, attempt=0)
    assert parse_delivery_id(delivery.text) == delivery


@pytest.mark.parametrize("text", ["", "a-b-c", "x" * 1000, f"{'0' * 32}-0-{'0' * 32}", f"{'0' * 32}-99999-{'0' * 32}"])
def test_an_invalid_delivery_id_is_none(text: str) -> None:
    assert parse_delivery_id(text) is None


@given(st.text(max_size=80))
@pytest.mark.long
def test_any_text_is_a_delivery_id_or_none(text: str) -> None:
    delivery = parse_delivery_id(text)
    assert delivery is None or delivery.text == text


def test_an_unknown_event_in_a_filter_is_named() -> None:
    assert event_faults(["task.*", "*", "task.failed"]) == []
    assert "task.nope" in event_faults(["task.nope"])[0]
    assert event_faults([])
    assert event_faults("task.*")


def test_a_subscription_cannot_set_reserved_headers() -> None:
    faults = header_faults({"Webhook-Id": "x", "X-Fine": "yes", "bad name": "x", "X-Line": "a\r\nb", "Host": "x"})
    assert len(faults) == 4
    assert header_faults({"X-Fine": "yes", "Authorization": "Bearer t", "Tenant-Id": "a", "Hosted": "b"}) == []


@given(st.text("abcdehnoprstuwy-", max_size=12) | st.sampled_from(["TE", "te", "Host", "Content-Length", "webhook-a"]))
def test_the_documented_pattern_of_header_names_matches_the_check(name: str) -> None:
    assert bool(re.fullmatch(HEADER_NAME, name)) == (header_faults({name: ""}) == [])
