"""Subscriptions over HTTP, and the deliveries that come of them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from kling_relay.core.delivery import parse_delivery_id
from kling_relay.core.ids import hook_id
from kling_relay.core.key import Scope
from kling_relay.store.access import headers, secrets
from kling_relay.store.deliveries import outbox, subscriptions
from kling_relay.store.deliveries.outbox import SettledAttempt
from kling_relay.web.http.context import Limits
from tests.support.relay import House, house

URL = "https://93.184.215.14/hook"


async def subscribe(home: House, **members: Any) -> dict[str, Any]:
    status, said = await home.post("/v1/subscriptions", {"url": URL, **members})
    assert status == 201, said
    return dict(said)


async def settle(home: House, deliveries: Sequence[str], outcome: str, **more: Any) -> None:
    """Write one more attempt of each delivery down, as a worker would."""
    made = []
    for text in deliveries:
        key = parse_delivery_id(text)
        assert key is not None
        _, said = await home.get(f"/v1/deliveries/{text}")
        usual: dict[str, Any] = {
            "wait": 3600.0,
            "at": datetime.now(UTC),
            "latency": 0.0123,
            "status": 200 if outcome == "delivered" else 500,
            "error": None,
            "answer": b"well",
        }
        made.append(
            SettledAttempt(
                subscription=key.subscription,
                subject=key.subject,
                sequence=key.sequence,
                attempt=said["attempt_count"] + 1,
                outcome=outcome,
                **{**usual, **more},
            )
        )
    await outbox.settle(home.database, made)


async def listed(home: House, query: str = "", key: str | None = None) -> list[dict[str, Any]]:
    status, said = await home.get(f"/v1/deliveries?{query}", key)
    assert status == 200, said
    return list(said["data"])


async def test_a_subscription_is_made_with_its_secret_shown_once(home: House) -> None:
    made = await subscribe(home, events=["task.succeed"], headers={"X-Team": "a"}, ordering="task", max_in_flight=3)
    assert made["secret"].startswith("whsec_")
    _, shown = await home.get(f"/v1/subscriptions/{made['id']}")
    assert "secret" not in shown
    assert {name: made[name] for name in shown} == shown
    assert (shown["status"], shown["events"], shown["ordering"]) == ("active", ["task.succeed"], "task")
    row = await subscriptions.get(home.database, home.client, UUID(made["id"]))
    assert row is not None
    assert made["secret"].encode() not in row.secrets
    assert secrets.decrypt_secrets(home.encryptor, row.id, row.secrets) == [made["secret"]]
    assert made["secret"] not in repr(row)


async def test_every_fault_of_a_subscription_is_named_at_once(home: House) -> None:
    status, said = await home.post(
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
    assert {fault["field"] for fault in said["errors"]} == {
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
async def test_an_address_that_cannot_be_outside_is_refused(home: House, url: str) -> None:
    status, said = await home.post("/v1/subscriptions", {"url": url})
    assert (status, [fault["field"] for fault in said["errors"]]) == (400, ["url"])


async def test_only_what_is_named_changes(home: House) -> None:
    made = await subscribe(home, description="one")
    status, said = await home.call(
        "PATCH", f"/v1/subscriptions/{made['id']}", json={"events": ["task.*"], "headers": {"X-A": "b"}}
    )
    assert (status, said["events"], said["headers"], said["description"]) == (200, ["task.*"], {"X-A": "b"}, "one")
    assert said["url"] == made["url"]


async def test_a_header_that_may_be_a_secret_is_hidden_and_kept_when_sent_back_hidden(home: House) -> None:
    given = {"Authorization": "Bearer let-me-in", "X-Team": "a", "X-Api-Key": "0", "X-Odd": "Basic bGV0OmlU"}
    hidden = {name: text if name == "X-Team" else "[hidden]" for name, text in given.items()}
    made = await subscribe(home, headers=given)
    one = f"/v1/subscriptions/{made['id']}"
    shown = [made["headers"], (await home.get(one))[1]["headers"], (await home.get("/v1/subscriptions"))[1]["data"][0]]
    assert [*shown[:2], shown[2]["headers"]] == [hidden] * 3
    _, changed = await home.call("PATCH", one, json={"headers": {**hidden, "X-Team": "b", "X-Odd": "plain"}})
    assert changed["headers"] == {**hidden, "X-Team": "b", "X-Odd": "plain"}
    assert await kept_headers(home, made["id"]) == {**given, "X-Team": "b", "X-Odd": "plain"}
    await home.call("PATCH", one, json={"description": "another"})
    assert (await kept_headers(home, made["id"]))["X-Team"] == "b"
    for method, path in (("PATCH", one), ("POST", "/v1/subscriptions")):
        wrong = {"url": URL, "headers": {"X-New-Token": "[hidden]"}}
        status, said = await home.call(method, path, json=wrong)
        assert (status, [fault["field"] for fault in said["errors"]]) == (400, ["headers"])
    await home.call("PATCH", one, json={"headers": {}})
    assert await kept_headers(home, made["id"]) == {}


async def kept_headers(home: House, identifier: str) -> dict[str, str]:
    row = await subscriptions.get(home.database, home.client, UUID(identifier))
    assert row is not None
    return headers.decrypt(home.encryptor, row.id, row.headers)


async def test_how_many_attempts_are_made_at_once_is_the_subscriptions_or_a_setting(database: str) -> None:
    async with house(database, Limits(in_flight=7)) as home:
        assert (await subscribe(home))["max_in_flight"] == 7
        assert (await subscribe(home, max_in_flight=3))["max_in_flight"] == 3


async def test_a_subscription_is_paused_and_resumed(home: House) -> None:
    one = (await subscribe(home))["id"]
    _, paused = await home.post(f"/v1/subscriptions/{one}/pause")
    status, refused = await home.post(f"/v1/subscriptions/{one}/test")
    _, resumed = await home.post(f"/v1/subscriptions/{one}/resume")
    assert (paused["status"], resumed["status"]) == ("paused", "active")
    assert (status, refused["code"]) == (409, 1204)


async def test_secrets_rotate_with_an_overlap(home: House) -> None:
    made = await subscribe(home)
    _, second = await home.post(f"/v1/subscriptions/{made['id']}/rotate-secret", {"overlap_seconds": 60})
    row = await subscriptions.get(home.database, home.client, UUID(made["id"]))
    assert row is not None
    assert secrets.decrypt_secrets(home.encryptor, row.id, row.secrets) == [second["secret"], made["secret"]]
    assert row.old_secrets_until is not None
    _, third = await home.post(f"/v1/subscriptions/{made['id']}/rotate-secret", {"overlap_seconds": 0})
    row = await subscriptions.get(home.database, home.client, UUID(made["id"]))
    assert row is not None
    assert secrets.decrypt_secrets(home.encryptor, row.id, row.secrets) == [third["secret"]]
    assert row.old_secrets_until is None


async def test_a_deleted_one_leaves_nothing_outstanding(home: House) -> None:
    one = (await subscribe(home))["id"]
    await home.order()
    assert len(await listed(home)) == 1
    status, _ = await home.call("DELETE", f"/v1/subscriptions/{one}")
    assert status == 204
    assert await listed(home) == []
    assert (await home.get(f"/v1/subscriptions/{one}"))[0] == 404
    assert (await home.call("DELETE", f"/v1/subscriptions/{one}"))[0] == 404
    assert await home.database.pool.fetchval("SELECT count(*) FROM pending_deliveries") == 0


async def test_another_client_sees_and_changes_nothing(home: House) -> None:
    one = (await subscribe(home))["id"]
    await home.order()
    delivery = (await listed(home))[0]["id"]
    other = await home.key_of("other")
    assert (await home.get("/v1/subscriptions", other))[1]["data"] == []
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/rotate-secret"),
        ("POST", "/test"),
    ):
        status, _ = await home.call(
            method, f"/v1/subscriptions/{one}{path}", other, json={} if method != "GET" else None
        )
        assert status == 404, path
    replay = {"since": "2020-01-01T00:00:00Z", "only": "all"}
    assert (await home.post(f"/v1/subscriptions/{one}/replay", replay, other))[0] == 404
    assert await listed(home, key=other) == []
    assert await listed(home, f"subscription={one}", other) == []
    assert (await home.get(f"/v1/deliveries/{delivery}", other))[0] == 404
    assert (await home.post(f"/v1/deliveries/{delivery}/retry", None, other))[0] == 404
    assert (await home.get(f"/v1/subscriptions/{one}"))[1]["status"] == "active"


async def test_pages_of_subscriptions_are_newest_first(home: House) -> None:
    made = [(await subscribe(home))["id"] for _ in range(3)]
    _, first = await home.get("/v1/subscriptions?limit=2")
    _, second = await home.get(f"/v1/subscriptions?limit=2&cursor={first['next_cursor']}")
    assert [each["id"] for each in first["data"] + second["data"]] == sorted(made, reverse=True)  # by the millisecond
    assert second["next_cursor"] is None


async def test_an_attempt_is_told_with_its_answer(home: House) -> None:
    await subscribe(home)
    task = await home.order()
    delivery = (await listed(home))[0]
    assert (delivery["status"], delivery["attempt_count"], delivery["task_id"]) == ("pending", 0, task)
    await settle(home, [delivery["id"]], "failed", error=None, answer=b"\xffno")
    _, said = await home.get(f"/v1/deliveries/{delivery['id']}")
    assert (said["status"], said["attempt_count"], said["last_status"]) == ("pending", 1, 500)
    assert said["next_attempt_at"] > said["last_attempt_at"]
    assert said["url"] == URL
    assert '"type":"task.submitted"' in said["body"]
    attempt = said["attempts"][0]
    assert (attempt["attempt"], attempt["status"], attempt["outcome"]) == (1, 500, "failed")
    assert (attempt["latency_ms"], attempt["answer"]) == (12.3, "\ufffdno")


async def test_deliveries_are_found_by_status_event_and_task(home: House) -> None:
    one = (await subscribe(home))["id"]
    two = (await subscribe(home, events=["task.succeed"]))["id"]
    first, second = await home.order("one"), await home.order("two")
    await home.done(first)
    everything = await listed(home)
    assert len(everything) == 4
    of_one = await listed(home, f"subscription={one}&task={first}")
    assert len(of_one) == 2
    await settle(home, [of_one[0]["id"]], "delivered")
    await settle(home, [of_one[1]["id"]], "exhausted")
    assert [each["id"] for each in await listed(home, "status=delivered")] == [of_one[0]["id"]]
    assert [each["id"] for each in await listed(home, "status=exhausted")] == [of_one[1]["id"]]
    assert [each["task_id"] for each in await listed(home, f"status=pending&subscription={one}")] == [second]
    assert [each["subscription"] for each in await listed(home, f"event=evt_{UUID(first).hex}_2&status=pending")] == [
        two
    ]
    assert len(await listed(home)) == 4
    pages: list[str] = []
    cursor = ""
    while True:
        _, page = await home.get(f"/v1/deliveries?limit=1{cursor}")
        pages += [each["id"] for each in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert pages == [each["id"] for each in await listed(home)]


async def test_a_hook_of_an_order_is_a_delivery_like_any_other(home: House) -> None:
    task = await home.order(notify_hook=URL)
    hook = hook_id(home.client, URL)
    found = await listed(home)
    assert [(each["subscription"], each["task_id"]) for each in found] == [(str(hook), task)]
    assert await listed(home, f"task={task}") == await listed(home, "status=pending") == found
    _, shown = await home.get(f"/v1/subscriptions/{hook}")
    assert (shown["is_hook"], shown["format"], shown["url"]) == (True, "kling", URL)
    assert (await home.post(f"/v1/subscriptions/{hook}/rotate-secret"))[0] == 404
    _, said = await home.get(f"/v1/deliveries/{found[0]['id']}")
    assert said["body"].startswith('{"task_id":')
    await settle(home, [found[0]["id"]], "exhausted")
    assert len(await listed(home, "status=exhausted")) == 1


async def test_an_exhausted_and_a_delivered_delivery_can_be_retried(home: House) -> None:
    await subscribe(home)
    await home.order()
    one = (await listed(home))[0]["id"]
    await settle(home, [one], "exhausted")
    status, said = await home.post(f"/v1/deliveries/{one}/retry")
    assert (status, said["status"], said["attempt_count"]) == (202, "pending", 1)
    await settle(home, [one], "delivered")
    assert [each["status"] for each in await listed(home)] == ["delivered"]
    status, said = await home.post(f"/v1/deliveries/{one}/retry")
    assert (status, said["status"], said["attempt_count"]) == (202, "pending", 2)
    await settle(home, [one], "delivered")
    assert [(each["id"], each["status"], each["attempt_count"]) for each in await listed(home)] == [
        (one, "delivered", 3)
    ]


async def test_a_retry_by_filter_retries_only_matching_deliveries(home: House) -> None:
    one, two = (await subscribe(home))["id"], (await subscribe(home))["id"]
    tasks = [await home.order(f"number {number}") for number in range(3)]
    await settle(home, [each["id"] for each in await listed(home)], "exhausted")
    status, said = await home.post("/v1/deliveries/retry", {"subscription": one, "task": tasks[0]})
    assert (status, said) == (202, {"count": 1})
    (pending,) = await listed(home, "status=pending")
    assert (pending["subscription"], pending["task_id"]) == (one, tasks[0])
    assert (await home.post("/v1/deliveries/retry", {"subscription": two, "limit": 2}))[1] == {"count": 2}
    assert (await home.post("/v1/deliveries/retry", {"status": "exhausted"}))[1] == {"count": 3}
    assert await listed(home, "status=exhausted") == []
    assert (await home.post("/v1/deliveries/retry", {}))[1] == {"count": 0}
    status, said = await home.post("/v1/deliveries/retry", {"status": "lost", "limit": 0})
    assert (status, {fault["field"] for fault in said["errors"]}) == (400, {"status", "limit"})
    status, said = await home.post("/v1/deliveries/retry", {"task": "x", "subscription": "y"})
    assert (status, {fault["field"] for fault in said["errors"]}) == (400, {"task", "subscription"})


async def test_a_replay_of_what_failed_leaves_the_rest(home: House) -> None:
    one = (await subscribe(home))["id"]
    for number in range(3):
        await home.order(f"number {number}")
    ids = [each["id"] for each in await listed(home)]
    await settle(home, ids[:1], "delivered")
    await settle(home, ids[1:], "exhausted")
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    status, said = await home.post(f"/v1/subscriptions/{one}/replay", {"since": since})
    assert (status, said) == (202, {"count": 2})
    assert [each["status"] for each in await listed(home)] == ["delivered", "pending", "pending"]


async def test_a_replay_of_all_brings_what_was_before_the_subscription(home: House) -> None:
    task = await home.order()
    await home.done(task)
    one = (await subscribe(home, events=["task.succeed"]))["id"]
    await home.readable()
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    status, said = await home.post(f"/v1/subscriptions/{one}/replay", {"since": since, "only": "all"})
    assert (status, said) == (202, {"count": 1})
    assert [each["event"] for each in await listed(home)] == [f"evt_{UUID(task).hex}_2"]
    status, _ = await home.post(f"/v1/subscriptions/{one}/replay", {"since": "2999-01-01T00:00:00Z"})
    assert status == 400


async def test_a_replay_takes_what_was_written_in_its_time_and_nothing_else(home: House) -> None:
    before = await home.order("before")
    since = await home.database.pool.fetchval("SELECT clock_timestamp()")
    between = await home.order("between")
    until = await home.database.pool.fetchval("SELECT clock_timestamp()")
    after = await home.order("after")
    one = (await subscribe(home))["id"]
    await home.readable()
    span = {"since": since.isoformat(), "until": until.isoformat(), "only": "all"}
    status, said = await home.post(f"/v1/subscriptions/{one}/replay", span)
    assert (status, said) == (202, {"count": 1})
    assert {each["task_id"] for each in await listed(home)} == {between}, (before, after)


@pytest.mark.parametrize(
    "since", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", -1, 1e300, "1e300", "soon"]
)
async def test_a_time_that_there_is_not_is_refused(home: House, since: object) -> None:
    one = (await subscribe(home))["id"]
    status, said = await home.post(f"/v1/subscriptions/{one}/replay", {"since": since})
    assert (status, [fault["field"] for fault in said["errors"]]) == (400, ["since"])


async def test_an_event_and_the_task_of_another_are_nothing_together(home: House) -> None:
    await subscribe(home)
    one, other = await home.order("one"), await home.order("other")
    assert len(await listed(home, f"event=evt_{UUID(one).hex}_1&task={one}")) == 1
    assert await listed(home, f"event=evt_{UUID(one).hex}_1&task={other}") == []


async def test_a_test_event_goes_to_one_subscription_alone(home: House) -> None:
    one = (await subscribe(home, events=["task.succeed"]))["id"]
    await subscribe(home)
    status, said = await home.post(f"/v1/subscriptions/{one}/test")
    assert status == 202
    found = await listed(home)
    assert [(each["id"], each["type"]) for each in found] == [(said["delivery"], "subscription.test")]
    assert found[0]["task_id"] is None
    assert said["event"] == found[0]["event"]
    _, delivery = await home.get(f"/v1/deliveries/{said['delivery']}")
    assert json.loads(delivery["body"])["data"]["subscription_id"] == one


async def test_the_secret_of_hooks_can_be_asked_for_and_rotated(home: House) -> None:
    _, first = await home.get("/v1/hook-secret")
    _, again = await home.get("/v1/hook-secret")
    _, second = await home.post("/v1/hook-secret/rotate")
    _, now = await home.get("/v1/hook-secret")
    assert first == again != second == now
    assert first["secret"].startswith("whsec_")
    reader = await home.key_of("tests", [Scope.READ])
    assert (await home.get("/v1/hook-secret", reader))[0] == 403
