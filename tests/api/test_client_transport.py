"""The client library without a service: parsing a stream, retries, errors and signatures."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.client import (
    ForgedError,
    ProviderError,
    RateLimitedError,
    Relay,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
    verify,
)
from kling_relay.client.sse import Message, Reader
from kling_relay.core.signature import new_secret, sign

SECRET = new_secret(b"s" * 32)
STREAM = (
    "retry: 1500\n\nid: 1-ä-1\nevent: task.succeed\ndata: {\ndata: 太}\n\n: still here\n\nid: 2\n\ndata:x\r\n\r\n"
).encode()
TASK = "01a20459-e1cd-7000-bb91-054c5629cf90"
TASK_JSON = {
    "task_id": TASK,
    "kind": "text2video",
    "task_status": "succeed",
    "created_at": 1,
    "updated_at": 2,
    "a member of tomorrow": True,
}


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_a_stream_parses_the_same_wherever_the_network_cuts_it(cuts: list[int]) -> None:
    reader = Reader()
    edges = [0, *sorted(cuts), len(STREAM)]
    messages = [message for start, end in pairwise(edges) for message in reader.feed(STREAM[start:end])]
    assert messages == [Message("task.succeed", "{\n太}"), Message("message", "x")]
    assert (reader.last_id, reader.retry) == ("2", 1.5)


@asynccontextmanager
async def answering(*answers: Callable[[], web.Response]) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """Serve these answers in order, and repeat the last one."""
    requests: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        requests.append(request)
        return answers[min(len(requests), len(answers)) - 1]()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", requests
    finally:
        await runner.cleanup()


def refusing(status: int, **headers: str) -> Callable[[], web.Response]:
    return lambda: web.json_response({"detail": "no", "code": 5001}, status=status, headers=headers)


def fine() -> web.Response:
    return web.json_response(TASK_JSON)


def accepted() -> web.Response:
    return web.json_response({"code": 0, "data": {name: TASK_JSON[name] for name in TASK_JSON if name != "kind"}})


async def test_safe_requests_are_repeated_and_an_order_keeps_its_idempotency_key() -> None:
    async with (
        answering(refusing(503), refusing(429), fine) as (url, requests),
        Relay(url, jitter=lambda: 1.0) as relay,
    ):
        assert (await relay.task(TASK)).has_succeeded
        assert len(requests) == 3
    async with answering(refusing(503), accepted) as (url, requests), Relay(url, jitter=lambda: 1.0) as relay:
        await relay.text_to_video("a")
        assert len({request.headers["Idempotency-Key"] for request in requests}) == 1
        assert len(requests) == 2


async def test_an_unsafe_request_fails_without_a_repeat() -> None:
    async with answering(refusing(503)) as (url, requests), Relay(url) as relay:
        with pytest.raises(UnavailableError):
            await relay.pause(TASK)
        assert len(requests) == 1
    async with answering(refusing(429, **{"Retry-After": "3600"})) as (url, requests), Relay(url) as relay:
        with pytest.raises(RateLimitedError) as limited:
            await relay.task(TASK)
        assert (limited.value.retry_after, len(requests)) == (3600, 1)
    async with answering(refusing(502)) as (url, _), Relay(url) as relay:
        with pytest.raises(ProviderError):
            await relay.text_to_video("a")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda: web.Response(text="<html>", status=502), UnexpectedAnswerError),
        (lambda: web.Response(text="<html>"), UnexpectedAnswerError),
        (lambda: web.Response(status=302, headers={"Location": "/"}), UnexpectedAnswerError),
    ],
)
async def test_an_answer_of_another_service_is_reported_as_such(
    answer: Callable[[], web.Response], error: type[Exception]
) -> None:
    async with answering(answer) as (url, _), Relay(url, retries=0) as relay:
        with pytest.raises(error):
            await relay.task(TASK)


async def test_a_refused_connection_is_unreachable_and_a_wrong_address_is_named() -> None:
    async with Relay("http://127.0.0.1:9", retries=0) as relay:
        with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
            await relay.task(TASK)
        with pytest.raises(UnreachableError):
            await anext(relay.stream())
    async with Relay("ftp://example.com", retries=0) as relay:
        with pytest.raises(UnexpectedAnswerError):
            await relay.task(TASK)


def signed(body: bytes, *, age: timedelta = timedelta(0), secret: str = SECRET) -> dict[str, str]:
    at = datetime.now(UTC) - age
    return {
        "Webhook-Id": "evt_1",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": sign([secret], "evt_1", at, body),
    }


def test_verify_accepts_only_a_recent_signature_by_the_secret() -> None:
    body = json.dumps({"type": "task.succeed", "timestamp": "2026-11-22T10:00:00Z", "data": TASK_JSON}).encode()
    event = verify(SECRET, signed(body), body)
    assert (event.id, event.type, event.task.task_id) == ("evt_1", "task.succeed", TASK)
    assert verify([new_secret(b"n" * 32), SECRET], signed(body), body) == event
    for headers, given_body in (
        (signed(body, age=timedelta(minutes=6)), body),
        (signed(body, secret=new_secret(b"n" * 32)), body),
        (signed(body), body + b" "),
        ({**signed(body), "Webhook-Signature": "nonsense"}, body),
        ({**signed(body), "Webhook-Signature": "v1,ä"}, body),
        ({}, body),
        (signed(body), b"\xff"),
    ):
        with pytest.raises(ForgedError):
            verify(SECRET, headers, given_body)
    with pytest.raises(ValueError, match=r".+"):
        verify("whsec_not base64!", signed(body), body)


@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_broken_stream_resumes_after_the_last_event(is_cut: bool) -> None:
    content = json.dumps({"type": "t", "timestamp": "2026-11-22T10:00:00Z", "data": {}})
    cursors: list[str | None] = []

    async def act(request: web.Request) -> web.StreamResponse:
        cursors.append(request.headers.get("Last-Event-ID"))
        number = len(cursors)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(f"id: {number}-a-{number}\nevent: t\ndata: {content}\n\nid: cut-{number}\n".encode())
        if is_cut and request.transport is not None:
            request.transport.close()
        return answer

    async with (
        _served(act) as url,
        Relay(url, jitter=lambda: 1.0) as relay,
        aclosing(relay.stream(after="0")) as stream,
    ):
        events = [await asyncio.wait_for(anext(stream), 10) for _ in range(2)]
    assert [event.id for event in events] == ["evt_a_1", "evt_a_2"]
    assert cursors[:2] == ["0", "1-a-1"]


@asynccontextmanager
async def _served(act: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", act)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
