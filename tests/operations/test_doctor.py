"""The doctor finds every fault, gives advice on each, and checks everything else all the same."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from kling_relay.app.doctor import examine
from kling_relay.app.doctor_finding import CheckState, Finding, clock_finding
from kling_relay.core.ids import lower_bound
from kling_relay.settings import Settings
from kling_relay.store.embedded.server import Server
from kling_relay.store.postgres.server_check import ServerCheck
from kling_relay.store.schema import tx_offset
from kling_relay.store.tables import PARTITIONED
from tests.support.pgbouncer import MISSING, PROGRAM, pgbouncer
from tests.support.postgres import fresh_database
from tests.support.service import running, sandboxed, settings_for

NOBODY = "http://127.0.0.1:9"


async def examined(settings: Settings) -> dict[str, list[Finding]]:
    """Return the doctor's findings by their check."""
    by_check: dict[str, list[Finding]] = {}
    async for finding in examine(settings):
        by_check.setdefault(finding.check, []).append(finding)
        assert (finding.state is CheckState.OK) or finding.advice or finding.check == "settings"
    return by_check


def worst(findings: list[Finding]) -> Finding:
    order = [CheckState.OK, CheckState.WARNING, CheckState.ERROR]
    return max(findings, key=lambda finding: order.index(finding.state))


async def execute(database: str, script: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def test_a_sound_deployment_has_no_errors(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        findings = await examined(settings_for(database, provider, url=relay.url, public_url=relay.url))
        assert {check for check, of_check in findings.items() if worst(of_check).state is not CheckState.OK} <= {
            "settings",
            "database",
        }
        assert set(findings) == {
            *("settings", "database", "clock", "schema", "events", "secrets", "partitions", "snapshot"),
            *("provider", "service", "public address"),
        }


async def test_everything_that_cannot_be_reached_is_reported_at_once() -> None:
    findings = await examined(settings_for("postgresql://127.0.0.1:9/none", NOBODY, public_url=NOBODY, url=NOBODY))
    assert {check for check, of_check in findings.items() if worst(of_check).state is CheckState.ERROR} == {
        *("database", "provider", "public address")
    }
    assert worst(findings["service"]).state is CheckState.WARNING


async def test_a_missing_database_and_a_missing_schema_have_their_own_advice(postgres: Server, database: str) -> None:
    findings = await examined(settings_for(postgres.url("nowhere"), NOBODY))
    assert "CREATE DATABASE" in worst(findings["database"]).advice
    async with fresh_database(postgres, template="template0") as empty:
        findings = await examined(settings_for(empty, NOBODY))
        assert worst(findings["schema"]).advice.startswith("`kling-relay migrate`")


async def test_lost_partitions_and_secrets_under_a_missing_key_are_errors(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        await relay.final(await relay.submit())
    await execute(database, "UPDATE events SET tx = tx + 1000000000")
    tables = "SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'"
    await execute(
        database, f"DO $$ DECLARE t text; BEGIN FOR t IN {tables} LOOP EXECUTE 'DROP TABLE ' || t; END LOOP; END $$"
    )
    findings = await examined(
        settings_for(database, NOBODY, signing_keys="another-signing-key-0123456789abcdef01234567")
    )
    assert worst(findings["partitions"]).state is CheckState.ERROR
    assert worst(findings["secrets"]).state is CheckState.ERROR


async def test_an_old_partition_that_is_not_dropped_is_a_warning(database: str) -> None:
    for parent in PARTITIONED:
        start, end = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 3))
        await execute(
            database,
            f"CREATE TABLE {parent}_p20260101_20260103 PARTITION OF {parent}"
            f" FOR VALUES FROM ('{lower_bound(start)}') TO ('{lower_bound(end)}')",
        )
    finding = worst((await examined(settings_for(database, NOBODY)))["partitions"])
    assert (finding.state, "should have been dropped" in finding.detail) == (CheckState.WARNING, True)
    assert "KlingRelayRetentionBehind" in finding.advice


async def test_events_ahead_of_the_servers_transactions_are_an_error_until_a_migration(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        await relay.final(await relay.submit())
    await execute(database, "UPDATE events SET tx = tx + 1000000000")
    assert worst((await examined(settings_for(database, NOBODY)))["events"]).state is CheckState.ERROR
    assert await tx_offset.raise_tx_offset(database)
    assert worst((await examined(settings_for(database, NOBODY)))["events"]).state is CheckState.OK


async def test_secrets_under_an_older_key_are_a_warning(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider):
        pass
    keys = "another-signing-key-0123456789abcdef01234567,test-signing-key-0123456789abcdef0123456789abcdef"
    finding = worst((await examined(settings_for(database, NOBODY, signing_keys=keys)))["secrets"])
    assert finding.state is CheckState.WARNING
    assert "reencrypt" in finding.advice


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
async def test_a_pooler_that_the_settings_do_not_mention_is_an_error(postgres: Server, database: str) -> None:
    async with pgbouncer(postgres, database) as pooled:
        findings = await examined(settings_for(pooled, NOBODY))
        assert any("pooler" in finding.detail and finding.state is CheckState.ERROR for finding in findings["database"])
        findings = await examined(settings_for(pooled, NOBODY, database_pooler="1"))
        assert not any("pooler" in finding.detail for finding in findings["database"])
        assert worst(findings["secrets"]).state is CheckState.OK


async def test_the_doctor_does_not_create_an_embedded_database(tmp_path: Path) -> None:
    finding = worst((await examined(Settings(data_dir=tmp_path / "none", url=NOBODY)))["database"])
    assert (finding.state, "does not exist yet" in finding.detail) == (CheckState.WARNING, True)
    assert not (tmp_path / "none").exists()


async def answering(status: int, headers: dict[str, str] | None = None) -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (200, CheckState.OK),
        (404, CheckState.OK),
        (401, CheckState.ERROR),
        (403, CheckState.ERROR),
        (301, CheckState.ERROR),
        (503, CheckState.WARNING),
    ],
)
async def test_the_providers_status_decides_the_state(status: int, state: CheckState) -> None:
    async for provider in answering(status):
        assert (
            worst((await examined(settings_for("postgresql://127.0.0.1:9/none", provider)))["provider"]).state is state
        )


async def test_a_provider_whose_clock_is_far_off_is_an_error() -> None:
    late = (datetime.now(UTC) - timedelta(minutes=5)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    async for provider in answering(200, {"Date": late}):
        findings = await examined(settings_for("postgresql://127.0.0.1:9/none", provider))
        assert worst(findings["clock"]).state is CheckState.ERROR


async def test_a_public_address_for_callbacks_alone_is_ok_and_another_server_is_an_error() -> None:
    away = "postgresql://127.0.0.1:9/none"
    async for ours in answering(404, {"X-Request-Id": "0"}):
        assert (
            worst((await examined(settings_for(away, NOBODY, public_url=ours)))["public address"]).state
            is CheckState.OK
        )
    async for stranger in answering(404):
        finding = worst((await examined(settings_for(away, NOBODY, public_url=stranger)))["public address"])
        assert finding.state is CheckState.ERROR


@pytest.mark.parametrize(
    ("seconds", "state"), [(0.0, CheckState.OK), (3.0, CheckState.WARNING), (90.0, CheckState.ERROR)]
)
def test_the_difference_of_clocks_decides_the_state(seconds: float, state: CheckState) -> None:
    assert clock_finding("the database", seconds).state is state


def test_every_fault_of_a_database_server_is_a_sentence() -> None:
    common: dict[str, Any] = {"at": datetime.now(UTC), "is_pooled": False, "connections": 1}
    sound = ServerCheck(version=18, is_replica=False, can_create=True, settings={}, **common)
    assert not sound.faults
    assert not sound.risks
    settings = {"server_encoding": "SQL_ASCII", "fsync": "off", "synchronous_commit": "off"}
    faulty = ServerCheck(version=13, is_replica=True, can_create=False, settings=settings, **common)
    assert [fault.split(" ")[0] for fault in faulty.faults] == ["PostgreSQL", "it", "server_encoding"]
    assert [risk.split(" ")[0] for risk in faulty.risks] == ["fsync", "this", "synchronous_commit"]
