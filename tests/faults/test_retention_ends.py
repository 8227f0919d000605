"""One subscriber that answered 410, one paused subscription and one deleted hook: none of them keeps anybody's data."""

from datetime import UTC, datetime, timedelta

import asyncpg

from kling_relay.core.ids import hook_id
from kling_relay.store.schema import partitions
from kling_relay.store.tables import PARTITIONED
from tests.support.service import running, sandboxed, subscriber
from tests.support.waiting import eventually

RETENTION = timedelta(days=30)
LATER = datetime.now(UTC) + timedelta(days=45)


async def test_subscriptions_that_ended_hold_back_no_partition(database: str) -> None:
    async with (
        sandboxed() as (_, provider),
        subscriber([410] * 10) as gone,
        subscriber([500] * 1000) as failing,
        subscriber() as healthy,
        running(database, provider) as relay,
    ):
        disabled = (await relay.subscribe(gone.url))["id"]
        paused = (await relay.subscribe(healthy.url))["id"]
        await relay.call("POST", f"/v1/subscriptions/{paused}/pause", json={})
        await relay.final(await relay.submit(notify_hook=f"{failing.url}?token=secret"))
        await eventually(lambda: failing.heard and gone.heard)

        async def is_disabled() -> bool:
            return bool((await relay.call("GET", f"/v1/subscriptions/{disabled}"))[1]["status"] == "disabled")

        await eventually(is_disabled)
        connection = await asyncpg.connect(database)
        try:
            client = await connection.fetchval("SELECT id FROM clients")
            hook = hook_id(client, f"{failing.url}?token=secret")
            assert (await relay.call("DELETE", f"/v1/subscriptions/{hook}"))[0] == 204
            await relay.final(await relay.submit(notify_hook=f"{healthy.url}?token=secret"))
            result = await partitions.enforce_retention(connection, LATER, RETENTION)
            assert {name.split("_")[0] for name in result.dropped} == set(PARTITIONED)
            assert result.expired >= 2
            assert result.hooks == 1
            for table in (*PARTITIONED, "pending_deliveries", "submissions", "idempotency_keys"):
                assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
            assert await connection.fetchval("SELECT count(*) FROM subscriptions WHERE url LIKE '%secret'") == 0
        finally:
            await connection.close()
        for subscription in (disabled, paused):
            status, shown = await relay.call("GET", f"/v1/subscriptions/{subscription}")
            assert (status, shown["expired_deliveries"] > 0) == (200, True)
