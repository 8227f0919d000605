"""Reports (lists, searches, usage) have connections, turns, times and rates of their own; nothing waits for them."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from kling_relay.core.delivery import Delivery
from kling_relay.core.key import Caller
from kling_relay.settings import Settings
from kling_relay.store.postgres.database import connect
from kling_relay.web.http.context import RequestLimits
from tests.support.api_document import ROUTES
from tests.support.relay import ApiServer, serve_api
from tests.support.waiting import eventually

ORDER = "/kling/v1/videos/text2video"
REPORTS = (
    "/v1/tasks",
    "/v1/tasks?text=rabbit",
    "/v1/tasks?status=failed",
    "/v1/events",
    "/v1/events?type=task.*",
    "/v1/deliveries",
    "/v1/subscriptions",
    "/v1/usage?by=model",
    "/v1/budget",
    "/v1/overview",
    f"{ORDER}?pageNum=900&pageSize=500",
)


def test_every_route_that_returns_many_rows_is_a_report() -> None:
    reports = {route.name for route in ROUTES if route.is_report}
    lists = {route.name for route in ROUTES if route.method == "GET" and route.name.startswith("list_")}
    assert lists - reports == {"list_task_events"}, "a task has few"
    assert reports - lists == {"show_usage", "show_budget", "show_overview", "retry_deliveries"}


@pytest.mark.long
async def test_nothing_but_reports_waits_for_reports(database: str) -> None:
    async with serve_api(database, RequestLimits(report_seconds=0.2)) as api:
        task = await api.order()
        status, subscription = await api.post("/v1/subscriptions", {"url": "https://example.com/"})
        assert status == 201
        async with AsyncExitStack() as stack:
            turns, pool = api.application.state.turns, api.database.reports
            for number in range(pool.get_max_size()):
                other = Caller(client=UUID(int=number), key=UUID(int=number), scopes=frozenset(), name="")
                await stack.enter_async_context(turns.turn(other))
                await stack.enter_async_context(pool.acquire())
            assert (await api.call("POST", ORDER, json={"prompt": "a"}, headers={"Idempotency-Key": "k"}))[0] == 200
            assert (await api.call("POST", ORDER, json={"prompt": "a"}, headers={"Idempotency-Key": "k"}))[0] == 200
            await api.succeed(task)
            other_key = await api.create_key("other")
            for path in (
                f"/v1/tasks/{task}",
                f"/v1/tasks/{task}?wait=1",
                f"/v1/tasks/{task}/events",
                f"{ORDER}/{task}",
                f"/v1/subscriptions/{subscription['id']}",
                f"/v1/deliveries/{await a_delivery(api)}",
                "/v1/prices",
            ):
                assert (await api.get(path))[0] == 200, path
            assert (await api.get(f"/v1/tasks/{task}", other_key))[0] == 404
            async with api.session.get(
                f"{api.url}/v1/events/stream", headers={"Authorization": f"Bearer {api.key}"}
            ) as stream:
                assert stream.status == 200
            for path in REPORTS:
                status, body, headers = await api.call_with_headers("GET", path)
                assert (status, body["code"], headers["Retry-After"]) == (503, 5001, "1"), path
        for path in REPORTS:
            assert (await api.get(path))[0] == 200, path


async def a_delivery(api: ApiServer) -> str:
    row = await api.database.pool.fetchrow("SELECT subject, sequence, subscription FROM pending_deliveries LIMIT 1")
    assert row is not None
    return Delivery(**row, attempt=0).text


ARE_STOPPED = (
    "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'kling-relay reports' AND state = 'active'"
    " AND datname = current_database()"
)


async def test_a_report_that_takes_too_long_is_stopped_and_gets_advice(database: str) -> None:
    async with serve_api(database, RequestLimits(report_seconds=0.1)) as api:
        owner = await asyncpg.connect(database)
        transaction = owner.transaction()
        await transaction.start()
        await owner.execute("LOCK TABLE ledger, events IN ACCESS EXCLUSIVE MODE")
        for path in ("/v1/usage", f"{ORDER}?pageNum=1", "/v1/events"):
            status, body = await api.get(path)
            assert (status, body["code"]) == (400, 1200), path
            assert "took longer than 0.1 s" in body["message" if path.startswith(ORDER) else "detail"]
        await eventually(lambda: owner.fetchval(ARE_STOPPED))
        await transaction.rollback()
        await owner.close()
        assert (await api.get("/v1/usage"))[0] == 200


async def test_the_database_itself_stops_a_report(database: str) -> None:
    async with connect(database, report_seconds=0.05) as opened:
        with pytest.raises(asyncpg.QueryCanceledError):
            await opened.reports.fetch("SELECT pg_sleep(20)")
        for pool in (opened.pool, opened.ingest, opened.settle):
            assert await pool.fetchval("SHOW statement_timeout") == "0"


async def test_a_stream_that_catches_up_takes_turns_like_a_list(database: str) -> None:
    async with serve_api(database) as api:
        task = await api.order()
        await api.wait_until_readable()
        state = api.application.state
        row = await api.database.pool.fetchrow("SELECT client, id FROM keys")
        assert row is not None
        holder = Caller(client=row["client"], key=row["id"], scopes=frozenset(), name="")
        headers = {"Authorization": f"Bearer {api.key}"}
        async with api.session.get(f"{api.url}/v1/events/stream?after=0", headers=headers) as stream:
            async with asyncio.timeout(10):
                assert task.encode() in await read_until(stream, task.encode())
        catching_up = f"{api.url}/v1/events/stream?after=0"
        async with state.turns.turn(holder), api.session.get(catching_up, headers=headers):
            await eventually(lambda: state.turns._waiting_count == 1)
        await eventually(lambda: state.turns._waiting_count == 0)


async def read_until(stream: Any, text: bytes) -> bytes:
    received = b""
    while text not in received:
        received += await stream.content.readany()
    return received


async def test_reports_have_a_lower_rate_than_other_requests(database: str) -> None:
    limits = RequestLimits(rate=100, burst=200, report_rate=0.5, report_burst=2)
    async with serve_api(database, limits) as api:
        task = await api.order()
        answers = [await api.call_with_headers("GET", "/v1/tasks?limit=1") for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 200, 429]
        _, body, headers = answers[-1]
        assert (body["code"], int(headers["Retry-After"]) >= 1) == (1302, True)
        assert headers["RateLimit-Policy"] == '"key";q=200;w=2, "reports";q=2;w=4'
        assert ', "reports";r=0;' in headers["RateLimit"]
        for _ in range(5):
            status, _, headers = await api.call_with_headers("GET", f"/v1/tasks/{task}")
            assert (status, headers["RateLimit-Policy"]) == (200, '"key";q=200;w=2')
        assert (await api.get("/v1/tasks?limit=1", await api.create_key("other")))[0] == 200


async def test_rates_are_limited_by_default_and_callbacks_are_not(database: str) -> None:
    assert (Settings().rate_limit, Settings().report_rate_limit) == (5_000, 200)
    assert Settings(rate_limit="off", report_rate_limit="off").rate_limit is None
    async with serve_api(database, RequestLimits(rate=0.001, burst=6)) as api:
        tasks = [await api.order() for _ in range(5)]
        for task in tasks * 4:
            await api.succeed(task)
        assert (await api.get(f"/v1/tasks/{tasks[0]}"))[0] == 200
        assert (await api.get(f"/v1/tasks/{tasks[0]}"))[0] == 429
