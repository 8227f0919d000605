"""PostgreSQL is there, but takes no writes: after a failover, while it is read-only, without a partition for today.

Clients and the provider get 503, `/readyz` is red, no process ends, and everything goes on by itself afterwards.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg
import pytest

from kling_relay.app.serving import Role
from kling_relay.sandbox import Sandbox
from kling_relay.store.postgres.statement import MissingPartitionError
from kling_relay.store.schema import partitions
from kling_relay.store.tables import PARTITIONED
from tests.faults.cluster import (
    back_as_standby,
    caught_up,
    cluster,
    promoted,
    set_read_only,
    standby,
    stopped,
)
from tests.faults.test_database_away import DOOR, ORDER, hook, orders
from tests.support.link import cable
from tests.support.processes import fleet
from tests.support.service import KEY, SIGNING, Relay, running, sandboxed, subscriber
from tests.support.waiting import eventually

RETENTION = timedelta(days=90)
PROCESSING = {"task_status": "processing"}
HEADERS: tuple[dict[str, str], ...] = ({}, {"Idempotency-Key": "k"})


async def test_a_failover_needs_no_restart_though_the_former_primary_comes_back_first() -> None:
    async with (
        cluster() as first,
        standby(first) as second,
        cable(first.url()) as name,
        sandboxed() as (sandbox, provider),
        subscriber() as other,
        running(name.url, provider, record_timeout="2s") as relay,
    ):
        await relay.subscribe(other.url)
        open_task = await relay.submit("a rabbit [forever]")
        await caught_up(first)
        await stopped(first)
        await promoted(second)
        await back_as_standby(first)  # at the address that the name still leads to
        await _refused_everywhere(relay, open_task)
        sent = orders(sandbox)
        name.lead_to(second.url())
        await _works_again(relay, sandbox, open_task)
        assert orders(sandbox) == sent + 1
        await eventually(lambda: len(other.ids()) >= 4)


async def test_connections_leave_a_primary_that_became_read_only_when_the_name_moves() -> None:
    async with (
        cluster() as first,
        standby(first) as second,
        cable(first.url()) as name,
        sandboxed() as (sandbox, provider),
        running(name.url, provider, record_timeout="2s") as relay,
    ):
        open_task = await relay.submit("a rabbit [forever]")
        await set_read_only(first, "on")
        await _refused_everywhere(relay, open_task)
        await caught_up(first)
        await promoted(second)
        name.lead_to(second.url())  # the connections to the former primary stay open
        await _works_again(relay, sandbox, open_task)


async def test_a_read_only_database_is_answered_503_and_everything_goes_on_afterwards() -> None:
    async with (
        cluster() as server,
        sandboxed() as (sandbox, provider),
        subscriber() as other,
        running(server.url(), provider, sweep_after="0.5s") as relay,
    ):
        await relay.subscribe(other.url)
        open_task = await relay.submit("a rabbit [forever]")
        await set_read_only(server, "on")
        sent = orders(sandbox)
        await _refused_everywhere(relay, open_task)
        for headers in HEADERS:
            async with relay.client.post(relay.url + DOOR, json=ORDER, headers=headers) as answer:
                said = await answer.json()
                assert (answer.status, said["code"]) == (503, 5001)
                assert answer.headers["Retry-After"]
                assert said["request_id"]
        assert await _is_refused(relay, "POST", "/v1/subscriptions", json={"url": other.url, "events": ["*"]})
        assert (await relay.call("GET", f"/v1/tasks/{open_task}"))[0] == 200
        assert (await relay.call("GET", "/livez"))[0] == 200
        assert "read-only" in (await relay.call("GET", "/readyz"))[1]["status"]
        assert orders(sandbox) == sent
        await set_read_only(server, "off")
        await _works_again(relay, sandbox, open_task)
        await eventually(lambda: len(other.ids()) >= 4)


@pytest.mark.parametrize("role", ["up", "api", "worker"])
async def test_a_process_survives_a_read_only_database(role: Role) -> None:
    async with (
        cluster() as server,
        sandboxed() as (_, provider),
        fleet(_settings(server.url(), provider)) as processes,
    ):
        process = await processes.start(role)
        await set_read_only(server, "on")
        if role != "api":  # an api writes nothing by itself
            await eventually(lambda: _failures(process.lines))
        await asyncio.sleep(2)  # every loop of the worker has failed by then
        assert process.process.returncode is None
        failures = _failures(process.lines)
        assert all(line["level"] == "error" for line in failures)
        by_kind = {(line["flow"], line["kind"]) for line in failures}
        assert len(failures) <= 6 * len(by_kind), failures
        await set_read_only(server, "off")
        assert await process.leave() == 0


async def test_a_missing_partition_is_answered_503_until_there_is_one_again() -> None:
    async with (
        cluster() as server,
        sandboxed() as (_, provider),
        running(server.url(), provider) as relay,
        _admin(server.url()) as admin,
    ):
        open_task = await relay.submit("a rabbit [forever]")
        async with _nobody_creates_partitions(admin):
            await _drop_todays(admin, "events", "callbacks", "attempts")
            assert await _is_refused(relay, "POST", hook(relay, open_task), json=PROCESSING)
            status, said = await relay.call("GET", "/readyz")
            assert (status, "events, callbacks, attempts" in said["status"]) == (503, True), said
        await eventually(lambda: _is_ready(relay))
        assert (await relay.call("POST", hook(relay, open_task), json=PROCESSING))[0] == 200
        async with _nobody_creates_partitions(admin):
            await _drop_todays(admin, *PARTITIONED)
            for headers in HEADERS:
                async with relay.client.post(relay.url + DOOR, json=ORDER, headers=headers) as answer:
                    assert (answer.status, (await answer.json())["code"]) == (503, 5001)
            assert await _is_refused(relay, "GET", "/readyz")
        await eventually(lambda: _is_ready(relay))
        await relay.final(await relay.submit())


async def test_a_missing_partition_is_logged_as_an_error() -> None:
    async with (
        cluster() as server,
        sandboxed() as (_, provider),
        _admin(server.url()) as admin,
        fleet(_settings(server.url(), provider)) as processes,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as client,
    ):
        process = await processes.start("api")
        said = next(line["event"] for line in map(json.loads, process.lines) if "listens on" in line["event"])
        url = next(word.rstrip(".") for word in said.split() if word.startswith("http://"))
        async with _nobody_creates_partitions(admin):
            await _drop_todays(admin, *PARTITIONED)
            for _ in range(5):
                async with client.post(url + DOOR, json=ORDER) as answer:
                    assert answer.status == 503
            kind = MissingPartitionError.__name__
            logged = await eventually(lambda: [line for line in _failures(process.lines) if line["kind"] == kind])
        assert {(line["level"], line["flow"]) for line in logged} == {("error", "web")}
        assert len(logged) <= 2  # at most one a second
        assert "no partition" in logged[0]["error"]


@pytest.mark.parametrize("role", ["up", "api"])
async def test_a_service_that_was_off_for_two_weeks_is_ready_only_when_it_can_serve(role: Role) -> None:
    async with cluster() as server, sandboxed() as (_, provider), _admin(server.url()) as admin:
        for parent in PARTITIONED:
            for partition in await partitions.ranges(admin, parent):
                await admin.execute(f"DROP TABLE {partition.name(parent)}")
        await partitions.create_missing(admin, datetime.now(UTC) - timedelta(days=21), RETENTION)
        async with running(server.url(), provider, role) as relay:
            assert (await relay.call("GET", "/readyz"))[0] == 200
            await relay.submit()


async def _works_again(relay: Relay, sandbox: Sandbox, open_task: str) -> None:
    """Wait until orders, callbacks and the probe are answered 200 again, without a restart."""
    tasks: list[str] = []
    statuses: set[int] = set()

    async def has_ordered() -> bool:
        status, said = await relay.call("POST", DOOR, json=ORDER)
        statuses.add(status)
        tasks.extend([said["data"]["task_id"]] if status == 200 else [])
        return status == 200

    await eventually(has_ordered, 15)
    assert statuses <= {200, 503}
    await eventually(lambda: _is_answered(relay, 200, "POST", hook(relay, open_task), json=PROCESSING))
    await eventually(lambda: _is_ready(relay))
    await relay.final(tasks[0])
    sandbox.finish(open_task)
    await relay.final(open_task)


async def _refused_everywhere(relay: Relay, open_task: str) -> None:
    """Wait until orders, callbacks and the probe are answered 503; until then they get 200, and never another error."""
    statuses: set[int] = set()

    async def are_refused() -> bool:
        latest = {
            (await relay.call("POST", DOOR, json=ORDER))[0],
            (await relay.call("POST", hook(relay, open_task), json=PROCESSING))[0],
            (await relay.call("GET", "/readyz"))[0],
        }
        statuses.update(latest)
        return latest == {503}

    await eventually(are_refused)
    assert statuses <= {200, 503}


async def _is_refused(relay: Relay, method: str, path: str, **request: Any) -> bool:
    return await _is_answered(relay, 503, method, path, **request)


async def _is_answered(relay: Relay, status: int, method: str, path: str, **request: Any) -> bool:
    return (await relay.call(method, path, **request))[0] == status


async def _is_ready(relay: Relay) -> bool:
    return await _is_answered(relay, 200, "GET", "/readyz")


def _settings(database: str, provider: str) -> dict[str, str]:
    return {
        "RELAY_DATABASE_URL": database,
        "RELAY_PROVIDER_URL": provider,
        "RELAY_PROVIDER_KEY": "hk-sandbox",
        "RELAY_SIGNING_KEYS": SIGNING,
        "RELAY_BOOTSTRAP_KEY": KEY,
        "RELAY_PORT": "0",
        "RELAY_METRICS_PORT": "0",
    }


def _failures(lines: list[str]) -> list[dict[str, Any]]:
    """Return the lines of a process's log that say that the database failed."""
    return [line for line in map(json.loads, lines) if line["event"] == "a database operation failed"]


@asynccontextmanager
async def _admin(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _nobody_creates_partitions(admin: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[None]:
    """Hold the lock of those that create partitions."""
    await admin.execute(f"SELECT pg_advisory_lock({partitions._LOCK})")
    try:
        yield
    finally:
        await admin.execute(f"SELECT pg_advisory_unlock({partitions._LOCK})")


async def _drop_todays(admin: "asyncpg.Connection[asyncpg.Record]", *parents: str) -> None:
    now = datetime.now(UTC)
    for parent in parents:
        for partition in await partitions.ranges(admin, parent):
            if partition.start <= now < partition.end:
                await admin.execute(f"DROP TABLE {partition.name(parent)}")
