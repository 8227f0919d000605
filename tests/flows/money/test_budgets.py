"""A limit is exact under concurrency; an order that exceeds it is refused before anything is sent."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from kling_relay.core.budget import Limits
from kling_relay.core.errors import BudgetExceeded
from kling_relay.core.ids import RANDOM_BITS, new_id
from kling_relay.core.key import digest
from kling_relay.flows.budget import Budget
from kling_relay.flows.budgeted_orders import BudgetedOrder, BudgetedOrders, RepeatedError
from kling_relay.store.access import client_keys
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.money import budgets
from kling_relay.store.postgres.database import Database, connect
from kling_relay.store.postgres.statement import transaction
from kling_relay.store.schema import partitions
from kling_relay.store.tasks.record import NewTask
from tests.support.database_clock import settable_clock
from tests.support.relay import add_key
from tests.support.service import Relay, running, sandboxed, subscriber
from tests.support.waiting import eventually

DOOR = "/kling/v1/videos/text2video"


async def limit(relay: Relay, **limits: str) -> None:
    """Set the limits of the client behind the tests' key, before it orders anything."""
    limit = Limits(**{name: Decimal(limit) for name, limit in limits.items()})
    assert await budgets.set_limits(relay.parts.database, "bootstrap", limit, of_key=False) == 1


async def order(relay: Relay, **more: Any) -> tuple[int, Any]:
    return await relay.call("POST", DOOR, json={"prompt": "a rabbit"}, **more)


@pytest.mark.long
async def test_a_budget_for_ten_sends_the_provider_ten_of_fifty_concurrent_orders(database: str) -> None:
    async with (
        sandboxed() as (sandbox, provider),
        running(database, provider) as worker,
        running(database, provider, role="api") as api,
    ):
        await limit(worker, total="10")
        answers = await asyncio.gather(*(order(relay) for _ in range(25) for relay in (worker, api)))
        assert sorted(status for status, _ in answers) == [200] * 10 + [402] * 40
        refused = next(answer for status, answer in answers if status == 402)
        assert (refused["code"], refused["error"]["code"]) == (1102, 1102)
        assert "nothing was sent" in refused["message"]
        assert len(sandbox.tasks) == 10
        _, usage = await worker.call("GET", "/v1/usage")
        assert sum(line["tasks"] for line in usage["data"]) == 10


async def test_a_failed_task_frees_its_share_of_the_budget(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        await limit(relay, total="1")
        await relay.final(await relay.submit("x [fail]"))
        await relay.final(await relay.submit())
        assert (await order(relay))[0] == 402


async def test_a_repeated_order_gets_the_first_task_even_if_the_budget_is_spent(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        await limit(relay, total="1")
        _, first = await order(relay, headers={"Idempotency-Key": "k"})
        status, again = await order(relay, headers={"Idempotency-Key": "k"})
        assert (status, again["data"]["task_id"]) == (200, first["data"]["task_id"])
        assert (await order(relay, headers={"Idempotency-Key": "other"}))[0] == 402
        await limit(relay, total="2")
        assert (await order(relay, headers={"Idempotency-Key": "other"}))[0] == 200


async def test_a_refused_order_leaves_no_trace(database: str) -> None:
    async with sandboxed() as (sandbox, provider), running(database, provider) as relay:
        await limit(relay, day="0.5")
        assert (await order(relay))[0] == 402
        _, tasks = await relay.call("GET", "/v1/tasks")
        assert tasks["data"] == []
        assert sandbox.tasks == {}


async def test_a_charge_above_the_quote_counts_in_full(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        await limit(relay, total="5")
        await relay.final(await relay.submit("x [charge:4.5]"))
        status, answer = await order(relay)
        assert status == 402
        assert "0.5 left of 5 in all" in answer["message"]


async def test_each_budget_alert_is_delivered_once_to_its_subscribers(database: str) -> None:
    async with (
        sandboxed() as (_, provider),
        subscriber() as budget_subscriber,
        subscriber() as other,
        running(database, provider) as relay,
    ):
        await limit(relay, total="10")
        await relay.subscribe(budget_subscriber.url, events=["budget.*"])
        await relay.subscribe(other.url, events=["task.*"])
        await asyncio.gather(*(order(relay) for _ in range(20)))
        await eventually(lambda: len(budget_subscriber.heard) == 2)
        alerts = sorted(
            (delivery.json["data"] for delivery in budget_subscriber.heard), key=lambda data: data["percent"]
        )
        assert [(data["percent"], data["spent"], data["allowed"]) for data in alerts] == [
            (80, "8", "10"),
            (100, "10", "10"),
        ]
        assert alerts[0] | {"percent": 80} == {
            "limit": "total", "percent": 80, "allowed": "10", "spent": "8", "currency": "unit",
            "since": "1970-01-01T00:00:00.000Z", "owner": "client", "name": "bootstrap",
        }  # fmt: skip

        async def are_logged() -> bool:  # the log shows what no older transaction can come before
            _, log = await relay.call("GET", "/v1/events?after=0&type=budget.threshold")
            return len(log["data"]) == 2

        await eventually(are_logged)
        await limit(relay, total="5")  # another limit has thresholds of its own
        assert sorted(await asyncio.gather(relay_look(relay), relay_look(relay))) == [0, 2]
        assert not {delivery.json["type"] for delivery in other.heard} & {"budget.threshold"}


async def relay_look(relay: Relay) -> int:
    return await flow(relay.parts.database).check()


# Below the web: time is an argument there.

NOW = datetime.now(UTC).replace(hour=12)


def flow(database: Database) -> Budget:
    return Budget(
        database,
        currency="unit",
        now=lambda: datetime.now(UTC),
        new_id=lambda at: new_id(at, random.getrandbits(RANDOM_BITS)),
    )


async def client_and_key(database: Database, client: str = "tests") -> tuple[UUID, UUID]:
    """Create a client and a key, and return their ids."""
    row = await client_keys.by_digest(database, digest(await add_key(database, Encryptor([b"s" * 32]), client)))
    assert row is not None
    return row.client, row.id


def record(client: UUID, key: UUID, now: datetime, quote: str, currency: str = "unit") -> NewTask:
    return NewTask(
        id=new_id(now, random.getrandbits(RANDOM_BITS)),
        client=client,
        key=key,
        created_at=now,
        kind="text2video",
        model="kling-v1",
        mode="std",
        duration="5",
        units=1,
        quote=Decimal(quote),
        currency=currency,
        prices="seed@1",
        external_task_id=None,
        hook=None,
        trace=None,
        fields="{}",
        payload=b"{}",
    )


async def ordered(database: Database, budget: Budget, task: NewTask) -> str | None:
    """Record the order as submit does; return the limit that refused it, if one did."""
    try:
        await BudgetedOrders(database, budget, 10.0)(BudgetedOrder(record=task, keys=(), fingerprint=b""))
    except BudgetExceeded as refusal:
        return refusal.limit
    return None


@pytest.mark.parametrize("window", ["day", "month"])
async def test_a_window_that_has_ended_does_not_count(database: str, window: str) -> None:
    ahead = timedelta(days=1 if window == "day" else 32)
    later = NOW + ahead
    async with settable_clock(database) as clock, connect(database) as db:
        async with db.pool.acquire() as connection:
            await partitions.create_missing(connection, later, timedelta(days=90))
        client, key = await client_and_key(db)
        await budgets.set_limits(db, "tests", Limits(**{window: Decimal(3)}), of_key=False)
        budget = flow(db)
        assert await ordered(db, budget, record(client, key, NOW, "2")) is None
        assert await ordered(db, budget, record(client, key, NOW + timedelta(hours=2), "2")) == window
        await clock.set_ahead(ahead)
        assert await ordered(db, budget, record(client, key, later, "2")) is None
        assert await ordered(db, budget, record(client, key, later, "2")) == window


async def test_a_key_has_limits_besides_those_of_its_client(database: str) -> None:
    async with connect(database) as db:
        client, key = await client_and_key(db)
        same, free = await client_and_key(db)
        assert same == client
        await budgets.set_limits(db, str(key), Limits(total=Decimal(2)), of_key=True)
        await budgets.set_limits(db, "tests", Limits(open=Decimal(5)), of_key=False)
        budget = flow(db)
        assert await budget.is_limited(client, free, NOW)
        assert await ordered(db, budget, record(client, key, NOW, "2")) is None
        assert await ordered(db, budget, record(client, key, NOW, "1")) == "total"
        assert await ordered(db, budget, record(client, free, NOW, "3")) is None
        assert await ordered(db, budget, record(client, free, NOW, "1")) == "open"


async def test_amounts_in_another_currency_do_not_count(database: str) -> None:
    async with connect(database) as db:
        client, key = await client_and_key(db)
        await budgets.set_limits(db, "tests", Limits(total=Decimal(2)), of_key=False)
        assert await ordered(db, flow(db), record(client, key, NOW, "2", "CNY")) is None
        assert await ordered(db, flow(db), record(client, key, NOW, "2")) is None


async def test_orders_of_one_transaction_are_admitted_one_by_one_and_repeats_cost_nothing(database: str) -> None:
    """One transaction has orders that fit and one that does not, a repeat, and an order made twice in it."""
    async with connect(database) as db:
        client, key = await client_and_key(db)
        await budgets.set_limits(db, "tests", Limits(total=Decimal(6)), of_key=False)
        limited = BudgetedOrders(db, flow(db), 10.0)

        async def order(quote: str, *words: str) -> object:
            budgeted = BudgetedOrder(record=record(client, key, NOW, quote), keys=words, fingerprint=quote.encode())
            try:
                await limited(budgeted)
            except (BudgetExceeded, RepeatedError) as refusal:
                return refusal.limit if isinstance(refusal, BudgetExceeded) else refusal.used_keys[0].task
            return budgeted.record.id

        first = await order("1", "i:a")
        # the first goes alone; the others wait meanwhile, and go together
        answers = await asyncio.gather(
            order("1"), order("1", "i:a"), order("5", "i:b"), order("2", "i:b", "e:c"), order("2", "e:c"),
            order("3"), order("2"),
        )  # fmt: skip
        assert answers[1] == first
        assert answers[2] == answers[5] == "total"
        assert answers[3] == answers[4]
        assert await db.pool.fetchval("SELECT sum(reserved) FROM ledger") == 6
        assert await db.pool.fetchval("SELECT count(DISTINCT tx) FROM ledger") == 3
        assert {row["key"] for row in await db.pool.fetch("SELECT key FROM idempotency_keys")} == {"i:a", "i:b", "e:c"}


async def test_a_client_without_limits_is_checked_every_two_seconds_and_locks_nothing(database: str) -> None:
    async with connect(database) as db:
        client, key = await client_and_key(db)
        budget = flow(db)
        assert not await budget.is_limited(client, key, NOW)
        await budgets.set_limits(db, "tests", Limits(total=Decimal(0)), of_key=False)
        assert not await budget.is_limited(client, key, NOW + timedelta(seconds=1))
        assert await budget.is_limited(client, key, NOW + timedelta(seconds=2))
        await budgets.set_limits(db, "tests", Limits(), of_key=False)
        async with transaction(db.pool) as connection:
            assert await budgets.lock_accounts(connection, client, [key]) == ([], None)
