"""Submissions: an order is sent again only if it was certainly not accepted; a failed poll never fails a task."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.core.submission import (
    Accepted,
    AccountRefused,
    NoAnswer,
    NoSuchTask,
    Refused,
    RetryLater,
    SubmitOutcome,
    Unknown,
    backoff,
    code_of,
    read_poll_response,
    read_submit_response,
)
from kling_relay.core.task import Signal, SignalKind


def body(code: Any, data: Any = None, message: str = "said") -> bytes:
    return json.dumps({"code": code, "message": message, "request_id": "R", "data": data}).encode()


TASK = {"task_id": "T", "task_status": "submitted", "created_at": 1, "updated_at": 1}


@pytest.mark.parametrize("code", [0, "0", 0.0, "success", 200, "200"])
def test_success_in_every_spelling_is_accepted(code: Any) -> None:
    accepted = Accepted("T", Signal(kind=SignalKind.SUBMITTED, provider_task_id="T"))
    assert read_submit_response(200, body(code, TASK)) == accepted
    assert read_submit_response(200, body(code, {"task_id": "T"})) == accepted


@pytest.mark.parametrize(
    "answer",
    [
        {"id": "T", "status": "submitted"},
        {"task_id": "T"},
        {"code": "success", "data": "T"},
        {"code": 0, "data": {"id": "T"}},
        {"code": 0, "data": {"taskId": "T"}},
    ],
)
def test_newer_and_relayed_shapes_are_accepted(answer: dict[str, Any]) -> None:
    outcome = read_submit_response(200, json.dumps(answer).encode())
    assert isinstance(outcome, Accepted)
    assert outcome.provider_task_id == "T"


def test_a_response_with_a_final_status_is_a_signal_too() -> None:
    outcome = read_submit_response(200, body(0, {"task_id": "T", "task_status": "failed", "task_status_msg": "risk"}))
    assert outcome == Accepted("T", Signal(kind=SignalKind.FAILED, reason="risk", provider_task_id="T"))


def test_a_success_word_without_a_file_in_the_answer_to_an_order_is_that_of_the_order() -> None:
    for answer in (b'{"status": "success", "task_id": "T"}', b'{"code": 0, "data": {"task_id": "T", "state": "ok"}}'):
        outcome = read_submit_response(200, answer)
        assert isinstance(outcome, Accepted)
        assert outcome.signal == Signal(kind=SignalKind.SUBMITTED, provider_task_id="T")


TABLE: list[tuple[int, int, type[SubmitOutcome]]] = [
    (401, 1000, AccountRefused),
    (401, 1001, AccountRefused),
    (401, 1002, AccountRefused),
    (401, 1003, AccountRefused),
    (401, 1004, AccountRefused),
    (429, 1100, AccountRefused),
    (429, 1101, AccountRefused),
    (429, 1102, AccountRefused),
    (403, 1103, AccountRefused),
    (400, 1200, Refused),
    (400, 1201, Refused),
    (404, 1202, AccountRefused),
    (404, 1203, AccountRefused),
    (400, 1300, Refused),
    (400, 1301, Refused),
    (429, 1302, RetryLater),
    (429, 1303, RetryLater),
    (429, 1304, AccountRefused),
    (500, 5000, Unknown),
    (503, 5001, RetryLater),
    (504, 5002, Unknown),
]


@pytest.mark.parametrize(("status", "code", "kind"), TABLE)
def test_a_documented_code_decides_even_with_http_200(status: int, code: int, kind: type[SubmitOutcome]) -> None:
    assert isinstance(read_submit_response(status, body(code)), kind)
    assert isinstance(read_submit_response(200, body(code)), kind)
    assert isinstance(read_submit_response(200, body(str(code))), kind)


def test_a_refusal_keeps_code_message_and_status() -> None:
    assert read_submit_response(400, body(1201, message="prompt too long")) == Refused(1201, "prompt too long", 400)
    assert read_submit_response(200, body(1301, message="risk")) == Refused(1301, "risk", 400)
    assert read_submit_response(422, b'{"error":{"message":"no","code":""}}') == Refused(1200, "no", 422)


HTML = b"<html><title>502 Bad Gateway</title></html>"


@pytest.mark.parametrize(
    ("status", "raw", "kind"),
    [
        (502, HTML, Unknown),
        (503, HTML, Unknown),
        (504, b"", Unknown),
        (500, b"{}", Unknown),
        (500, body("fail_to_fetch_task"), Unknown),
        (200, HTML, Unknown),
        (200, b"", Unknown),
        (200, body(0), Unknown),
        (200, body(0, {}), Unknown),
        (200, body(0, {"task_id": ""}), Unknown),
        (200, body(9999), Unknown),
        (200, b'{"error":{"message":"no"}}', Unknown),
        (408, b"", Unknown),
        (409, b"{}", Unknown),
        (499, b"", Unknown),
        (100, b"", Unknown),
        (429, b"", RetryLater),
        (429, HTML, RetryLater),
        (401, HTML, AccountRefused),
        (402, b"", AccountRefused),
        (403, b"", AccountRefused),
        (404, HTML, AccountRefused),
        (307, b"", AccountRefused),
        (413, HTML, Refused),
    ],
)
def test_a_response_without_a_documented_code_is_read_cautiously(
    status: int, raw: bytes, kind: type[SubmitOutcome]
) -> None:
    assert isinstance(read_submit_response(status, raw), kind)


def test_the_header_retry_after_is_returned() -> None:
    assert read_submit_response(429, body(1303, message="full"), retry_after=7.0) == RetryLater(1303, "full", 7.0)


@given(
    st.integers(100, 599),
    st.one_of(
        st.binary(),
        st.recursive(
            st.none() | st.integers() | st.floats() | st.text() | st.booleans(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["code", "message", "data", "error", "task_id", "task_status"]), inner, max_size=4
                )
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_every_response_has_an_outcome_and_only_success_is_accepted(status: int, raw: bytes) -> None:
    outcome = read_submit_response(status, raw)
    finding = read_poll_response(status, raw)
    if not 200 <= status < 300:
        assert not isinstance(outcome, Accepted)
        assert not isinstance(finding, Signal)


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        (500, body(5000)),
        (502, HTML),
        (200, HTML),
        (404, HTML),
        (404, b'{"error":{"message":"Invalid URL","code":""}}'),
        (429, body(1302)),
        (401, body(1002)),
        (200, body(0, None)),
        (200, body(5000, TASK)),
        (200, body(0, {"task_id": "T", "task_status": "a new word"})),
        (200, body(0, [TASK])),
    ],
)
def test_a_failed_poll_says_nothing(status: int, raw: bytes) -> None:
    assert isinstance(read_poll_response(status, raw), NoAnswer)


def test_a_failed_task_is_a_successful_poll() -> None:
    raw = body(0, {"task_id": "T", "task_status": "failed", "task_status_msg": "risk"}, message="SUCCEED")
    assert read_poll_response(200, raw) == Signal(kind=SignalKind.FAILED, reason="risk", provider_task_id="T")


def test_only_the_providers_own_code_means_that_the_task_does_not_exist() -> None:
    assert read_poll_response(404, body(1203)) == NoSuchTask()
    assert read_poll_response(200, body(1203)) == NoSuchTask()
    assert isinstance(read_poll_response(404, body(1202)), NoAnswer)


@pytest.mark.parametrize(
    ("value", "code"),
    [(None, None), ("", None), (True, 0), (False, -1), ("OK", 0), ("nan", -1), ("1e400", -1), ([], -1), (1e308, -1)],
)
def test_odd_codes_are_read_without_an_exception(value: Any, code: int | None) -> None:
    assert code_of(value) == code


@given(st.integers(-5, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_backoff_starts_at_a_second_and_is_bounded(attempt: int, chance: float) -> None:
    assert 1.0 <= backoff(attempt, chance) <= 90.0
    assert backoff(attempt, chance) <= backoff(attempt + 1, chance)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"detail": [{"loc": ["body", "prompt"], "msg": "Field required", "type": "missing"}]},
            "body.prompt: Field required",
        ),
        ({"detail": [{"loc": ["body", "n", 0], "msg": "too big"}, {"msg": "no"}]}, "body.n.0: too big; no"),
        ({"detail": ["a", "b"]}, "a; b"),
        ({"detail": {"message": "no"}}, "no"),
        ({"errors": [{"field": "prompt", "message": "is required"}]}, "prompt: is required"),
        ({"error": {"detail": [{"loc": ["mode"], "msg": "unknown"}]}}, "mode: unknown"),
        ({"message": ["one", "two"]}, "one; two"),
        ({"error": "plain"}, "plain"),
    ],
)
def test_a_422_reaches_the_client_with_the_providers_words(members: dict[str, Any], message: str) -> None:
    assert read_submit_response(422, orjson.dumps(members)) == Refused(1200, message, 422)


def test_endless_errors_make_a_bounded_message() -> None:
    deep: Any = "x"
    for _ in range(12):
        deep = {"error": deep}
    wide = [{"msg": "y" * 4096}] * 100
    assert read_submit_response(422, orjson.dumps({"error": deep})) == Refused(1200, "refused with HTTP 422", 422)
    outcome = read_submit_response(422, orjson.dumps({"detail": wide}))
    assert isinstance(outcome, Refused)
    assert len(outcome.message) == 1024
