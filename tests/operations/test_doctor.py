"""The doctor finds each thing that is wrong, says what to do, and looks at the rest all the same."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from kling_relay.app.doctor import examine
from kling_relay.app.doctor_finding import CheckState, Finding, clock
from kling_relay.settings import Settings
from kling_relay.store.embedded.server import Server
from kling_relay.store.postgres.server_check import Condition
from kling_relay.store.schema import restored
from tests.support.pgbouncer import MISSING, PROGRAM, pgbouncer
from tests.support.postgres import fresh_database
from tests.support.service import running, sandboxed, settings_for

NOBODY = "http://127.0.0.1:9"


async def found(settings: Settings) -> dict[str, list[Finding]]:
    """Return what the doctor finds, by what it is about."""
    by_subject: dict[str, list[Finding]] = {}
    async for finding in examine(settings):
        by_subject.setdefault(finding.about, []).append(finding)
        assert (finding.state is CheckState.GOOD) or finding.advice or finding.about == "settings"
    return by_subject


def worst(findings: list[Finding]) -> Finding:
    order = [CheckState.GOOD, CheckState.POOR, CheckState.BAD]
    return max(findings, key=lambda each: order.index(each.state))


async def do(database: str, script: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def test_a_sound_deployment_is_called_sound(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        well = await found(settings_for(database, provider, url=relay.url, public_url=relay.url))
        assert {about for about, each in well.items() if worst(each).state is not CheckState.GOOD} <= {
            "settings",
            "database",
        }
        assert set(well) == {
            *("settings", "database", "clock", "schema", "events", "secrets", "partitions", "snapshot"),
            *("provider", "service", "public address"),
        }


async def test_everything_that_is_away_is_told_of_at_once() -> None:
    ill = await found(settings_for("postgresql://127.0.0.1:9/none", NOBODY, public_url=NOBODY, url=NOBODY))
    assert {about for about, each in ill.items() if worst(each).state is CheckState.BAD} == {
        *("database", "provider", "public address")
    }
    assert worst(ill["service"]).state is CheckState.POOR


async def test_a_database_that_is_not_there_and_one_without_schema(postgres: Server, database: str) -> None:
    ill = await found(settings_for(postgres.url("nowhere"), NOBODY))
    assert "CREATE DATABASE" in worst(ill["database"]).advice
    async with fresh_database(postgres, template="template0") as empty:
        ill = await found(settings_for(empty, NOBODY))
        assert worst(ill["schema"]).advice.startswith("`kling-relay migrate`")


async def test_a_restored_log_lost_partitions_and_secrets_of_another_key(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        await relay.final(await relay.submit())
    await do(database, "UPDATE events SET tx = tx + 1000000000")
    tables = "SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'"
    await do(
        database, f"DO $$ DECLARE t text; BEGIN FOR t IN {tables} LOOP EXECUTE 'DROP TABLE ' || t; END LOOP; END $$"
    )
    ill = await found(settings_for(database, NOBODY, signing_keys="another-signing-key-0123456789abcdef01234567"))
    assert worst(ill["partitions"]).state is CheckState.BAD
    assert worst(ill["secrets"]).state is CheckState.BAD


async def test_events_ahead_of_the_server_s_transactions_are_found_and_a_migration_mends_it(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        await relay.final(await relay.submit())
    await do(database, "UPDATE events SET tx = tx + 1000000000")
    assert worst((await found(settings_for(database, NOBODY)))["events"]).state is CheckState.BAD
    assert await restored.renew(database)
    assert worst((await found(settings_for(database, NOBODY)))["events"]).state is CheckState.GOOD


async def test_secrets_under_an_older_key_should_be_reencrypted(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider):
        pass
    keys = "another-signing-key-0123456789abcdef01234567,test-signing-key-0123456789abcdef0123456789abcdef"
    poor = worst((await found(settings_for(database, NOBODY, signing_keys=keys)))["secrets"])
    assert poor.state is CheckState.POOR
    assert "reencrypt" in poor.advice


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
async def test_a_pooler_that_the_settings_do_not_mention_is_found(postgres: Server, database: str) -> None:
    async with pgbouncer(postgres, database) as pooled:
        ill = await found(settings_for(pooled, NOBODY))
        assert any("pooler" in each.detail and each.state is CheckState.BAD for each in ill["database"])
        well = await found(settings_for(pooled, NOBODY, database_pooler="1"))
        assert not any("pooler" in each.detail for each in well["database"])
        assert worst(well["secrets"]).state is CheckState.GOOD


async def test_an_embedded_database_is_not_made_only_to_be_looked_at(tmp_path: Path) -> None:
    poor = worst((await found(Settings(data_dir=tmp_path / "none", url=NOBODY)))["database"])
    assert (poor.state, "not made yet" in poor.detail) == (CheckState.POOR, True)
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
    ("status", "word"),
    [
        (200, CheckState.GOOD),
        (404, CheckState.GOOD),
        (401, CheckState.BAD),
        (403, CheckState.BAD),
        (301, CheckState.BAD),
        (503, CheckState.POOR),
    ],
)
async def test_what_the_provider_answers_is_judged(status: int, word: CheckState) -> None:
    async for provider in answering(status):
        assert worst((await found(settings_for("postgresql://127.0.0.1:9/none", provider)))["provider"]).state is word


async def test_a_provider_whose_clock_is_far_off_is_told_of() -> None:
    late = (datetime.now(UTC) - timedelta(minutes=5)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    async for provider in answering(200, {"Date": late}):
        ill = await found(settings_for("postgresql://127.0.0.1:9/none", provider))
        assert worst(ill["clock"]).state is CheckState.BAD


async def test_a_door_for_callbacks_alone_is_good_enough_and_a_stranger_is_not() -> None:
    away = "postgresql://127.0.0.1:9/none"
    async for ours in answering(404, {"X-Request-Id": "0"}):
        assert (
            worst((await found(settings_for(away, NOBODY, public_url=ours)))["public address"]).state is CheckState.GOOD
        )
    async for strange in answering(404):
        ill = worst((await found(settings_for(away, NOBODY, public_url=strange)))["public address"])
        assert ill.state is CheckState.BAD


@pytest.mark.parametrize(("apart", "word"), [(0.0, CheckState.GOOD), (3.0, CheckState.POOR), (90.0, CheckState.BAD)])
def test_clocks_are_judged(apart: float, word: CheckState) -> None:
    assert clock("the database", apart).state is word


def test_a_database_that_cannot_serve_says_why() -> None:
    given: dict[str, Any] = {"at": datetime.now(UTC), "is_pooled": False, "connections": 1}
    sound = Condition(version=18, is_replica=False, may_create=True, settings={}, **given)
    assert not sound.faults
    assert not sound.risks
    settings = {"server_encoding": "SQL_ASCII", "fsync": "off", "synchronous_commit": "off"}
    ill = Condition(version=13, is_replica=True, may_create=False, settings=settings, **given)
    assert [fault.split(" ")[0] for fault in ill.faults] == ["PostgreSQL", "it", "server_encoding"]
    assert [risk.split(" ")[0] for risk in ill.risks] == ["fsync", "this", "synchronous_commit"]
