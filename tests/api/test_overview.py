"""The overview: a client's own figures, counted where they are few and reckoned where they are many."""

from datetime import UTC, datetime, timedelta

import pytest

from kling_relay.store.stats.tasks import MAX_PER_BIN, SampleStats
from kling_relay.web.api.overview import estimate
from tests.support.relay import house
from tests.support.service import running, sandboxed, subscriber
from tests.support.waiting import eventually

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def test_a_client_sees_its_own_figures_and_nobody_elses(database: str) -> None:
    async with house(database) as it:
        done, failed, _ = [await it.order() for _ in range(3)]
        await it.done(done)
        await it.called_back(failed, "failed", task_status_msg="too grey")
        _, said = await it.get("/v1/overview")
        assert {name: said["tasks"][name] for name in ("ordered", "succeeded", "failed", "open", "is_estimate")} == {
            "ordered": 3,
            "succeeded": 1,
            "failed": 1,
            "open": 1,
            "is_estimate": False,
        }
        assert said["reasons"] == [{"reason": "too grey", "count": 1}]
        assert said["stalest_task"] is not None
        assert said["slots"] == {"in_use": 1, "limit": None}
        assert sum(each["ordered"] for each in said["bins"]) == 3
        assert said["bins"][-1]["open"] == 1
        _, theirs = await it.get("/v1/overview", await it.key_of("others"))
        assert theirs["tasks"]["ordered"] == theirs["tasks"]["open"] == 0
        assert theirs["stalest_task"] is None


@pytest.mark.parametrize(("span", "bins", "seconds"), [("hour", 60, 60), ("day", 48, 1800)])
async def test_time_is_cut_into_bins_that_end_with_now(database: str, span: str, bins: int, seconds: int) -> None:
    async with house(database) as it:
        now = datetime.now(UTC)
        _, said = await it.get(f"/v1/overview?span={span}")
        assert (len(said["bins"]), said["bin_seconds"]) == (bins, seconds)
        since, until = (datetime.fromisoformat(said[name]) for name in ("since", "until"))
        assert until - since == timedelta(seconds=bins * seconds)
        assert timedelta() < until - now <= timedelta(seconds=seconds)


async def test_deliveries_are_counted_by_subscription_and_by_what_was_wrong(database: str) -> None:
    async with sandboxed() as (_, url), running(database, url) as relay, subscriber([503, 503]) as hearer:
        made = await relay.subscribe(hearer.url, events=["task.succeed"])
        await relay.final(await relay.submit())
        await eventually(lambda: len(hearer.heard) == 3)

        async def counted() -> bool:
            _, said = await relay.call("GET", "/v1/overview")
            (mine,) = said["subscriptions"]
            return (
                (mine["id"], mine["attempts"], mine["delivered"]) == (made["id"], 3, 1)
                and said["errors"] == [{"code": "503", "count": 2}]
                and said["deliveries"]["pending"] == 0
                and mine["latency_p50_ms"] > 0
            )

        assert await eventually(counted)


async def test_deliveries_of_a_paused_subscription_are_pending(database: str) -> None:
    async with sandboxed() as (_, url), running(database, url) as relay:
        made = await relay.subscribe("https://example.com/hook", events=["task.succeed"])
        await relay.call("POST", f"/v1/subscriptions/{made['id']}/pause", json={})
        await relay.final(await relay.submit())
        _, said = await relay.call("GET", f"/v1/overview?subscription={made['id']}")
        assert said["deliveries"]["pending"] == said["bins"][-1]["pending"] == 1
        assert said["subscriptions"][0]["pending"] == 1


def test_a_bin_with_more_than_is_looked_at_is_reckoned_by_how_much_of_it_that_covers() -> None:
    few = SampleStats(total=MAX_PER_BIN - 1, last_at=NOON)
    assert estimate(few, NOON, MINUTE) == (MAX_PER_BIN - 1, False)
    many = SampleStats(total=MAX_PER_BIN, last_at=NOON + MINUTE / 4)
    assert estimate(many, NOON, MINUTE) == (MAX_PER_BIN * 4, True)
    assert estimate(SampleStats(), NOON, MINUTE) == (0, False)


async def test_a_subscription_of_another_client_is_not_looked_into(database: str) -> None:
    async with house(database) as it:
        _, made = await it.post("/v1/subscriptions", {"url": "http://127.0.0.1:1/hook"}, await it.key_of("others"))
        _, said = await it.get(f"/v1/overview?subscription={made['id']}")
        assert said["subscriptions"] == []
        status, said = await it.get("/v1/overview?subscription=nonsense")
        assert (status, said["errors"][0]["field"]) == (400, "subscription")
