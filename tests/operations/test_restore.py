"""After a restore from a backup no reader misses or repeats an event, and every secret can be decrypted."""

import os
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kling_relay.app.database import prepare_database
from kling_relay.store.embedded.server import Server
from kling_relay.store.schema.migrate import MigrationError
from kling_relay.store.schema.tx_offset import OFFSET_STEP, raise_tx_offset
from tests.support.backup import own_place, own_server, postgres_program
from tests.support.service import Relay, Subscriber, running, sandboxed, settings_for, subscriber
from tests.support.waiting import eventually

BUSY = "DO $$ BEGIN FOR n IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
"""Raises the old cluster's transaction numbers above those of a new one."""


async def do(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def log_after(relay: Relay, cursor: str = "") -> list[dict[str, Any]]:
    status, page = await relay.call("GET", "/v1/events?limit=200" + (f"&after={cursor}" if cursor else ""))
    assert status == 200, page
    assert page["next_cursor"] is None
    return list(page["data"])


async def live(relay: Relay, other: Subscriber, count: int) -> list[dict[str, Any]]:
    """Run `count` tasks to their end, with all deliveries made; return the whole log."""
    told: set[str] = set()
    for task in [await relay.submit() for _ in range(count)]:
        assert (await relay.final(task))["task_status"] == "succeed"
        told |= {event["id"] for event in await relay.events(task)}

    async def logged() -> list[dict[str, Any]]:
        log = await log_after(relay)
        ids = {event["id"] for event in log}
        return log if told <= ids <= other.ids() else []

    return await eventually(logged)  # the log waits for every transaction in the server, those of other tests too


async def test_after_dump_and_restore_streams_continue_and_secrets_decrypt(postgres: Server, database: str) -> None:
    await do(database, BUSY)
    async with own_place() as place, sandboxed() as (_, provider), subscriber() as other:
        async with running(database, provider) as relay:
            secret = (await relay.subscribe(other.url))["secret"]
            hook_secret = (await relay.call("GET", "/v1/hook-secret"))[1]["secret"]
            kept = await live(relay, other, 2)
            dump = await dumped(postgres, database, place)
            lost = await live(relay, other, 2)
            assert len(lost) > len(kept)
        async with own_server(place / "new") as new:
            await postgres_program(new, "pg_restore", "--no-owner", "--dbname", new.url(), str(dump))
            settings = settings_for(new.url(), provider)
            await prepare_database(new.url(), settings)
            async with running(new.url(), provider) as relay:
                assert await log_after(relay) == kept
                assert await log_after(relay, lost[-1]["cursor"]) == []
                told = len(other.heard)
                log = await live(relay, other, 2)
                fresh = log[len(kept) :]
                assert log == kept + fresh
                assert len({event["id"] for event in log}) == len(log)
                for reader in (kept[-1], lost[-1]):
                    assert await log_after(relay, reader["cursor"]) == fresh
                assert {int(event["cursor"].split("-")[0]) // OFFSET_STEP for event in fresh} == {1}
                for heard in other.heard[told:]:
                    heard.verified(secret)
                assert (await relay.call("GET", "/v1/hook-secret"))[1]["secret"] == hook_secret


async def dumped(server: Server, database: str, place: Path) -> Path:
    """Return a dump by `pg_dump -Fc` that PostgreSQL's account can read."""
    into = place / "dump"
    into.mkdir()
    if server.account:
        os.chown(into, server.account.uid, server.account.gid)
    await postgres_program(server, "pg_dump", "--format=custom", "--file", str(into / "relay.dump"), database)
    return into / "relay.dump"


async def test_the_offset_is_raised_by_one_step_per_restore(database: str) -> None:
    assert not await raise_tx_offset(database)
    assert await raise_tx_offset(database, restored=True)
    assert await offset(database) > OFFSET_STEP - 2**32
    assert not await raise_tx_offset(database)
    assert await raise_tx_offset(database, restored=True)
    assert await offset(database) > 2 * OFFSET_STEP - 2**32


async def test_the_offset_is_not_raised_under_a_running_service(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider):
        with pytest.raises(MigrationError, match="Stop them all"):
            await raise_tx_offset(database, restored=True)
    assert await offset(database) == 0


async def test_migrate_waits_for_a_read_only_server_and_then_names_it(database: str) -> None:
    name = database.split("?", maxsplit=1)[0].rsplit("/", 1)[1]
    await do(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(MigrationError, match="accepts no writes"):
        await raise_tx_offset(database, restored=True, max_wait=0.3)


async def offset(database: str) -> int:
    connection = await asyncpg.connect(database)
    try:
        return int(await connection.fetchval("SELECT tx_offset FROM database_info"))
    finally:
        await connection.close()
