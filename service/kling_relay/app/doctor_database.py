"""The doctor's look into the database: is it there, is it sound, and is in it what a service needs."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from kling_relay.app import clock as sources
from kling_relay.app.database import located
from kling_relay.app.doctor_finding import CheckState, Finding, clock
from kling_relay.app.signing_keys import signing_keys
from kling_relay.settings import Settings
from kling_relay.store.access import reencrypt
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.embedded.server import EmbeddedError
from kling_relay.store.postgres import server_check
from kling_relay.store.postgres.database import Database, connect, connect_once
from kling_relay.store.postgres.server_check import Condition
from kling_relay.store.postgres.statement import StoreError
from kling_relay.store.schema import migrate, restored
from kling_relay.store.stats import fleet

SECRETS = 1_000
"""Secrets of each kind that are tried with our keys."""
SNAPSHOT = 60.0
"""Seconds after which a transaction that stays open begins to cost everybody."""
_OWN_POOLS = 6
_ADVICE = "Check RELAY_DATABASE_URL, and that PostgreSQL runs and lets this machine in."


async def look_inside(settings: Settings, patience: float) -> AsyncIterator[Finding]:
    """Yield what is found in the database, each look bounded by `patience` seconds; stop where nothing more can be."""
    if settings.database_url is None and not (Path(settings.data_dir) / "postgresql").exists():
        says = f"the embedded PostgreSQL under {settings.data_dir} is not made yet"
        yield Finding("database", CheckState.POOR, says, "`kling-relay up` makes it; or set RELAY_DATABASE_URL.")
        return
    try:
        async with located(settings) as url, asyncio.timeout(patience):
            for found in await _of_server(url, settings):
                yield found
            revision = await _of_schema(url)
            yield revision
            if revision.state is not CheckState.BAD:
                async with connect(url, size=2, patience=patience, pooler=settings.database_pooler) as database:
                    for found in [await _of_log(database), await _of_secrets(database, settings)]:
                        yield found
                    for found in await _of_figures(database):
                        yield found
    except TimeoutError:
        yield Finding("database", CheckState.BAD, f"no answer within {patience:g} s", _ADVICE)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, StoreError, EmbeddedError) as error:
        yield Finding("database", CheckState.BAD, str(error) or type(error).__name__, _advice(error))


def _advice(error: Exception) -> str:
    match error:
        case asyncpg.InvalidAuthorizationSpecificationError():
            return "Check user and password in RELAY_DATABASE_URL, and the server's pg_hba.conf."
        case asyncpg.InvalidCatalogNameError():
            return "Make the database that RELAY_DATABASE_URL names: CREATE DATABASE …"
        case asyncpg.TooManyConnectionsError():
            return "Raise the server's max_connections, or put a PgBouncer in front (RELAY_DATABASE_POOLER)."
        case socket.gaierror():
            return "Check the host in RELAY_DATABASE_URL: its name cannot be resolved here."
        case _:
            return _ADVICE


async def _of_server(url: str, settings: Settings) -> list[Finding]:
    connection = await connect_once(url)
    try:
        before = sources.now()
        said = await server_check.look(connection)
        after = sources.now()
    finally:
        await connection.close()
    milliseconds = (after - before).total_seconds() * 1000
    found = [Finding("database", CheckState.GOOD, f"PostgreSQL {said.version} answers within {milliseconds:.0f} ms")]
    found += [
        Finding("database", CheckState.BAD, fault, "See docs/operations.md, PostgreSQL.") for fault in said.faults
    ]
    found += [Finding("database", CheckState.POOR, risk, "See docs/operations.md, PostgreSQL.") for risk in said.risks]
    found += _of_connections(said, settings)
    return [*found, clock("the database", abs((said.at - (before + (after - before) / 2)).total_seconds()))]


def _of_connections(said: Condition, settings: Settings) -> list[Finding]:
    found = []
    if said.is_pooled and not settings.database_pooler:
        says = "a pooler stands before it, which the settings do not say"
        found.append(Finding("database", CheckState.BAD, says, "Set RELAY_DATABASE_POOLER=true."))
    wanted = (settings.pool_size + _OWN_POOLS) * settings.processes
    if not said.is_pooled and wanted > said.most_connections:
        says = f"it allows {said.most_connections} connections; this process alone may want {wanted}"
        found.append(Finding("database", CheckState.POOR, says, "Lower RELAY_POOL_SIZE, or raise max_connections."))
    return found


async def _of_schema(url: str) -> Finding:
    revision = await migrate.current(url)
    if not await migrate.is_ready(url):
        says = f"at {revision}, not at {migrate.head()}" if revision else "not there yet"
        return Finding("schema", CheckState.BAD, says, "`kling-relay migrate` brings it up.")
    newer = "" if revision == migrate.head() else ", which a newer release made"
    return Finding("schema", CheckState.GOOD, f"at {revision}{newer}")


async def _of_log(database: Database) -> Finding:
    if await restored.is_needed(database):
        says = "the newest events lie ahead of this server's transactions, as after a restore, and are shown to nobody"
        return Finding(
            "events", CheckState.BAD, says, "Stop every process, run `kling-relay migrate`, start them again."
        )
    return Finding("events", CheckState.GOOD, "in the order of this server's transactions")


async def _of_secrets(database: Database, settings: Settings) -> Finding:
    counts = await reencrypt.survey(database, Encryptor(signing_keys(settings)), SECRETS)
    if counts.undecryptable:
        says = f"{counts.undecryptable} are under a key that RELAY_SIGNING_KEYS lacks: they can sign nothing"
        return Finding("secrets", CheckState.BAD, says, "Add the missing key at the end of RELAY_SIGNING_KEYS.")
    if counts.outdated:
        says = f"{counts.outdated} are under an older key, or plaintext from an older release"
        return Finding("secrets", CheckState.POOR, says, "Run `kling-relay keys reencrypt` before you remove that key.")
    return Finding("secrets", CheckState.GOOD, f"{counts.current} checked, all under the newest key")


async def _of_figures(database: Database) -> list[Finding]:
    read = await fleet.read(database, sources.now())
    days = read.partitions_ahead
    advice = "A running worker makes them every hour; `kling-relay migrate` does too."
    state = CheckState.GOOD if days > 2 else CheckState.POOR if days > 0 else CheckState.BAD
    found = [
        Finding("partitions", state, f"there for {days:.0f} days ahead", "" if state is CheckState.GOOD else advice)
    ]
    if read.oldest_snapshot > SNAPSHOT:
        says = f"a transaction has been open for {read.oldest_snapshot:.0f} s: the event log waits for it, and vacuum"
        advice = "Find it in pg_stat_activity by xact_start (or in pg_prepared_xacts), and end it."
        found.append(Finding("snapshot", CheckState.POOR, says, advice))
    else:
        found.append(Finding("snapshot", CheckState.GOOD, f"none older than {SNAPSHOT:.0f} s"))
    return found
