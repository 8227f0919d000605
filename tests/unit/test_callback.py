"""The callback reader accepts every known spelling, guesses nothing, and survives any bytes."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.core.callback import MAX_REASON, UnreadableError, read
from kling_relay.core.task import SignalKind
from kling_relay.core.untrusted import clean, parse_json

VIDEO = {"id": "cb6a5273", "url": "https://cdn.example.com/v.mp4", "duration": "5.1"}
IMAGE = {"index": 0, "url": "https://cdn.example.com/i.png"}


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


WORDS = {
    SignalKind.SUBMITTED: ["submitted", "SUBMITTED", "NOT_START", "queued", "QUEUED", "pending", "waiting", "starting"],
    SignalKind.PROCESSING: ["processing", "IN_PROGRESS", "running", "dreaming", "in progress"],
    SignalKind.SUCCEED: [
        "succeed",
        "succeeded",
        "SUCCEED",
        "SUCCESS",
        "success",
        "completed",
        "complete",
        "OK",
        "finished",
    ],
    SignalKind.FAILED: ["failed", "FAILED", "FAILURE", "fail", "error", "ERROR", "canceled", "expired"],
}


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind, words in WORDS.items() for word in words])
@pytest.mark.parametrize("key", ["task_status", "status", "state"])
def test_every_status_word_is_understood_flat_and_enveloped(kind: SignalKind, word: str, key: str) -> None:
    task = {"task_id": "T1", key: word, "task_result": {"videos": [VIDEO]}}
    assert read(body(task)).kind is kind
    assert read(body({"code": 0, "message": "SUCCEED", "request_id": "R", "data": task})).kind is kind


@pytest.mark.parametrize("key", ["task_id", "id", "taskId", "request_id"])
def test_every_spelling_of_the_task_id_is_found(key: str) -> None:
    assert read(body({key: "T1", "status": "running"})).provider_task_id == "T1"
    assert read(body({"data": {key: "T1", "status": "running"}})).provider_task_id == "T1"


def test_the_task_id_is_preferred_to_the_request_id() -> None:
    signal = read(body({"code": 0, "request_id": "R", "data": {"task_id": "T", "task_status": "processing"}}))
    assert signal.provider_task_id == "T"


@pytest.mark.parametrize(
    "members",
    [
        {"task_status_msg": "risk"},
        {"message": "risk"},
        {"fail_reason": "risk"},
        {"failReason": "risk"},
        {"error": "risk"},
        {"error": {"message": "risk", "code": 7}},
        {"detail": "risk"},
        {"detail": ["risk"]},
        {"error": [{"msg": "risk"}]},
        {"error": {"detail": "risk"}},
        {"msg": "risk"},
    ],
)
def test_every_spelling_of_the_reason_is_found(members: dict[str, Any]) -> None:
    assert read(body({"id": "T", "status": "failed"} | members)).reason == "risk"


def test_the_message_of_the_envelope_is_not_the_reason_of_the_task() -> None:
    envelope = {"code": 0, "message": "SUCCEED", "request_id": "R", "data": {"task_id": "T", "task_status": "failed"}}
    assert read(body(envelope)).reason == ""
    envelope["data"] = {"task_id": "T", "task_status": "failed", "task_status_msg": "content risk"}
    assert read(body(envelope)).reason == "content risk"


@pytest.mark.parametrize(
    "members",
    [
        {"task_result": {"videos": [VIDEO], "images": None}},
        {"outputs": [{"type": "video"} | VIDEO]},
        {"task_result": {}, "outputs": [VIDEO]},
        {"task_result": {"videos": [VIDEO | {"duration": 5.1}, {"url": None}, 7, None]}},
    ],
)
def test_videos_are_returned_in_klings_shape(members: dict[str, Any]) -> None:
    assert read(body({"task_id": "T", "task_status": "succeed"} | members)).result == {"videos": [VIDEO]}


@pytest.mark.parametrize(
    "members",
    [
        {"output": {"video_url": VIDEO["url"]}},
        {"videoUrl": VIDEO["url"]},
        {"result_url": VIDEO["url"]},
        {"task_result": {"videos": [VIDEO["url"]]}},
    ],
)
def test_a_bare_video_address_is_a_result(members: dict[str, Any]) -> None:
    result = read(body({"task_id": "T", "status": "SUCCESS"} | members)).result
    assert result == {"videos": [{"id": "", "url": VIDEO["url"], "duration": ""}]}


@pytest.mark.parametrize(
    "members",
    [
        {"task_result": {"images": [IMAGE], "videos": None}},
        {"outputs": [{"type": "image", "url": IMAGE["url"]}]},
        {"outputs": [{"url": IMAGE["url"]}]},
        {"imageUrl": IMAGE["url"]},
        {"result_url": IMAGE["url"]},
        {"task_result": {"images": [{"url": IMAGE["url"], "index": 10**30}]}},
    ],
)
def test_images_are_returned_in_klings_shape(members: dict[str, Any]) -> None:
    assert read(body({"task_id": "T", "task_status": "succeed"} | members)).result == {"images": [IMAGE]}


def test_the_input_image_is_not_mistaken_for_the_result() -> None:
    flat = {"id": "T", "status": "succeeded", "image": "https://x.example/ordered.png", "outputs": [VIDEO]}
    assert read(body(flat)).result == {"videos": [VIDEO]}
    bare = read(body({"id": "T", "status": "succeeded", "image": "https://x.example/ordered.png"}))
    assert (bare.kind, bare.result) == (SignalKind.INCOMPLETE, None)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"task_result": {}},
        {"task_result": None},
        {"task_result": {"videos": []}},
        {"task_result": {"videos": [], "images": None}},
        {"task_result": {"videos": [{}]}},
        {"task_result": {"videos": [{"url": ""}]}},
        {"task_result": {"videos": [{"url": "  "}]}},
        {"task_result": {"videos": [{"url": None, "id": "v"}]}},
        {"task_result": {"videos": [{"url": "null"}]}},
        {"task_result": {"videos": [{"url": "about:blank"}]}},
        {"task_result": {"videos": [{"url": "https://"}]}},
        {"task_result": {"videos": [{"url": "https://x.example/\nv.mp4"}]}},
        {"task_result": {"videos": [{"url": "https://x.example/" + "v" * 8192}]}},
        {"task_result": {"videos": "https//x"}},
        {"output": {"video_url": ""}},
        {"outputs": []},
        {"videoUrl": ""},
        {"url": "pending"},
        {"fail_reason": "none"},
        {"metadata": {"url": ""}},
        {"metadata": {"image": "https://x.example/ordered.png"}},
        {"images": ["https://x.example/ordered.png"]},
        {"video": "https://x.example/ordered.mp4"},
    ],
)
def test_a_success_that_names_no_file_is_incomplete(members: dict[str, Any]) -> None:
    for top in ({"task_status": "succeed"} | members, {"code": 0, "data": {"task_status": "succeed"} | members}):
        signal = read(body(top))
        assert (signal.kind, signal.result) == (SignalKind.INCOMPLETE, None)


MARKED = "https://cdn.example.com/marked.mp4"


@pytest.mark.parametrize(
    ("members", "file"),
    [
        ({"task_result": {"videos": [{"id": "v", "watermark_url": MARKED}]}}, {"id": "v", "duration": ""}),
        ({"task_result": {"videos": [{"url": "", "watermark_url": MARKED}]}}, {"id": "", "duration": ""}),
        ({"watermark_url": MARKED}, {"id": "", "duration": ""}),
    ],
)
def test_a_success_with_only_a_watermarked_file_is_incomplete_and_keeps_it(
    members: dict[str, Any], file: dict[str, Any]
) -> None:
    signal = read(body({"task_id": "T", "task_status": "succeed"} | members))
    assert signal.kind is SignalKind.INCOMPLETE
    assert signal.result == {"videos": [file | {"url": "", "watermark_url": MARKED}]}


@pytest.mark.parametrize(
    "members",
    [
        {"task_result": {"videos": [VIDEO | {"watermark_url": MARKED}]}},
        {"outputs": [{"type": "video", "watermark_url": MARKED} | VIDEO]},
    ],
)
def test_a_watermarked_file_is_kept_beside_the_other(members: dict[str, Any]) -> None:
    signal = read(body({"task_status": "succeed"} | members))
    assert (signal.kind, signal.result) == (SignalKind.SUCCEED, {"videos": [VIDEO | {"watermark_url": MARKED}]})


@pytest.mark.parametrize(
    "task",
    [
        {"status": "success", "url": VIDEO["url"]},
        {"status": "success", "url": f" {VIDEO['url']}\n"},
        {"status": "success", "metadata": {"url": VIDEO["url"]}},
        {"status": "SUCCESS", "fail_reason": VIDEO["url"]},
        {"status": "SUCCESS", "failReason": VIDEO["url"]},
        {"status": "SUCCESS", "fail_reason": "", "data": {"url": VIDEO["url"]}},
        {"status": "SUCCESS", "output": VIDEO["url"]},
        {"status": "SUCCESS", "output": [VIDEO["url"]]},
        {"status": "SUCCESS", "result": VIDEO["url"]},
        {"status": "SUCCESS", "videos": [{"url": VIDEO["url"]}]},
        {"status": "SUCCESS", "video": {"url": VIDEO["url"]}},
        {"status": "SUCCESS", "task_result": {"url": VIDEO["url"]}},
        {"status": "SUCCESS", "data": {"code": 0, "data": {"task_result": {"videos": [{"url": VIDEO["url"]}]}}}},
        {"status": "SUCCESS", "data": {"data": {"metadata": {"url": VIDEO["url"]}}}},
        {"status": "SUCCESS", "task_result": {"videos": {"url": VIDEO["url"]}}},
        {"status": "SUCCESS", "task_result": {"videos": [{"video_url": VIDEO["url"]}]}},
        {"status": "SUCCESS", "task_result": {"videos": [{"url": [VIDEO["url"]]}]}},
        {"status": "SUCCESS", "task_result": {"video": {"url": VIDEO["url"]}}},
        {"status": "SUCCESS", "result": {"video_url": VIDEO["url"]}},
        {"status": "SUCCESS", "content": {"video_url": VIDEO["url"]}},
        {"status": "SUCCESS", "output": {"outputs": [{"url": VIDEO["url"]}]}},
    ],
)
def test_the_url_of_a_success_is_found_where_gateways_put_it(task: dict[str, Any]) -> None:
    for top in ({"id": "T"} | task, {"code": "success", "data": {"task_id": "T"} | task}):
        signal = read(body(top))
        assert signal.kind is SignalKind.SUCCEED
        assert signal.result == {"videos": [{"id": "", "url": VIDEO["url"], "duration": ""}]}
        assert signal.reason == ""


def test_the_url_in_data_is_a_result_under_a_success_word_of_the_envelope() -> None:
    signal = read(body({"code": 0, "status": "success", "data": {"task_id": "T", "url": VIDEO["url"]}}))
    assert signal.result == {"videos": [{"id": "", "url": VIDEO["url"], "duration": ""}]}


def test_a_url_in_the_reason_of_a_failure_is_a_reason() -> None:
    signal = read(body({"id": "T", "status": "FAILURE", "fail_reason": VIDEO["url"]}))
    assert (signal.kind, signal.result, signal.reason) == (SignalKind.FAILED, None, VIDEO["url"])


def test_spaces_in_a_url_are_encoded() -> None:
    signal = read(body({"task_status": "succeed", "task_result": {"videos": [{"url": "https://x.example/my v.mp4"}]}}))
    assert signal.result == {"videos": [{"id": "", "url": "https://x.example/my%20v.mp4", "duration": ""}]}


@pytest.mark.parametrize(
    ("members", "charge"),
    [
        ({"final_unit_deduction": "3.5"}, "3.5"),
        ({"final_unit_deduction": 2}, "2"),
        ({"final_unit_deduction": "a lot"}, None),
        ({"final_unit_deduction": "-1"}, None),
        ({"billing": [{"units": "1.5"}, {"units": 2}]}, "3.5"),
        ({"billing": [{"amount": "9", "currency": "USD"}]}, None),
        ({"billing": []}, None),
        ({}, None),
    ],
)
def test_a_charge_is_read_only_if_it_is_certainly_in_units(members: dict[str, Any], charge: str | None) -> None:
    assert read(body({"id": "T", "status": "failed"} | members)).charge == charge


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"succeed"',
        b"{}",
        b"<html>502</html>",
        b'{"status": "sort of done"}',
        b'{"status": 7}',
        b'{"code":0,"message":"SUCCEED","data":{"task_id":"T"}}',
        b'{"code":0,"status":"success","data":{"task_id":"T"}}',
        b'{"status":"success","data":{"status":"a new word"}}',
        b"\xff\xfe\x00\x00",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"status":"failed","x":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"status":"failed","x":' + b"9" * 5000 + b"}",
        b'{"status":"failed","x":"' + b"y" * (1024 * 1024) + b'"}',
        json.dumps(
            {
                "status": "succeed",
                "task_result": {"videos": [{"url": "https://x.example/" + "v" * 8000}] * 9},
            }
        ).encode(),
    ],
)
def test_an_unintelligible_callback_is_unreadable(raw: bytes) -> None:
    with pytest.raises(UnreadableError):
        read(raw)


def test_brackets_inside_strings_are_not_nesting() -> None:
    assert read(body({"status": "failed", "error": '[{"\\[' * 40})).reason == '[{"\\[' * 40


def test_a_body_with_nan_is_accepted() -> None:
    assert read(b'{"status":"failed","updated_at":NaN,"x":-Infinity,"created_at":1e999}').kind is SignalKind.FAILED


def test_a_reason_is_cut_between_characters() -> None:
    reason = read(body({"status": "failed", "error": "可" * 5000})).reason
    assert reason == "可" * (MAX_REASON // 3)


MEMBERS = [
    "task_id",
    "id",
    "status",
    "task_status",
    "data",
    "task_result",
    "images",
    "videos",
    "url",
    "outputs",
    "output",
]
MEMBERS += ["type", "error", "message", "final_unit_deduction", "billing", "units", "duration", "index", "result_url"]
MEMBERS += ["metadata", "fail_reason", "watermark_url"]

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)  # beyond 64 bits a number may become a float
    | st.floats()
    | st.text(alphabet=st.characters(exclude_categories=[]))
    | st.sampled_from(["succeed", "failed", "https://x.example/v.mp4", "\x00", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(MEMBERS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=24,
)


@given(st.one_of(st.binary(), anything.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_unreadable_or_a_signal_that_can_be_stored(raw: bytes) -> None:
    try:
        signal = read(raw)
    except UnreadableError:
        return
    for text in (signal.reason, signal.provider_task_id or "", json.dumps(signal.result, ensure_ascii=False)):
        assert "\x00" not in text
        assert "\\u0000" not in text
        text.encode()
    assert len(signal.reason.encode()) <= MAX_REASON
    assert signal.charge is None or Decimal(signal.charge).is_finite()
    files = [file for kind in (signal.result or {}).values() for file in kind]
    assert any(file["url"] for file in files) == (signal.kind is SignalKind.SUCCEED)
    assert bool(files) == (signal.result is not None)


@given(st.text(alphabet=st.characters(exclude_categories=[])), st.integers(0, 50))
def test_cleaned_text_is_storable_and_bounded(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert len(cleaned.encode()) <= limit
    assert "\x00" not in cleaned


@given(anything)
def test_parse_reads_what_json_wrote(value: Any) -> None:
    raw = json.dumps(value)
    expected = json.loads(raw, parse_constant=lambda _: None)
    assert parse_json(raw.encode(), depth=1000) == expected
