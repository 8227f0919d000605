"""A subscription's stored headers go only to the origin (scheme, host, port) that they were given for.

Whoever steals a key may change the URL. What it must not get that way is the credential by which we authenticate to the
subscriber.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from kling_relay.store.access import subscription_headers
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.deliveries import subscriptions
from tests.support.relay import ApiServer, serve_api
from tests.support.service import running, sandboxed, subscriber
from tests.support.waiting import eventually

URL = "https://subscriber.example.com/hook"
ELSEWHERE = "https://thief.example.com/hook"
SECRET = "Bearer let-me-in"
HEADERS = {"Authorization": SECRET, "X-Team": "a"}
HIDDEN = {"Authorization": "[hidden]", "X-Team": "a"}


@pytest.fixture
async def api(database: str) -> AsyncIterator[ApiServer]:
    async with serve_api(database) as server:
        yield server


async def subscribe(api: ApiServer, **members: Any) -> str:
    status, body = await api.post("/v1/subscriptions", {"url": URL, "headers": HEADERS, **members})
    assert status == 201, body
    return str(body["id"])


async def change(api: ApiServer, subscription: str, **members: Any) -> tuple[int, Any]:
    return await api.call("PATCH", f"/v1/subscriptions/{subscription}", json=members)


async def stored(api: ApiServer, subscription: str) -> tuple[str, dict[str, str]]:
    row = await subscriptions.get(api.database, api.client, UUID(subscription))
    assert row is not None
    return row.options.url, subscription_headers.decrypt(api.encryptor, row.id, row.headers)


async def test_a_new_address_never_receives_the_headers_of_the_old_one(database: str) -> None:
    async with (
        sandboxed() as (_, provider),
        subscriber() as honest,
        subscriber() as thief,
        running(database, provider) as relay,
    ):
        created = await relay.subscribe(honest.url, headers=HEADERS)
        path = f"/v1/subscriptions/{created['id']}"
        await relay.call("POST", f"{path}/test", json={})
        await eventually(lambda: honest.heard)
        assert honest.heard[0].headers["authorization"] == SECRET
        assert (await relay.call("PATCH", path, json={"url": thief.url}))[0] == 400
        assert (await relay.call("PATCH", path, json={"url": thief.url, "headers": HIDDEN}))[0] == 400
        status, _ = await relay.call("PATCH", path, json={"url": thief.url, "headers": {}})
        assert status == 200
        for action in ("rotate-secret", "test"):
            assert (await relay.call("POST", f"{path}/{action}", json={}))[0] in {200, 202}
        since = {"since": created["created_at"], "only": "all"}
        assert (await relay.call("POST", f"{path}/replay", json=since))[0] == 202
        await eventually(lambda: thief.heard)
        assert not any({"authorization", "x-team"} & heard.headers.keys() for heard in thief.heard)


@pytest.mark.parametrize(
    "url",
    [
        ELSEWHERE,
        URL.replace("https://", "http://"),
        "https://subscriber.example.com:8443/hook",
        "https://www.subscriber.example.com/hook",
        "https://subscriber.example.com.thief.example/hook",
        "https://93.184.215.14/hook",
    ],
)
@pytest.mark.parametrize("headers", [None, HIDDEN, {"authorization": "[hidden]"}])
async def test_a_url_of_another_origin_asks_for_the_headers_again(
    api: ApiServer, url: str, headers: dict[str, str] | None
) -> None:
    subscription = await subscribe(api)
    status, body = await change(api, subscription, url=url, headers=headers)
    assert (status, [fault["field"] for fault in body["errors"]]) == (400, ["headers"])
    assert "again" in body["errors"][0]["detail"]
    assert await stored(api, subscription) == (URL, HEADERS)


async def test_headers_that_are_given_with_a_new_origin_replace_the_old_ones(api: ApiServer) -> None:
    subscription = await subscribe(api)
    new_headers = {"Authorization": "Bearer for-the-new-one"}
    status, body = await change(api, subscription, url=ELSEWHERE, headers=new_headers)
    assert (status, body["url"], body["headers"]) == (200, ELSEWHERE, {"Authorization": "[hidden]"})
    assert await stored(api, subscription) == (ELSEWHERE, new_headers)
    status, body = await change(api, subscription, url=URL, headers={})
    assert (status, body["headers"]) == (200, {})
    assert await stored(api, subscription) == (URL, {})


@pytest.mark.parametrize(
    "url",
    [
        "https://subscriber.example.com/another?path=1",
        "https://SUBSCRIBER.example.com:443/hook",
        "https://subscriber.example.com./hook",
    ],
)
async def test_a_url_of_the_same_origin_keeps_the_headers(api: ApiServer, url: str) -> None:
    subscription = await subscribe(api)
    status, body = await change(api, subscription, url=url)
    assert (status, body["headers"]) == (200, HIDDEN)
    assert (await stored(api, subscription))[1] == HEADERS
    status, _ = await change(api, subscription, url=URL, headers=HIDDEN)
    assert (status, await stored(api, subscription)) == (200, (URL, HEADERS))


async def test_a_subscription_without_headers_moves_freely(api: ApiServer) -> None:
    subscription = await subscribe(api, headers={})
    status, body = await change(api, subscription, url=ELSEWHERE)
    assert (status, body["url"], body["headers"]) == (200, ELSEWHERE, {})


async def test_headers_that_cannot_be_decrypted_are_asked_for_too(api: ApiServer) -> None:
    subscription = await subscribe(api)
    lost = subscription_headers.encrypt(Encryptor([b"another key" * 3]), UUID(subscription), HEADERS)
    await api.database.pool.execute("UPDATE subscriptions SET encrypted_headers = $1", lost)
    assert (await change(api, subscription, url=ELSEWHERE))[0] == 400
    assert (await change(api, subscription, url=ELSEWHERE, headers={}))[0] == 200


async def test_plaintext_headers_of_an_older_release_stay_at_their_origin_too(api: ApiServer) -> None:
    subscription = await subscribe(api, headers={})
    await api.database.pool.execute("UPDATE subscriptions SET headers = $1", '{"Authorization": "Bearer old"}')
    assert (await change(api, subscription, url=ELSEWHERE))[0] == 400
    assert (await stored(api, subscription))[0] == URL


@pytest.mark.parametrize("members", [{"url": ELSEWHERE}, {"url": ELSEWHERE, "headers": {}}, {"headers": HIDDEN}])
async def test_a_change_sees_the_url_and_the_headers_of_a_concurrent_one(
    api: ApiServer, database: str, members: dict[str, Any]
) -> None:
    """The row is changed between the read and the write of a request, so the request has to read it again."""
    subscription = await subscribe(api, headers=HEADERS if "url" not in members else {})
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction():
            if "url" in members:
                sealed = subscription_headers.encrypt(api.encryptor, UUID(subscription), HEADERS)
                await connection.execute("UPDATE subscriptions SET encrypted_headers = $1", sealed)
            else:
                await connection.execute("UPDATE subscriptions SET url = $1, encrypted_headers = ''", ELSEWHERE)
            request = asyncio.create_task(change(api, subscription, **members))
            await eventually(lambda: is_waiting_for_a_row(connection))
        status, _ = await request
    finally:
        await connection.close()
    url, headers = await stored(api, subscription)
    assert SECRET not in headers.values() or url == URL
    assert status == (200 if members.get("headers") == {} else 400)


@pytest.mark.parametrize(
    ("secret", "echo"),
    [
        ("Bearer let-me-in", '{"authorization": "Bearer let-me-in"}'),
        ("Bearer let-me-in", "your token let-me-in is odd"),
        ('Bearer a"quote', '{"authorization": "Bearer a\\"quote"}'),
        ("Basic dTpw", "Basic dTpw"),
    ],
)
async def test_an_answer_that_repeats_a_secret_header_is_shown_without_it(
    api: ApiServer, secret: str, echo: str
) -> None:
    """A path of the same origin may echo our request."""
    subscription = await subscribe(api, headers={"Authorization": secret, "X-Team": "blue"})
    task = await api.order()
    await api.database.pool.execute(
        "INSERT INTO attempts (subscription, subject, sequence, attempt, at, latency, outcome, answer)"
        " VALUES ($1, $2, 1, 1, now(), 0, 'failed', $3)",
        *(UUID(subscription), UUID(task), f"{echo}; x-team: blue".encode()),
    )
    (delivery,) = (await api.get("/v1/deliveries"))[1]["data"]
    _, body = await api.get(f"/v1/deliveries/{delivery['id']}")
    (attempt,) = body["attempts"]
    assert "[hidden]" in attempt["answer"]
    assert "x-team: blue" in attempt["answer"]
    for part in (secret, secret.split(" ")[1], secret.split(" ")[1].replace('"', '\\"')):
        assert part not in attempt["answer"]


async def is_waiting_for_a_row(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
    return bool(await connection.fetchval(waiting))
