"""One bad item never fails its batch: malformed callbacks and orders beside good ones, and Hypothesis' findings."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kling_relay.core import callback
from kling_relay.core.json_limits import printable
from kling_relay.core.untrusted import UnreadableError
from kling_relay.sandbox import Profile, Sandbox
from tests.faults.test_callbacks import SUCCESS, path
from tests.support.service import Relay, running, sandboxed

DOOR = "/kling/v1/videos/text2video"
DEEP = b"[" * 5_000 + b"]" * 5_000
POISON: list[bytes] = [
    b"",
    b"\x00",
    b"not json",
    b"\xff\xfe\xfa",
    b"null",
    b"[]",
    b'{"task_status": NaN}',
    b'{"task_status": "succeed", "task_result": {"videos": [{"url": Infinity}]}}',
    b'{"task_status": "failed", "task_status_msg": "\\u0000"}',
    b'{"task_status": "failed", "task_status_msg": "\\ud800"}',
    b'{"task_status": "\\u0000succeed"}',
    b'{"task_status": "failed", "task_id": "\\u0000\\udfff"}',
    b'{"task_status": "failed", "updated_at": 1e400, "created_at": -99999999999999999999}',
    b'{"task_status": "succeed", "task_result": {"images": [{"url": "https://x/\\u0000"}]}, "units": "1e9"}',
    b'{"task_status": "succeed", "task_result": {"videos": [{"url": "https://x/y"}]}, "final_unit_deduction": "NaN"}',
    b'{"task_status": "failed", "task_status_msg": ' + b'"' + b"x" * 200_000 + b'"}',
    b'{"task_status": "succeed", "task_result": ' + DEEP + b"}",
    DEEP,
    b'{"a":' * 400 + b"1" + b"}" * 400,
    b'{"task_status": "succeed", "id": ' + b"9" * 5_000 + b"}",
]
WORDS = st.sampled_from(["task_id", "id", "task_status", "status", "data", "task_result", "videos", "url", "code"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)
"""Shapes close to known ones, with values of every kind."""


async def test_poisonous_callbacks_spoil_none_of_the_good_ones_beside_them(database: str) -> None:
    async with (
        sandboxed(Profile(callbacks=())) as (sandbox, provider),
        running(database, provider) as relay,
    ):
        tasks = [await relay.submit(f"a rabbit {number} [forever]") for number in range(2 * len(POISON))]
        calls = []
        for place, task in enumerate(tasks):
            is_good = place % 2 == 0
            body = json.dumps(SUCCESS).encode() if is_good else POISON[place // 2]
            calls.append(_called(relay, sandbox, task, body))
        assert set(await asyncio.gather(*calls)) == {200}
        for place, task in enumerate(tasks):
            status = (await relay.task(task))["task_status"]
            others = {"submitted", "processing", "failed", "succeed"}
            assert status == "succeed" if place % 2 == 0 else status in others, place
        assert (await relay.call("GET", "/readyz"))[0] == 200


async def test_poisonous_orders_spoil_none_of_the_good_ones_beside_them(database: str) -> None:
    fields: list[Any] = ["\x00", "\ud800", "x" * 501, 10**400, float("nan"), [[]], {"a": {}}, True]
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        good = [relay.call("POST", DOOR, json={"prompt": f"a rabbit {number}"}) for number in range(20)]
        bad = [
            relay.call("POST", DOOR, data=json.dumps({"prompt": "x", name: value}).encode())
            for value in fields
            for name in ("prompt", "external_task_id", "duration", "callback_url", "unheard-of")
        ]
        said = await asyncio.gather(*good, *bad)
        assert {status for status, _ in said[:20]} == {200}
        assert {status for status, _ in said[20:]} <= {200, 400}


async def _called(relay: Relay, sandbox: Sandbox, task: str, body: bytes) -> int:
    return (await relay.call("POST", path(sandbox, task), data=body))[0]


@pytest.mark.long
@given(body=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
def test_the_reader_of_callbacks_reads_or_refuses_and_never_fails(body: bytes) -> None:
    try:
        signal = callback.read(body)
    except UnreadableError:
        return
    assert signal.reason == printable(signal.reason)
    json.dumps(signal.result).encode()


@pytest.mark.parametrize("body", POISON)
def test_poison_is_read_or_refused(body: bytes) -> None:
    try:
        callback.read(body)
    except UnreadableError:
        return
