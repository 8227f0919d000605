"""Subscriptions, their deliveries, retries and replays."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from kling_relay.core.delivery import parse_delivery_id
from kling_relay.core.event import rfc3339
from kling_relay.core.ids import hook_id
from kling_relay.core.key import Scope
from kling_relay.store.access import secrets, subscription_headers
from kling_relay.store.deliveries import outbox, subscriptions
from kling_relay.store.deliveries.outbox import SettledAttempt
from kling_relay.web.http.context import RequestLimits
from tests.support.relay import ApiServer, serve_api

URL = "https://93.184.215.14/hook"


async def subscribe(api: ApiServer, **members: Any) -> dict[str, Any]:
    status, body = await api.post("/v1/subscriptions", {"url": URL, **members})
    assert status == 201, body
    return dict(body)


async def settle(api: ApiServer, deliveries: Sequence[str], outcome: str, **more: Any) -> None:
    """Record one more attempt of each delivery, as a worker would."""
    created = []
    for text in deliveries:
        key = parse_delivery_id(text)
        assert key is not None
        _, body = await api.get(f"/v1/deliveries/{text}")
        defaults: dict[str, Any] = {
            "wait": 3600.0,
            "at": datetime.now(UTC),
            "latency": 0.0123,
            "status": 200 if outcome == "delivered" else 500,
            "error": None,
            "answer": b"well",
        }
        created.append(
            SettledAttempt(
                subscription=key.subscription,
                subject=key.subject,
                sequence=key.sequence,
                attempt=body["attempt_count"] + 1,
                outcome=outcome,
                **{**defaults, **more},
            )
        )
    await outbox.settle(api.database, created)


async def list_deliveries(api: ApiServer, query: str = "", key: str | None = None) -> list[dict[str, Any]]:
    status, body = await api.get(f"/v1/deliveries?{query}", key)
    assert status == 200, body
    return list(body["data"])


async def test_a_new_subscription_s_secret_is_shown_once(api: ApiServer) -> None:
    created = await subscribe(api, events=["task.succeed"], headers={"X-Team": "a"}, ordering="task", max_in_flight=3)
    assert created["secret"].startswith("whsec_")
    _, shown = await api.get(f"/v1/subscriptions/{created['id']}")
    assert "secret" not in shown
    assert {name: created[name] for name in shown} == shown
    assert (shown["status"], shown["events"], shown["ordering"]) == ("active", ["task.succeed"], "task")
    row = await subscriptions.get(api.database, api.client, UUID(created["id"]))
    assert row is not None
    assert created["secret"].encode() not in row.secrets
    assert secrets.decrypt_secrets(api.encryptor, row.id, row.secrets) == [created["secret"]]
    assert created["secret"] not in repr(row)


async def test_an_invalid_subscription_is_refused_with_every_fault(api: ApiServer) -> None:
    status, body = await api.post(
        "/v1/subscriptions",
        {
            "url": "",
            "events": ["task.nothing"],
            "headers": {"webhook-id": "x"},
            "format": "xml",
            "max_in_flight": 0,
            "colour": "red",
        },
    )
    assert status == 400
    assert {fault["field"] for fault in body["errors"]} == {
        "url",
        "events",
        "headers",
        "format",
        "max_in_flight",
        "colour",
    }


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "http://[::1]/", "http://2130706434:1@0xa9fea9fe/", "ftp://x.example"]
)
async def test_a_url_with_an_internal_address_is_refused(api: ApiServer, url: str) -> None:
    status, body = await api.post("/v1/subscriptions", {"url": url})
    assert (status, [fault["field"] for fault in body["errors"]]) == (400, ["url"])


async def test_a_change_leaves_other_members_as_they_are(api: ApiServer) -> None:
    created = await subscribe(api, description="one")
    status, body = await api.call(
        "PATCH", f"/v1/subscriptions/{created['id']}", json={"events": ["task.*"], "headers": {"X-A": "b"}}
    )
    assert (status, body["events"], body["headers"], body["description"]) == (200, ["task.*"], {"X-A": "b"}, "one")
    assert body["url"] == created["url"]


async def test_a_header_that_may_be_a_secret_is_hidden_and_kept_when_sent_back_hidden(api: ApiServer) -> None:
    values = {"Authorization": "Bearer let-me-in", "X-Team": "a", "X-Api-Key": "0", "X-Odd": "Basic bGV0OmlU"}
    hidden = {name: text if name == "X-Team" else "[hidden]" for name, text in values.items()}
    created = await subscribe(api, headers=values)
    url_path = f"/v1/subscriptions/{created['id']}"
    shown = [
        created["headers"],
        (await api.get(url_path))[1]["headers"],
        (await api.get("/v1/subscriptions"))[1]["data"][0],
    ]
    assert [*shown[:2], shown[2]["headers"]] == [hidden] * 3
    _, changed = await api.call("PATCH", url_path, json={"headers": {**hidden, "X-Team": "b", "X-Odd": "plain"}})
    assert changed["headers"] == {**hidden, "X-Team": "b", "X-Odd": "plain"}
    assert await stored_headers(api, created["id"]) == {**values, "X-Team": "b", "X-Odd": "plain"}
    await api.call("PATCH", url_path, json={"description": "another"})
    assert (await stored_headers(api, created["id"]))["X-Team"] == "b"
    for method, path in (("PATCH", url_path), ("POST", "/v1/subscriptions")):
        wrong = {"url": URL, "headers": {"X-New-Token": "[hidden]"}}
        status, body = await api.call(method, path, json=wrong)
        assert (status, [fault["field"] for fault in body["errors"]]) == (400, ["headers"])
    await api.call("PATCH", url_path, json={"headers": {}})
    assert await stored_headers(api, created["id"]) == {}


async def stored_headers(api: ApiServer, identifier: str) -> dict[str, str]:
    row = await subscriptions.get(api.database, api.client, UUID(identifier))
    assert row is not None
    return subscription_headers.decrypt(api.encryptor, row.id, row.headers)


async def test_max_in_flight_defaults_to_a_setting(database: str) -> None:
    async with serve_api(database, RequestLimits(in_flight=7)) as api:
        assert (await subscribe(api))["max_in_flight"] == 7
        assert (await subscribe(api, max_in_flight=3))["max_in_flight"] == 3


async def test_a_subscription_is_paused_and_resumed(api: ApiServer) -> None:
    subscription = (await subscribe(api))["id"]
    _, paused = await api.post(f"/v1/subscriptions/{subscription}/pause")
    status, refused = await api.post(f"/v1/subscriptions/{subscription}/test")
    _, resumed = await api.post(f"/v1/subscriptions/{subscription}/resume")
    assert (paused["status"], resumed["status"]) == ("paused", "active")
    assert (status, refused["code"]) == (409, 1204)


@pytest.mark.long
async def test_secrets_rotate_with_an_overlap(api: ApiServer) -> None:
    created = await subscribe(api)
    _, second = await api.post(f"/v1/subscriptions/{created['id']}/rotate-secret", {"overlap_seconds": 60})
    row = await subscriptions.get(api.database, api.client, UUID(created["id"]))
    assert row is not None
    assert secrets.decrypt_secrets(api.encryptor, row.id, row.secrets) == [second["secret"], created["secret"]]
    assert row.old_secrets_until is not None
    _, third = await api.post(f"/v1/subscriptions/{created['id']}/rotate-secret", {"overlap_seconds": 0})
    row = await subscriptions.get(api.database, api.client, UUID(created["id"]))
    assert row is not None
    assert secrets.decrypt_secrets(api.encryptor, row.id, row.secrets) == [third["secret"]]
    assert row.old_secrets_until is None


async def test_a_deleted_subscription_leaves_no_pending_deliveries(api: ApiServer) -> None:
    subscription = (await subscribe(api))["id"]
    await api.order()
    assert len(await list_deliveries(api)) == 1
    status, _ = await api.call("DELETE", f"/v1/subscriptions/{subscription}")
    assert status == 204
    assert await list_deliveries(api) == []
    assert (await api.get(f"/v1/subscriptions/{subscription}"))[0] == 404
    assert (await api.call("DELETE", f"/v1/subscriptions/{subscription}"))[0] == 404
    assert await api.database.pool.fetchval("SELECT count(*) FROM pending_deliveries") == 0


async def test_another_client_can_neither_see_nor_change_a_subscription(api: ApiServer) -> None:
    subscription = (await subscribe(api))["id"]
    await api.order()
    delivery = (await list_deliveries(api))[0]["id"]
    other = await api.create_key("other")
    assert (await api.get("/v1/subscriptions", other))[1]["data"] == []
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/rotate-secret"),
        ("POST", "/test"),
    ):
        status, _ = await api.call(
            method, f"/v1/subscriptions/{subscription}{path}", other, json={} if method != "GET" else None
        )
        assert status == 404, path
    replay = {"since": "2020-01-01T00:00:00Z", "only": "all"}
    assert (await api.post(f"/v1/subscriptions/{subscription}/replay", replay, other))[0] == 404
    assert await list_deliveries(api, key=other) == []
    assert await list_deliveries(api, f"subscription={subscription}", other) == []
    assert (await api.get(f"/v1/deliveries/{delivery}", other))[0] == 404
    assert (await api.post(f"/v1/deliveries/{delivery}/retry", None, other))[0] == 404
    assert (await api.get(f"/v1/subscriptions/{subscription}"))[1]["status"] == "active"


async def test_pages_of_subscriptions_are_newest_first(api: ApiServer) -> None:
    created = [(await subscribe(api))["id"] for _ in range(3)]
    _, first = await api.get("/v1/subscriptions?limit=2")
    _, second = await api.get(f"/v1/subscriptions?limit=2&cursor={first['next_cursor']}")
    assert [item["id"] for item in first["data"] + second["data"]] == sorted(
        created, reverse=True
    )  # by the millisecond
    assert second["next_cursor"] is None


async def test_a_delivery_shows_its_attempts_with_their_responses(api: ApiServer) -> None:
    await subscribe(api)
    task = await api.order()
    delivery = (await list_deliveries(api))[0]
    assert (delivery["status"], delivery["attempt_count"], delivery["task_id"]) == ("pending", 0, task)
    await settle(api, [delivery["id"]], "failed", error=None, answer=b"\xffno")
    _, body = await api.get(f"/v1/deliveries/{delivery['id']}")
    assert (body["status"], body["attempt_count"], body["last_status"]) == ("pending", 1, 500)
    assert body["next_attempt_at"] > body["last_attempt_at"]
    assert body["url"] == URL
    assert '"type":"task.submitted"' in body["body"]
    attempt = body["attempts"][0]
    assert (attempt["attempt"], attempt["status"], attempt["outcome"]) == (1, 500, "failed")
    assert (attempt["latency_ms"], attempt["answer"]) == (12.3, "\ufffdno")


async def test_deliveries_are_found_by_status_event_and_task(api: ApiServer) -> None:
    subscription = (await subscribe(api))["id"]
    two = (await subscribe(api, events=["task.succeed"]))["id"]
    first, second = await api.order("one"), await api.order("two")
    await api.succeed(first)
    everything = await list_deliveries(api)
    assert len(everything) == 4
    of_one = await list_deliveries(api, f"subscription={subscription}&task={first}")
    assert len(of_one) == 2
    await settle(api, [of_one[0]["id"]], "delivered")
    await settle(api, [of_one[1]["id"]], "exhausted")
    assert [item["id"] for item in await list_deliveries(api, "status=delivered")] == [of_one[0]["id"]]
    assert [item["id"] for item in await list_deliveries(api, "status=exhausted")] == [of_one[1]["id"]]
    assert [item["task_id"] for item in await list_deliveries(api, f"status=pending&subscription={subscription}")] == [
        second
    ]
    assert [
        item["subscription"] for item in await list_deliveries(api, f"event=evt_{UUID(first).hex}_2&status=pending")
    ] == [two]
    assert len(await list_deliveries(api)) == 4
    pages: list[str] = []
    cursor = ""
    while True:
        _, page = await api.get(f"/v1/deliveries?limit=1{cursor}")
        pages += [item["id"] for item in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert pages == [item["id"] for item in await list_deliveries(api)]


async def test_events_for_an_order_s_hook_are_deliveries_too(api: ApiServer) -> None:
    task = await api.order(notify_hook=URL)
    hook = hook_id(api.client, URL)
    items = await list_deliveries(api)
    assert [(item["subscription"], item["task_id"]) for item in items] == [(str(hook), task)]
    assert await list_deliveries(api, f"task={task}") == await list_deliveries(api, "status=pending") == items
    _, shown = await api.get(f"/v1/subscriptions/{hook}")
    assert (shown["is_hook"], shown["format"], shown["url"]) == (True, "kling", URL)
    assert (await api.post(f"/v1/subscriptions/{hook}/rotate-secret"))[0] == 404
    _, body = await api.get(f"/v1/deliveries/{items[0]['id']}")
    assert body["body"].startswith('{"task_id":')
    await settle(api, [items[0]["id"]], "exhausted")
    assert len(await list_deliveries(api, "status=exhausted")) == 1


async def test_an_exhausted_and_a_delivered_delivery_can_be_retried(api: ApiServer) -> None:
    await subscribe(api)
    await api.order()
    delivery = (await list_deliveries(api))[0]["id"]
    await settle(api, [delivery], "exhausted")
    status, body = await api.post(f"/v1/deliveries/{delivery}/retry")
    assert (status, body["status"], body["attempt_count"]) == (202, "pending", 1)
    await settle(api, [delivery], "delivered")
    assert [item["status"] for item in await list_deliveries(api)] == ["delivered"]
    status, body = await api.post(f"/v1/deliveries/{delivery}/retry")
    assert (status, body["status"], body["attempt_count"]) == (202, "pending", 2)
    await settle(api, [delivery], "delivered")
    assert [(item["id"], item["status"], item["attempt_count"]) for item in await list_deliveries(api)] == [
        (delivery, "delivered", 3)
    ]


async def test_a_retry_by_filter_retries_only_matching_deliveries(api: ApiServer) -> None:
    first, second = (await subscribe(api))["id"], (await subscribe(api))["id"]
    tasks = [await api.order(f"number {number}") for number in range(3)]
    await settle(api, [item["id"] for item in await list_deliveries(api)], "exhausted")
    status, body = await api.post("/v1/deliveries/retry", {"subscription": first, "task": tasks[0]})
    assert (status, body) == (202, {"count": 1})
    (pending,) = await list_deliveries(api, "status=pending")
    assert (pending["subscription"], pending["task_id"]) == (first, tasks[0])
    assert (await api.post("/v1/deliveries/retry", {"subscription": second, "limit": 2}))[1] == {"count": 2}
    assert (await api.post("/v1/deliveries/retry", {"status": "exhausted"}))[1] == {"count": 3}
    assert await list_deliveries(api, "status=exhausted") == []
    assert (await api.post("/v1/deliveries/retry", {}))[1] == {"count": 0}
    status, body = await api.post("/v1/deliveries/retry", {"status": "lost", "limit": 0})
    assert (status, {fault["field"] for fault in body["errors"]}) == (400, {"status", "limit"})
    status, body = await api.post("/v1/deliveries/retry", {"task": "x", "subscription": "y"})
    assert (status, {fault["field"] for fault in body["errors"]}) == (400, {"task", "subscription"})


async def test_a_replay_of_failed_deliveries_leaves_the_rest(api: ApiServer) -> None:
    subscription = (await subscribe(api))["id"]
    for number in range(3):
        await api.order(f"number {number}")
    ids = [item["id"] for item in await list_deliveries(api)]
    await settle(api, ids[:1], "delivered")
    await settle(api, ids[1:], "exhausted")
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    status, body = await api.post(f"/v1/subscriptions/{subscription}/replay", {"since": since})
    assert (status, body) == (202, {"count": 2})
    assert [item["status"] for item in await list_deliveries(api)] == ["delivered", "pending", "pending"]


async def test_a_replay_of_all_includes_events_before_the_subscription(api: ApiServer) -> None:
    task = await api.order()
    await api.succeed(task)
    subscription = (await subscribe(api, events=["task.succeed"]))["id"]
    await api.wait_until_readable()
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    status, body = await api.post(f"/v1/subscriptions/{subscription}/replay", {"since": since, "only": "all"})
    assert (status, body) == (202, {"count": 1})
    assert [item["event"] for item in await list_deliveries(api)] == [f"evt_{UUID(task).hex}_2"]
    status, _ = await api.post(f"/v1/subscriptions/{subscription}/replay", {"since": "2999-01-01T00:00:00Z"})
    assert status == 400


async def test_a_replay_is_limited_to_its_time_span(api: ApiServer) -> None:
    before = await api.order("before")
    since = await api.database.pool.fetchval("SELECT clock_timestamp()")
    between = await api.order("between")
    until = await api.database.pool.fetchval("SELECT clock_timestamp()")
    after = await api.order("after")
    subscription = (await subscribe(api))["id"]
    await api.wait_until_readable()
    span = {"since": since.isoformat(), "until": until.isoformat(), "only": "all"}
    status, body = await api.post(f"/v1/subscriptions/{subscription}/replay", span)
    assert (status, body) == (202, {"count": 1})
    assert {item["task_id"] for item in await list_deliveries(api)} == {between}, (before, after)


@pytest.mark.parametrize(
    "since", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", -1, 1e300, "1e300", "soon"]
)
async def test_an_impossible_time_is_refused(api: ApiServer, since: object) -> None:
    subscription = (await subscribe(api))["id"]
    status, body = await api.post(f"/v1/subscriptions/{subscription}/replay", {"since": since})
    assert (status, [fault["field"] for fault in body["errors"]]) == (400, ["since"])


async def test_an_event_and_another_task_together_match_nothing(api: ApiServer) -> None:
    await subscribe(api)
    task, other = await api.order("one"), await api.order("other")
    assert len(await list_deliveries(api, f"event=evt_{UUID(task).hex}_1&task={task}")) == 1
    assert await list_deliveries(api, f"event=evt_{UUID(task).hex}_1&task={other}") == []


async def test_a_test_event_goes_to_one_subscription_only(api: ApiServer) -> None:
    subscription = (await subscribe(api, events=["task.succeed"]))["id"]
    await subscribe(api)
    status, body = await api.post(f"/v1/subscriptions/{subscription}/test")
    assert status == 202
    items = await list_deliveries(api)
    assert [(item["id"], item["type"]) for item in items] == [(body["delivery"], "subscription.test")]
    assert items[0]["task_id"] is None
    assert body["event"] == items[0]["event"]
    _, delivery = await api.get(f"/v1/deliveries/{body['delivery']}")
    assert json.loads(delivery["body"])["data"]["subscription_id"] == subscription


@pytest.mark.long
async def test_the_secret_of_hooks_can_be_read_and_rotated(api: ApiServer) -> None:
    _, first = await api.get("/v1/hook-secret")
    _, again = await api.get("/v1/hook-secret")
    _, second = await api.post("/v1/hook-secret/rotate")
    _, now = await api.get("/v1/hook-secret")
    assert first == again != second == now
    assert first["secret"].startswith("whsec_")
    reader = await api.create_key("tests", [Scope.READ])
    assert (await api.get("/v1/hook-secret", reader))[0] == 403


async def test_a_held_delivery_says_why_and_until_when(api: ApiServer) -> None:
    subscription = (await subscribe(api))["id"]
    await api.order()
    probe_at = datetime.now(UTC) + timedelta(seconds=40)

    async def shown(**members: Any) -> tuple[str | None, str | None]:
        columns = ", ".join(f"{name} = ${place}" for place, name in enumerate(members, 1))
        await api.database.pool.execute(f"UPDATE subscriptions SET {columns}", *members.values())
        (delivery,) = await list_deliveries(api)
        _, single = await api.get(f"/v1/deliveries/{delivery['id']}")
        _, overview = await api.get("/v1/overview")
        (counts,) = overview["subscriptions"]
        assert single["next_attempt_at"] == delivery["next_attempt_at"] == counts["next_attempt_at"]
        assert single["held"] == delivery["held"]
        return delivery["held"], delivery["next_attempt_at"]

    held, due_at = await shown(probe_at=None)
    assert held is None
    assert datetime.fromisoformat(due_at or "") <= datetime.now(UTC)
    assert await shown(probe_at=probe_at) == ("probe", rfc3339(probe_at))
    assert (await shown(probe_at=datetime.now(UTC) - timedelta(seconds=5)))[0] == "probe"  # which is under way
    assert await shown(paused_at=datetime.now(UTC)) == ("paused", None)
    assert await shown(disabled_at=datetime.now(UTC)) == ("disabled", None)
    await api.post(f"/v1/subscriptions/{subscription}/resume", {})
    assert await shown(failing_since=None) == (None, due_at)
    later = "UPDATE pending_deliveries SET due_at = now() + interval '1 hour'"
    await api.database.pool.execute(later)
    assert (await shown(probe_at=probe_at))[0] is None  # it waits for its own retry
