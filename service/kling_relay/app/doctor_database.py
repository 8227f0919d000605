"""The doctor's checks of the database: the server, the schema, and the data that a service needs."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

import asyncpg

from kling_relay.app import clock
from kling_relay.app.database import database_url, embedded_place, has_embedded_database
from kling_relay.app.database_errors import explain
from kling_relay.app.doctor_finding import CheckState, Finding, clock_finding
from kling_relay.app.signing_keys import signing_keys
from kling_relay.settings import Settings, server_place
from kling_relay.store.access import reencrypt
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.embedded.server import EmbeddedError
from kling_relay.store.postgres import server_check
from kling_relay.store.postgres.database import Database, connect, connect_once, current_time
from kling_relay.store.postgres.server_check import ServerCheck
from kling_relay.store.postgres.statement import StoreError
from kling_relay.store.schema import migrate, tx_offset
from kling_relay.store.stats import fleet

CHECKED_SECRETS = 1_000
"""The number of secrets of each kind that are checked."""
MAX_SNAPSHOT_AGE = 60.0
"""Seconds; an older open transaction delays the event log and vacuum."""
MAX_RETENTION_LAG = timedelta(days=2)
"""A worker drops partitions every hour, and their owner's CronJob every day."""
_BATCH_CONNECTIONS = 6
"""Connections of each process besides RELAY_POOL_SIZE."""
_ADVICE = "Check RELAY_DATABASE_URL, and that PostgreSQL runs and accepts connections from this machine."
_SERVER_ADVICE = "See docs/operations.md, PostgreSQL."


async def check_database(settings: Settings, limit: float) -> AsyncGenerator[Finding, None]:
    """Yield the findings about the database, within `limit` seconds. Stop at an error that hides the rest."""
    if settings.database_url is None and not has_embedded_database(settings):
        detail = f"the embedded PostgreSQL under {embedded_place(settings)} does not exist yet"
        advice = "`kling-relay up` creates it. To use another server, set RELAY_DATABASE_URL."
        yield Finding("database", CheckState.WARNING, detail, advice)
        return
    try:
        async with database_url(settings) as url, asyncio.timeout(limit):
            for finding in await _check_server(url, settings):
                yield finding
            schema = await _check_schema(url)
            yield schema
            if schema.state is CheckState.ERROR:
                return
            async with connect(url, size=2, max_wait=limit, pooler=settings.database_pooler) as database:
                yield await _check_events(database)
                yield await _check_secrets(database, settings)
                for finding in await _check_upkeep(database, settings):
                    yield finding
    except TimeoutError:
        yield Finding("database", CheckState.ERROR, f"no response within {limit:g} s", _ADVICE)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, StoreError, EmbeddedError) as error:
        yield _database_finding(error, settings)


def _database_finding(error: Exception, settings: Settings) -> Finding:
    if isinstance(error, EmbeddedError) or settings.database_url is None:
        return Finding("database", CheckState.ERROR, str(error) or type(error).__name__, _ADVICE)
    reason, advice = explain(error)
    place = server_place(settings.database_url.get_secret_value())
    return Finding("database", CheckState.ERROR, f"{place} {reason}".rstrip("."), advice)


async def _check_server(url: str, settings: Settings) -> list[Finding]:
    connection = await connect_once(url)
    try:
        sent_at = clock.now()
        server = await server_check.check_server(connection)
        answered_at = clock.now()
    finally:
        await connection.close()
    milliseconds = (answered_at - sent_at).total_seconds() * 1000
    ahead = (sent_at + (answered_at - sent_at) / 2 - server.at).total_seconds()
    return [
        Finding("database", CheckState.OK, f"PostgreSQL {server.version} answers within {milliseconds:.0f} ms"),
        *(Finding("database", CheckState.ERROR, fault, _SERVER_ADVICE) for fault in server.faults),
        *(Finding("database", CheckState.WARNING, risk, _SERVER_ADVICE) for risk in server.risks),
        *_check_connections(server, settings),
        clock_finding("the database", ahead),
    ]


def _check_connections(server: ServerCheck, settings: Settings) -> list[Finding]:
    findings = []
    if server.is_pooled and not settings.database_pooler:
        detail = "there is a pooler in front of it, but RELAY_DATABASE_POOLER is not set"
        findings.append(Finding("database", CheckState.ERROR, detail, "Set RELAY_DATABASE_POOLER=true."))
    needed = (settings.pool_size + settings.report_connections + _BATCH_CONNECTIONS) * settings.processes
    if not server.is_pooled and needed > server.max_connections:
        detail = f"it allows {server.max_connections} connections, but this service alone may open {needed}"
        advice = "Lower RELAY_POOL_SIZE, or raise max_connections."
        findings.append(Finding("database", CheckState.WARNING, detail, advice))
    return findings


async def _check_schema(url: str) -> Finding:
    revision = await migrate.current(url)
    if not await migrate.is_ready(url):
        detail = f"at {revision} instead of {migrate.head()}" if revision else "does not exist yet"
        return Finding("schema", CheckState.ERROR, detail, "`kling-relay migrate` brings it up to date.")
    newer = "" if revision == migrate.head() else ", made by a newer release"
    return Finding("schema", CheckState.OK, f"at {revision}{newer}")


async def _check_events(database: Database) -> Finding:
    if await tx_offset.is_offset_too_low(database):
        detail = "the newest events are hidden: they are ahead of this server's transactions, as after a restore"
        advice = "Stop every process, run `kling-relay migrate`, and start them again."
        return Finding("events", CheckState.ERROR, detail, advice)
    return Finding("events", CheckState.OK, "in the order of this server's transactions")


async def _check_secrets(database: Database, settings: Settings) -> Finding:
    counts = await reencrypt.survey(database, Encryptor(signing_keys(settings)), CHECKED_SECRETS)
    if counts.undecryptable:
        detail = f"{counts.undecryptable} are under a key that RELAY_SIGNING_KEYS lacks: they can sign nothing"
        return Finding("secrets", CheckState.ERROR, detail, "Add the missing key at the end of RELAY_SIGNING_KEYS.")
    if counts.outdated:
        detail = f"{counts.outdated} are under an older key, or plaintext from an older release"
        advice = "Run `kling-relay keys reencrypt` before you remove that key."
        return Finding("secrets", CheckState.WARNING, detail, advice)
    return Finding("secrets", CheckState.OK, f"{counts.current} checked, all under the newest key")


async def _check_upkeep(database: Database, settings: Settings) -> list[Finding]:
    stats = await fleet.read(database, await current_time(database.pool), settings.retention)
    return [
        _partitions_finding(stats.partitions_ahead),
        *_retention_findings(timedelta(seconds=stats.retention_lag)),
        _snapshot_finding(stats.oldest_snapshot),
    ]


def _partitions_finding(days: float) -> Finding:
    if days > 2:
        return Finding("partitions", CheckState.OK, f"exist for the next {days:.0f} days")
    state = CheckState.WARNING if days > 0 else CheckState.ERROR
    advice = "A running worker creates them every hour; `kling-relay migrate` does too."
    return Finding("partitions", state, f"exist for the next {days:.0f} days only", advice)


def _retention_findings(lag: timedelta) -> list[Finding]:
    if lag <= MAX_RETENTION_LAG:
        return []
    detail = f"the oldest should have been dropped {lag / timedelta(days=1):.0f} days ago"
    advice = "See docs/runbook.md, KlingRelayRetentionBehind: it says what a partition waits for."
    return [Finding("partitions", CheckState.WARNING, detail, advice)]


def _snapshot_finding(age: float) -> Finding:
    if age <= MAX_SNAPSHOT_AGE:
        return Finding("snapshot", CheckState.OK, f"no transaction is older than {MAX_SNAPSHOT_AGE:.0f} s")
    detail = f"a transaction has been open for {age:.0f} s; the event log and vacuum wait for it"
    advice = "Find it in pg_stat_activity by xact_start (or in pg_prepared_xacts), and end it."
    return Finding("snapshot", CheckState.WARNING, detail, advice)
