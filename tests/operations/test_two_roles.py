"""One role owns the schema, and the service uses a lesser one, as in docs/operations.md."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from typing_extensions import override

from kling_relay.app.doctor import examine
from kling_relay.app.doctor_finding import CheckState
from kling_relay.flows.observer import Observer
from kling_relay.flows.sweep import Sweep
from kling_relay.store.embedded.server import Server
from kling_relay.store.postgres.database import Database, connect
from kling_relay.store.schema.migrate import MigrationError
from kling_relay.store.schema.partitions import create_missing, ranges
from kling_relay.store.schema.tx_offset import raise_tx_offset
from tests.support.paths import ROOT
from tests.support.postgres import fresh_database
from tests.support.service import SIGNING, running, sandboxed, settings_for, subscriber
from tests.support.waiting import eventually

DAYS = 30
RETENTION = timedelta(days=DAYS)
NOW = datetime.now(UTC)
_OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
(SET_UP,) = [
    block
    for block in re.findall(r"^```sql\n(.*?)^```", _OPERATIONS, re.MULTILINE | re.DOTALL)
    if "CREATE ROLE relay_owner" in block
]


@dataclass(frozen=True, slots=True)
class Roles:
    """The addresses of one database for its owner and for the service."""

    owner: str
    service: str


@pytest.fixture
async def roles(postgres: Server) -> AsyncIterator[Roles]:
    async with fresh_database(postgres, template="template0") as url:
        mark = re.sub(r"\W", "_", url.partition("?")[0].rpartition("/")[2])
        admin = await asyncpg.connect(url)
        try:
            await admin.execute(re.sub(r"\brelay(_owner)?\b", rf"relay\1_{mark}", SET_UP))
            yield Roles(*(url.replace("postgres@", f"{role}_{mark}@", 1) for role in ("relay_owner", "relay")))
        finally:
            for role in ("relay", "relay_owner"):
                await admin.execute(f"DROP OWNED BY {role}_{mark} CASCADE")
            for role in ("relay", "relay_owner"):
                await admin.execute(f"DROP ROLE {role}_{mark}")
            await admin.close()


async def migrated(url: str, *options: str) -> tuple[int | None, str, str]:
    """Run `kling-relay migrate` as the role in `url`; return its exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kling_relay", "migrate", *options,
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "RELAY_DATABASE_URL": url,
            "RELAY_SIGNING_KEYS": SIGNING,
            "RELAY_RETENTION": f"{DAYS}d",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_service_and_the_doctor_work_as_the_lesser_role(roles: Roles) -> None:
    assert (await migrated(roles.owner))[0] == 0
    assert (await migrated(roles.service, "--wait"))[0] == 0
    async with (
        sandboxed() as (_, provider),
        subscriber() as other,
        running(roles.service, provider, retention=f"{DAYS}d") as relay,
    ):
        await relay.subscribe(other.url)
        task = await relay.submit()
        assert (await relay.final(task))["task_status"] == "succeed"
        await eventually(lambda: len(other.ids()) == 3)
        asked = settings_for(roles.service, provider, url=relay.url, public_url=relay.url)
        found = [finding async for finding in examine(asked)]
        assert [finding for finding in found if finding.state is CheckState.ERROR] == []
        assert any("migrate --drop-old" in finding.detail + finding.advice for finding in found)
        with pytest.raises(MigrationError, match="Stop them all"):
            await raise_tx_offset(roles.owner, restored=True)


async def test_only_the_owner_creates_and_drops_partitions(roles: Roles) -> None:
    assert (await migrated(roles.owner))[0] == 0
    owner = await asyncpg.connect(roles.owner)
    try:
        old = await grown_old(owner)
        async with connect(roles.service) as store:
            observer = PartitionObserver()
            await keep_house(store, observer)
            (error,) = observer.errors  # reported, not raised, which would be tried again at once
            assert "kling-relay migrate --drop-old" in str(error)
            assert old <= {each.name("tasks") for each in await ranges(owner)}
            code, out, err = await migrated(roles.owner, "--drop-old")
            assert (code, err) == (0, "")
            assert all(name in out for name in old)
            assert not {each.name("tasks") for each in await ranges(owner)} & old
            observer.errors.clear()
            await keep_house(store, observer)
            assert observer.errors == []
            assert observer.changes == []
    finally:
        await owner.close()


async def test_a_service_that_may_not_create_partitions_is_red_until_their_owner_does(roles: Roles) -> None:
    assert (await migrated(roles.owner))[0] == 0
    owner = await asyncpg.connect(roles.owner)
    try:
        await drop_partitions(owner)
    finally:
        await owner.close()
    async with sandboxed() as (_, provider), running(roles.service, provider, retention=f"{DAYS}d") as relay:
        status, said = await relay.call("GET", "/readyz")
        assert (status, "partition" in said["status"]) == (503, True), said
        assert (await relay.call("POST", "/kling/v1/videos/text2video", json={"prompt": "a rabbit"}))[0] == 503
        assert (await migrated(roles.owner))[0] == 0
        assert (await relay.call("GET", "/readyz"))[0] == 200
        await relay.final(await relay.submit())


async def drop_partitions(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    for name in await owner.fetch("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'"):
        await owner.execute(f"DROP TABLE {name[0]}")


async def grown_old(owner: "asyncpg.Connection[asyncpg.Record]") -> set[str]:
    """Leave only partitions that are older than the retention, and return the names of those of tasks."""
    await drop_partitions(owner)
    assert await create_missing(owner, NOW - 2 * RETENTION, RETENTION)
    return {each.name("tasks") for each in await ranges(owner)}


class PartitionObserver(Observer):
    """Remembers what the sweep reports about partitions."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.changes: list[tuple[int, int]] = []

    @override
    def partitions_not_owned(self, error: Exception) -> None:
        self.errors.append(error)

    @override
    def partitions_changed(self, created: int, dropped: int) -> None:
        self.changes.append((created, dropped))


async def keep_house(store: Database, observer: Observer) -> None:
    """Do what a worker does once an hour."""
    absent: Any = None
    sweep = Sweep(
        store, absent, absent, absent,
        now=lambda: NOW, random_fraction=absent, new_id=absent,
        sweep_after=timedelta(minutes=1), deadline=timedelta(hours=6), retention=RETENTION,
        observer=observer,
    )  # fmt: skip
    await sweep.keep_house()


async def test_the_lesser_role_cannot_migrate_and_the_error_names_the_owner(roles: Roles) -> None:
    code, _, err = await migrated(roles.service)
    assert code
    assert "Traceback" not in err
