"""The overview: a client's own figures, exact while there are few and estimated when there are many."""

from datetime import UTC, datetime, timedelta

import pytest

from kling_relay.store.stats.tasks import MAX_PER_BIN, SampleStats
from kling_relay.web.api.overview import estimate
from tests.support.relay import serve_api
from tests.support.service import running, sandboxed, subscriber
from tests.support.waiting import eventually

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def test_a_client_sees_only_its_own_figures(database: str) -> None:
    async with serve_api(database) as api:
        done, failed, _ = [await api.order() for _ in range(3)]
        await api.succeed(done)
        await api.send_callback(failed, "failed", task_status_msg="too grey")
        _, body = await api.get("/v1/overview")
        assert {name: body["tasks"][name] for name in ("ordered", "succeeded", "failed", "open", "is_estimate")} == {
            "ordered": 3,
            "succeeded": 1,
            "failed": 1,
            "open": 1,
            "is_estimate": False,
        }
        assert body["reasons"] == [{"reason": "too grey", "count": 1}]
        assert body["stalest_task"] is not None
        assert body["slots"] == {"in_use": 1, "limit": None}
        assert sum(item["ordered"] for item in body["bins"]) == 3
        assert body["bins"][-1]["open"] == 1
        _, theirs = await api.get("/v1/overview", await api.create_key("others"))
        assert theirs["tasks"]["ordered"] == theirs["tasks"]["open"] == 0
        assert theirs["stalest_task"] is None


@pytest.mark.parametrize(("span", "bins", "seconds"), [("hour", 60, 60), ("day", 48, 1800)])
async def test_the_last_bin_has_the_current_time_in_it(database: str, span: str, bins: int, seconds: int) -> None:
    async with serve_api(database) as api:
        now = datetime.now(UTC)
        _, body = await api.get(f"/v1/overview?span={span}")
        assert (len(body["bins"]), body["bin_seconds"]) == (bins, seconds)
        since, until = (datetime.fromisoformat(body[name]) for name in ("since", "until"))
        assert until - since == timedelta(seconds=bins * seconds)
        assert timedelta() < until - now <= timedelta(seconds=seconds)


async def test_deliveries_are_counted_by_subscription_and_by_error(database: str) -> None:
    async with sandboxed() as (_, url), running(database, url) as relay, subscriber([503, 503]) as receiver:
        created = await relay.subscribe(receiver.url, events=["task.succeed"])
        await relay.final(await relay.submit())
        await eventually(lambda: len(receiver.heard) == 3)

        async def counted() -> bool:
            _, body = await relay.call("GET", "/v1/overview")
            (mine,) = body["subscriptions"]
            return (
                (mine["id"], mine["attempts"], mine["delivered"]) == (created["id"], 3, 1)
                and body["errors"] == [{"code": "503", "count": 2}]
                and body["deliveries"]["pending"] == 0
                and mine["latency_p50_ms"] > 0
            )

        assert await eventually(counted)


async def test_deliveries_of_a_paused_subscription_are_pending(database: str) -> None:
    async with sandboxed() as (_, url), running(database, url) as relay:
        created = await relay.subscribe("https://example.com/hook", events=["task.succeed"])
        await relay.call("POST", f"/v1/subscriptions/{created['id']}/pause", json={})
        await relay.final(await relay.submit())
        _, body = await relay.call("GET", f"/v1/overview?subscription={created['id']}")
        assert body["deliveries"]["pending"] == body["bins"][-1]["pending"] == 1
        assert body["subscriptions"][0]["pending"] == 1


def test_a_bin_with_too_many_tasks_to_count_is_estimated() -> None:
    few = SampleStats(total=MAX_PER_BIN - 1, last_at=NOON)
    assert estimate(few, NOON, MINUTE) == (MAX_PER_BIN - 1, False)
    many = SampleStats(total=MAX_PER_BIN, last_at=NOON + MINUTE / 4)
    assert estimate(many, NOON, MINUTE) == (MAX_PER_BIN * 4, True)
    assert estimate(SampleStats(), NOON, MINUTE) == (0, False)


async def test_another_clients_subscription_is_not_in_the_overview(database: str) -> None:
    async with serve_api(database) as api:
        _, created = await api.post(
            "/v1/subscriptions", {"url": "http://127.0.0.1:1/hook"}, await api.create_key("others")
        )
        _, body = await api.get(f"/v1/overview?subscription={created['id']}")
        assert body["subscriptions"] == []
        status, body = await api.get("/v1/overview?subscription=nonsense")
        assert (status, body["errors"][0]["field"]) == (400, "subscription")
