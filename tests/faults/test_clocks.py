"""Machines whose clocks are wrong, by ten days or around midnight: the database's clock decides, and operators know."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import jwt
import pytest

from kling_relay.app.doctor_finding import CheckState
from kling_relay.core.budget import Limits
from kling_relay.flows.budgeted_orders import BudgetedOrder, BudgetedOrders
from kling_relay.sandbox import Profile, Sandbox
from kling_relay.store.money import balances, budgets
from kling_relay.store.postgres.database import Database, connect
from kling_relay.store.schema import partitions
from kling_relay.web.http.context import Context
from tests.faults.client import Client
from tests.faults.process import Part, started
from tests.faults.test_standing_still import SWIFT
from tests.flows.money.test_budgets import client_and_key, flow, ordered, record
from tests.operations.test_doctor import examined, worst
from tests.support.database_clock import settable_clock
from tests.support.relay import serve_api
from tests.support.service import KEY, sandboxed, settings_for, subscriber
from tests.support.waiting import eventually

TEN_DAYS = timedelta(days=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoMachines:
    """Two processes of one service; the clock of `wrong`'s machine is wrong."""

    right: Client
    wrong: Client
    wrong_log: Path
    wrong_metrics: str
    sandbox: Sandbox
    database: str


@asynccontextmanager
async def two_machines(database: str, logs: Path, ahead: timedelta, **settings: str) -> AsyncIterator[TwoMachines]:
    async with (
        sandboxed(Profile(seconds=(0.0, 0.01))) as (sandbox, provider),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
    ):
        part = Part(
            role="up",
            database=database,
            provider=provider,
            settings={"log_level": "debug", **settings},
            tunables=SWIFT,
            log=logs / "right",
        )
        async with started(part) as one, started(replace(part, clock_ahead=ahead, log=logs / "wrong")) as other:
            yield TwoMachines(
                right=Client(f"http://127.0.0.1:{one.port}", session),
                wrong=Client(f"http://127.0.0.1:{other.port}", session),
                wrong_log=logs / "wrong",
                wrong_metrics=f"http://127.0.0.1:{other.metrics_port}/metrics",
                sandbox=sandbox,
                database=database,
            )


@pytest.mark.parametrize("ahead", [TEN_DAYS, -TEN_DAYS], ids=["ahead", "behind"])
async def test_a_process_whose_machine_is_ten_days_wrong_works_and_says_so(
    database: str, tmp_path: Path, ahead: timedelta, figure: Callable[[str], None]
) -> None:
    async with (
        two_machines(database, tmp_path, ahead, provider_slots="1") as on,
        subscriber() as heard,
        _connected(database) as connection,
    ):
        await on.wrong.subscribed(heard.url)
        partitions_before = await connection.fetchval("SELECT count(*) FROM pg_inherits")
        open_task = await on.right.insist("open", "a rabbit [forever]")
        waiting = await on.right.insist("waiting", "a rabbit")  # no slot is free
        status, body = await _call(on.wrong, "GET", "/readyz")
        assert status == 200, body
        task = await on.wrong.insist("wrong", "a rabbit")
        created_at = await connection.fetchval("SELECT created_at FROM tasks WHERE id = $1::text::uuid", task)
        difference = abs((datetime.now(UTC) - created_at).total_seconds())
        assert difference < 20
        await _has_swept(on.wrong_log)
        for name in (open_task, waiting, task):
            assert (await on.right.got(f"/v1/tasks/{name}"))["task_status"] in {"submitted", "processing"}
        on.sandbox.finish(open_task)
        for name in (open_task, waiting, task):
            assert (await on.wrong.final(name))["task_status"] == "succeed"
        assert await connection.fetchval("SELECT count(*) FROM pg_inherits") == partitions_before
        async with on.right.session.get(on.wrong_metrics) as answer:
            lines = (await answer.text()).splitlines()
        offset = next(float(line.split()[1]) for line in lines if line.startswith("relay_clock_offset_seconds "))
        assert offset == pytest.approx(ahead.total_seconds(), abs=2)
        figure(f"a machine {offset:+.0f} s wrong: its order was recorded {difference:.1f} s from the database's time")
        (said,) = [line for line in _lines(on.wrong_log) if line.get("flow") == "clock"]
        assert (said["level"], said["seconds_ahead"]) == ("error", pytest.approx(ahead.total_seconds(), abs=2))


async def test_tokens_and_signatures_of_a_machine_that_is_ten_days_ahead_are_valid_now(
    database: str, tmp_path: Path
) -> None:
    async with two_machines(database, tmp_path, TEN_DAYS) as on, subscriber() as heard:
        made = await on.wrong.call("POST", "/v1/subscriptions", json={"url": heard.url, "events": ["*"]})
        assert made is not None
        await on.wrong.final(await on.wrong.insist("k", "a rabbit"))
        await eventually(lambda: heard.heard)
        for delivery in heard.heard:
            delivery.verified(made[1]["secret"])  # the package allows five minutes
        async with _connected(database) as connection:
            key_id = str(await connection.fetchval("SELECT id FROM keys"))
        now = int(datetime.now(UTC).timestamp())
        signed = {exp: jwt.encode({"iss": key_id, "exp": now + exp}, KEY, "HS256") for exp in (600, -600)}
        for exp, status in ((600, 200), (-600, 401)):
            client = replace(on.wrong, key=signed[exp])
            assert (await _call(client, "GET", "/v1/tasks"))[0] == status


async def test_nothing_is_dropped_early_by_a_machine_that_is_ahead(database: str, tmp_path: Path) -> None:
    names = "SELECT array_agg(inhrelid::regclass::text) FROM pg_inherits"
    async with _connected(database) as connection:
        before = set(await connection.fetchval(names))
        async with two_machines(database, tmp_path, timedelta(days=400), retention="2d") as on:
            await _has_swept(on.wrong_log)
            assert before <= set(await connection.fetchval(names))
            await on.wrong.final(await on.wrong.insist("k", "a rabbit"))


async def test_an_order_for_a_time_without_a_partition_is_answered_503(database: str) -> None:
    def wrong(context: Context) -> Context:
        return replace(context, now=lambda: datetime.now(UTC) + TEN_DAYS)

    async with serve_api(database, change=wrong) as api:
        for headers in ({}, {"Idempotency-Key": "k"}):
            status, body, answer = await api.call_with_headers(
                "POST", "/kling/v1/videos/text2video", json={"prompt": "a rabbit"}, headers=headers
            )
            assert (status, body["code"]) == (503, 5001)
            assert answer["Retry-After"]
        assert not api.provider.orders


@pytest.mark.parametrize("limit", ["day", "month"])
@pytest.mark.parametrize("has_checkpoint", [False, True], ids=["", "checkpoint"])
async def test_a_limit_holds_if_two_processes_disagree_about_the_day(
    database: str, limit: str, has_checkpoint: bool, figure: Callable[[str], None]
) -> None:
    async with connect(database) as db:
        client, key = await client_and_key(db)
        await budgets.set_limits(db, "tests", Limits(**{limit: Decimal(5)}), of_key=False)
        now = datetime.now(UTC)
        wrong = now + timedelta(days=1 if limit == "day" else 32)
        await _create_partitions(db, wrong)
        refusals = []
        for number in range(20):
            at = (now, wrong)[number % 2]
            refusals.append(await ordered(db, flow(db), record(client, key, at, "1")))
            if has_checkpoint:  # as a worker whose clock is wrong left it
                for account in await budgets.limited_accounts(db):
                    await balances.spent(db.pool, account, "unit", at, checkpoint_after=1)
        assert refusals == [None] * 5 + [limit] * 15
        figure(f"processes that disagree about the {limit}: 5 spent of 5")
        days = await db.pool.fetch("SELECT DISTINCT created_at::date AS day FROM tasks")
        assert [row["day"] for row in days] == [now.date()]
        assert await db.pool.fetchval("SELECT count(*) FROM tasks WHERE created_at > now() + interval '1 h'") == 0


async def test_the_database_says_when_the_day_ends(database: str) -> None:
    async with settable_clock(database) as clock, connect(database) as db:
        client, key = await client_and_key(db)
        await budgets.set_limits(db, "tests", Limits(day=Decimal(1)), of_key=False)
        now = datetime.now(UTC)
        await _create_partitions(db, now + timedelta(days=1))
        assert await ordered(db, flow(db), record(client, key, now, "1")) is None
        assert await ordered(db, flow(db), record(client, key, now, "1")) == "day"
        await clock.set_ahead(timedelta(days=1))
        recorded = await BudgetedOrders(db, flow(db), 10.0)(
            BudgetedOrder(record=record(client, key, now, "1"), keys=("i:k",), fingerprint=b"f")
        )
        assert recorded.created_at.date() == (now + timedelta(days=1)).date()
        latest = await db.pool.fetch("SELECT id, created_at FROM tasks ORDER BY id DESC LIMIT 1")
        assert [tuple(row) for row in latest] == [(recorded.id, recorded.created_at)]
        assert await db.pool.fetchval("SELECT task FROM idempotency_keys") == recorded.id


@pytest.mark.parametrize(("ahead", "words"), [(TEN_DAYS, "10 days behind"), (-TEN_DAYS, "10 days ahead of")])
async def test_the_doctor_says_that_the_clocks_differ(database: str, ahead: timedelta, words: str) -> None:
    async with settable_clock(database) as clock:
        await clock.set_ahead(ahead)
        findings = await examined(settings_for(database, "http://127.0.0.1:9"))
    finding = worst(findings["clock"])
    assert finding.state is CheckState.ERROR
    assert f"this machine is {words} the database" in finding.detail
    assert "NTP" in finding.advice


async def _create_partitions(db: Database, now: datetime) -> None:
    async with db.pool.acquire() as connection:
        await partitions.create_missing(connection, now, timedelta(days=90))


@asynccontextmanager
async def _connected(database: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(database)
    try:
        yield connection
    finally:
        await connection.close()


async def _call(client: Client, method: str, path: str, **request: Any) -> tuple[int, Any]:
    answer = await client.call(method, path, **request)
    assert answer is not None
    return answer


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


async def _has_swept(log: Path) -> None:
    """Wait until the process has finished some passes of the sweep."""

    def passes() -> int:
        return sum(line["event"] == "sweep" for line in _lines(log))

    await eventually(lambda: passes() > 20)
