"""The provider's client over real sockets: one POST per order, repeated only if it certainly did not leave."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from aiohttp import web

from kling_relay.core.submission import Accepted, AccountRefused, NoAnswer, NoSuchTask, Refused, RetryLater, Unknown
from kling_relay.core.task import Signal, SignalKind
from kling_relay.provider.client import MAX_RESPONSE, Provider
from kling_relay.provider.dialects import GATEWAY, KLING, AccessKeys, ApiKey, Dialect, credential
from tests.support.waiting import eventually

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TASK = UUID("0193569d-7c00-7000-8000-000000000001")
HOOK = 'https://relay.example/callbacks/1/tok"en'
KEY = "hk-very-secret"

Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answering: Answering) -> AsyncIterator[str]:
    """Serve a provider and yield its base URL."""
    runner = web.ServerRunner(web.Server(answering))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def breaking(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve `answer` to every request, then close the connection. Yield the URL and the received requests."""
    received: list[bytes] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", received


def provider(url: str, dialect: Dialect = GATEWAY, **more: Any) -> Provider:
    return Provider(url=url, key=KEY, dialect=dialect, **more)


def created(status: str = "submitted") -> dict[str, Any]:
    return {"code": 0, "message": "成功", "request_id": "R", "data": {"task_id": "T/1", "task_status": status}}


@pytest.mark.parametrize(
    ("dialect", "path", "hooks"),
    [
        (GATEWAY, "/kling/v1/videos/text2video", {"notify_hook"}),
        (KLING, "/v1/videos/text2video", {"callback_url"}),
        (GATEWAY.with_hook_fields(["callback_url", "notify_hook"]), "/kling/v1/videos/text2video",
         {"notify_hook", "callback_url"}),
    ],
)  # fmt: skip
async def test_an_order_leaves_with_our_hook_and_our_id(dialect: Dialect, path: str, hooks: set[str]) -> None:
    received: list[Any] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        received.append((request.path, request.headers["Authorization"], await request.json(), request.content_type))
        return web.json_response(created())

    fields = {
        "prompt": "漫画兔子",
        "notify_hook": "https://client.example",
        "callback_url": "x",
        "external_task_id": "E",
    }
    async with serving(answer) as url, provider(url + "/", dialect) as client:
        body = client.order_body(fields)
        assert json.loads(body) == {"prompt": "漫画兔子"}
        outcome = await client.submit("videos/text2video", body, TASK, HOOK, NOW)
    assert outcome == Accepted("T/1", Signal(kind=SignalKind.SUBMITTED, provider_task_id="T/1"))
    sent = {"prompt": "漫画兔子", "external_task_id": str(TASK)} | dict.fromkeys(hooks, HOOK)
    assert received == [(path, f"Bearer {KEY}", sent, "application/json")]


async def test_an_empty_and_a_huge_order_get_hook_and_id() -> None:
    received: list[Any] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        received.append(json.loads(await request.content.read()))
        return web.json_response(created())

    huge = "A" * (20 * 1024 * 1024)
    async with serving(answer) as url, provider(url) as client:
        for fields in ({}, {"image": huge}):
            assert isinstance(
                await client.submit("images/generations", client.order_body(fields), TASK, HOOK, NOW), Accepted
            )
    ours = {"notify_hook": HOOK, "external_task_id": str(TASK)}
    assert received == [ours, {"image": huge} | ours]


async def test_the_size_of_a_response_is_limited_by_a_setting() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.json_response(created())

    async with serving(answer) as url:
        for limit, kind in ((20, Unknown), (2000, Accepted)):
            async with Provider(url=url, key=KEY, dialect=GATEWAY, max_response=limit) as client:
                body = client.order_body({"prompt": "a"})
                assert isinstance(await client.submit("videos/text2video", body, TASK, HOOK, NOW), kind)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, '{"code":1201,"message":"bad","request_id":"R"}', Refused),
        (429, '{"code":1303,"message":"full","request_id":"R"}', RetryLater),
        (429, '{"code":1102,"message":"empty","request_id":"R"}', AccountRefused),
        (401, '{"code":1002,"message":"who","request_id":"R"}', AccountRefused),
        (503, '{"code":5001,"message":"maintenance","request_id":"R"}', RetryLater),
        (502, "<html>Bad Gateway</html>", Unknown),
        (500, '{"code":5000,"message":"internal","request_id":"R"}', Unknown),
        (200, '{"code":0,"data":{"task_id":"T","x":"' + "y" * MAX_RESPONSE + '"}}', Unknown),
        (307, "", AccountRefused),
    ],
)
async def test_a_response_has_its_outcome(status: int, body: str, kind: type) -> None:
    calls = []

    async def answer(request: web.BaseRequest) -> web.Response:
        calls.append(request.path)
        await request.read()
        return web.Response(status=status, text=body, headers={"Retry-After": "7", "Location": "/elsewhere"})

    async with serving(answer) as url, provider(url) as client:
        outcome = await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW)
    assert isinstance(outcome, kind), outcome
    assert len(calls) == 1
    if isinstance(outcome, RetryLater):
        assert outcome.retry_after == 7.0


def closed_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}", "http://nowhere.invalid", "https://127.0.0.1:{}"])
async def test_an_order_without_a_connection_is_retried_later(url: str) -> None:
    async with provider(url.format(closed_port())) as client:
        outcome = await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW)
        assert isinstance(outcome, RetryLater)
        assert outcome.code == 0
        assert isinstance(await client.poll("videos/text2video", "T", TASK, NOW), NoAnswer)


async def test_an_order_whose_handshake_hangs_is_retried_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        async with provider(url, connect_timeout=0.1) as client:
            outcome = await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW)
    assert outcome == RetryLater(0, "no connection to the provider: timed out")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
        b"SSH-2.0\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 99_999,
    ],
)
async def test_an_order_whose_answer_is_lost_is_unknown_and_never_sent_twice(answer: bytes) -> None:
    async with breaking(answer) as (url, received), provider(url) as client:
        outcome = await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW)
        assert isinstance(outcome, Unknown), outcome
        assert len(received) == 1
        assert isinstance(await client.poll("videos/text2video", "T", TASK, NOW), NoAnswer)


async def test_an_order_that_waits_for_a_connection_has_not_left() -> None:
    there, free = asyncio.Event(), asyncio.Event()

    async def hang(_: web.BaseRequest) -> web.Response:
        there.set()
        await free.wait()
        return web.Response(body=b'{"code": 0, "data": {"task_id": "p-1"}}')

    async with serving(hang) as url, provider(url, connections=1, connect_timeout=0.2) as client:
        first = asyncio.create_task(client.submit("videos/text2video", b"{}", TASK, HOOK, NOW))
        await there.wait()
        second = await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW)
        free.set()
        assert isinstance(second, RetryLater)
        assert isinstance(await first, Accepted)


@pytest.mark.long
async def test_an_order_that_may_not_be_sent_any_more_leaves_nothing_on_the_connection() -> None:
    received: list[bytes] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, provider(url) as client:
        outcome = await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW, may_send=lambda: False)
        assert outcome == RetryLater(0, "this process stood still before it sent the order")
        await eventually(lambda: received)
    assert received == [b""]


async def test_an_order_that_may_not_be_completed_any_more_is_cut_off_and_unknown() -> None:
    received: list[bytes] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    answers = [True, True, False]
    async with server, provider(url) as client:
        body = client.order_body({"image": "A" * 150_000})
        outcome = await client.submit("images/generations", body, TASK, HOOK, NOW, may_send=lambda: answers.pop(0))
        assert outcome == Unknown("the order was cut off: this process stood still")
        await eventually(lambda: received)
    assert 2 * 65536 < len(received[0]) < len(body)
    assert not answers


async def test_an_order_with_a_slow_answer_is_unknown() -> None:
    release = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        await release.wait()
        return web.json_response(created())

    async with serving(answer) as url, provider(url, submit_timeout=0.1, poll_timeout=0.1) as client:
        outcome = await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW)
        finding = await client.poll("videos/text2video", "T", TASK, NOW)
        release.set()
    assert outcome == Unknown("the provider's answer was lost: timed out")
    assert finding == NoAnswer("the provider does not answer: timed out")


async def test_an_order_on_a_dead_idle_connection_is_unknown_and_not_doubled() -> None:
    """The server answers one request and closes the connection at the next one."""
    received: list[bytes] = []
    good = json.dumps(created()).encode()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"}"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(good), good))
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, provider(url) as client:
        assert isinstance(await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW), Accepted)
        assert isinstance(await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW), Unknown)
    assert len(received) == 2


async def test_a_poll_on_a_dead_idle_connection_is_made_again() -> None:
    polls = 0
    good = json.dumps(created("processing")).encode()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal polls
        for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(good), good), b""):
            try:
                request = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:  # the client is done
                break
            assert request.startswith(b"GET ")
            polls += 1
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server, provider(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        for _ in range(2):
            assert isinstance(await client.poll("videos/text2video", "T", TASK, NOW), Signal)
    assert polls == 3


async def test_a_late_order_leaves_its_connection_to_the_next_one() -> None:
    received: list[str] = []
    connections = set()

    async def answer(request: web.BaseRequest) -> web.Response:
        received.append(request.method)
        connections.add(request.transport)
        await request.read()
        return web.json_response(created())

    answers = [True, False, True]
    async with serving(answer) as url, provider(url) as client:
        outcomes = [
            await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW, may_send=lambda: answers.pop(0))
            for _ in range(3)
        ]
    assert [type(outcome) for outcome in outcomes] == [Accepted, RetryLater, Accepted]
    assert (len(received), len(connections), answers) == (2, 1, [])


async def test_nobody_is_asked_whether_to_send_before_there_is_a_connection() -> None:
    questions: list[bool] = []

    def ask() -> bool:
        questions.append(True)
        return False

    async with provider(f"http://127.0.0.1:{closed_port()}") as client:
        outcome = await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW, may_send=ask)
    assert outcome == RetryLater(0, "no connection to the provider: refused")
    assert not questions


async def test_a_huge_order_that_nobody_reads_ends_with_its_time() -> None:
    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await over.wait()
        writer.close()

    over = asyncio.Event()
    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, provider(url, submit_timeout=0.3) as client:
        body = client.order_body({"image": "A" * (28 * 1024 * 1024)})
        outcome = await client.submit("videos/text2video", body, TASK, HOOK, NOW)
        over.set()
    assert outcome == Unknown("the provider's answer was lost: timed out")


async def test_a_huge_order_may_be_answered_before_it_is_read() -> None:
    answer = b'{"code":1201,"message":"too long"}'

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        await over.wait()
        writer.close()

    over = asyncio.Event()
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, provider(url) as client:
        body = client.order_body({"image": "A" * (28 * 1024 * 1024)})
        outcome = await client.submit("videos/text2video", body, TASK, HOOK, NOW)
        over.set()
    assert outcome == Refused(1201, "too long", 400)


@pytest.mark.parametrize("coding", [web.ContentCoding.gzip, web.ContentCoding.deflate])
async def test_an_answer_that_is_compressed_against_our_wish_is_read(coding: web.ContentCoding) -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        response = web.Response(body=json.dumps(created()).encode(), content_type="application/json")
        response.enable_compression(coding)
        return response

    async with serving(answer) as url, provider(url) as client:
        assert isinstance(await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW), Accepted)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b'HTTP/1.1 200 OK\r\n\r\n{"code":0,"data":{"task_id":"T"}}', Accepted),
        (b'HTTP/1.1 400 Bad\r\nContent-Length: 90\r\n\r\n{"code":1201,"message":"bad"}', Unknown),
        (b'HTTP/1.1 400 Bad\nContent-Length: 29\n\n{"code":1201,"message":"bad"}', Unknown),
        (b'HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n1d\r\n{"code":1201,"message":"bad"}\r\n', Unknown),
    ],
)
async def test_an_answer_counts_only_with_its_end(answer: bytes, kind: type) -> None:
    async with breaking(answer) as (url, received), provider(url) as client:
        assert isinstance(await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW), kind)
        assert len(received) == 1


async def test_a_task_is_polled_by_the_providers_id_or_by_ours() -> None:
    paths: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        paths.append(request.raw_path)
        return web.json_response(created("processing"))

    async with serving(answer) as url, provider(url) as client:
        finding = await client.poll("videos/text2video", "T/1", TASK, NOW)
        assert finding == Signal(kind=SignalKind.PROCESSING, provider_task_id="T/1")
        await client.poll("images/generations", None, TASK, NOW)
    assert paths == ["/kling/v1/videos/text2video/T%2F1", f"/kling/v1/images/generations/{TASK}"]


async def test_no_such_task_counts_only_for_ids_that_the_provider_certainly_knows() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.json_response({"code": 1203, "message": "no such task", "request_id": "R"}, status=404)

    async with serving(answer) as url, provider(url) as gateway, provider(url, KLING) as kling:
        assert await gateway.poll("videos/text2video", "T", TASK, NOW) == NoSuchTask()
        assert isinstance(await gateway.poll("videos/text2video", None, TASK, NOW), NoAnswer)
        assert await kling.poll("videos/text2video", None, TASK, NOW) == NoSuchTask()


@pytest.mark.parametrize(("status", "text"), [(502, "<html>"), (200, "<html>"), (429, '{"code":1302}'), (200, "{}")])
async def test_a_failed_poll_says_nothing(status: int, text: str) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, text=text)

    async with serving(answer) as url, provider(url) as client:
        assert isinstance(await client.poll("videos/text2video", "T", TASK, NOW), NoAnswer)


def test_access_keys_make_tokens_that_are_renewed_before_they_expire() -> None:
    keys = credential(KLING, "access:" + "s" * 32)
    assert isinstance(keys, AccessKeys)
    first = keys.authorization(NOW)
    claims = jwt.decode(
        first.removeprefix("Bearer "),
        "s" * 32,
        algorithms=["HS256"],
        options={"verify_exp": False, "verify_nbf": False},
    )
    now = int(NOW.timestamp())
    assert claims == {"iss": "access", "exp": now + 1800, "nbf": now - 5}
    assert keys.authorization(NOW + timedelta(seconds=1499)) == first
    assert keys.authorization(NOW + timedelta(seconds=1500)) != first
    assert keys.authorization(NOW - timedelta(days=1)) != first


def test_a_gateways_key_is_sent_as_it_is_even_with_a_colon() -> None:
    assert credential(GATEWAY, "hk:1") == ApiKey("hk:1")
    assert credential(KLING, "plain") == ApiKey("plain")


async def test_the_key_and_the_hook_appear_in_no_repr_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with provider("http://nowhere.invalid", KLING) as client:
        outcome = await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW)
    shown = f"{client!r} {client.__dict__!r} {outcome!r} {caplog.text} {AccessKeys('a', KEY)!r}"
    assert KEY not in shown
    assert "tok" not in shown


async def test_an_answer_in_another_charset_keeps_its_words() -> None:
    answers = [
        (400, {"code": 1201, "message": "提示词违规"}, Refused(1201, "提示词违规", 400)),
        (
            422,
            {"detail": [{"loc": ["body", "prompt"], "msg": "缺少字段"}]},
            Refused(1200, "body.prompt: 缺少字段", 422),
        ),
    ]

    async def answer(_: web.BaseRequest) -> web.Response:
        status, content, _outcome = answers[0]
        text = json.dumps(content, ensure_ascii=False)
        return web.Response(body=text.encode("gbk"), status=status, headers={"Content-Type": "text/json; charset=GBK"})

    async with serving(answer) as url, provider(url) as client:
        while answers:
            outcome = await client.submit("videos/text2video", b"{}", TASK, HOOK, NOW)
            assert outcome == answers.pop(0)[2]
