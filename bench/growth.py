"""Growth (`--full`): the same figures with millions of finished tasks in the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median

from bench import callbacks, deliveries, fixtures, latency, lookups, orders
from bench.environment import BARE_TEMPLATE, Environment
from bench.figures import Figure, in_turns
from kling_relay.store.postgres.statement import Connection
from kling_relay.store.schema import partitions

DAYS = 80
ATTEMPTS = 3
_LOAD = """
WITH new_tasks AS (
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000'
            || 'b' || substr(md5(n::text || $4), 1, 15))::uuid AS id, at
    FROM generate_series(1, $1) n, LATERAL (SELECT $2::timestamptz + random() * interval '1 day' AS at) moment
), inserted_tasks AS (
    INSERT INTO tasks (id, client, status, sequence, created_at, updated_at, kind, model, units, quote, currency,
                       prices, fields)
    SELECT id, $3, 'succeed', 1, at, at, 'text2video', 'kling-v1', 1, 1, 'unit', 'bench', '{}' FROM new_tasks
), inserted_events AS (
    INSERT INTO events (subject, sequence, client, tx, at, type, body)
    SELECT id, 1, $3, 1, at, 'task.succeed', $5 FROM new_tasks
)
INSERT INTO attempts (subscription, subject, sequence, attempt, at, latency, status, outcome)
SELECT s, id, 1, 1, at, 0.01, 200, 'delivered' FROM new_tasks, unnest($6::uuid[]) s
"""


async def fill(connection: Connection, tasks: int) -> None:
    """Fill the database with finished tasks of the last eighty days, each with three attempts."""
    now = datetime.now(UTC)
    await partitions.create_missing(connection, now - timedelta(days=DAYS), timedelta(days=90))
    for day in range(7, DAYS, 3):  # as a service that ran all that time would have created them
        await partitions.create_missing(connection, now - timedelta(days=DAYS - day), timedelta(days=90))
    [client, sample, *subscriptions] = fixtures.ids(2 + ATTEMPTS)
    body = fixtures.success_event(sample, client).body
    for day in range(DAYS):
        start = now - timedelta(days=DAYS - day)
        await connection.execute(_LOAD, tasks // DAYS, start, client, str(day), body, subscriptions, timeout=3600)
    await connection.execute("ANALYZE tasks, events, attempts", timeout=3600)
    await connection.execute("CHECKPOINT", timeout=3600)


@asynccontextmanager
async def grown_environment(environment: Environment, tasks: int) -> AsyncIterator[Environment]:
    """Give an environment whose every database is a copy of a grown one."""
    admin = await fixtures.connect(environment.server.url("postgres"))
    name = "bench_grown"
    try:
        # partitions are created from the past on, so it begins without those of the present
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {BARE_TEMPLATE} STRATEGY file_copy")
        connection = await fixtures.connect(environment.server.url(name))
        await fill(connection, tasks)
        await partitions.create_missing(connection, datetime.now(UTC), timedelta(days=90))
        await connection.close()
        yield replace(environment, template=name)
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()


async def measure(environment: Environment, turns: int, seconds: float, tasks: int) -> list[Figure]:
    """Measure callbacks, deliveries, look-ups, orders and latency in turns with an empty and with a grown database."""

    async def callback_rate(database: Environment) -> float:
        return await callbacks.rate(database, seconds)

    async def delivery_rate(database: Environment) -> float:
        return (await deliveries.deliver_backlog(database, 40_000)).rate

    async def lookup_rate(database: Environment) -> float:
        return (await lookups.measure(database, 1, seconds))[0].ours[0]

    async def order_rate(database: Environment) -> float:
        return await orders.rate(database, seconds)

    async def p99(database: Environment) -> float:
        return latency.percentile(await latency.latencies_at(database, 200, seconds), 0.99)

    rates = {"callbacks": callback_rate, "deliveries": delivery_rate, "look-ups": lookup_rate, "orders": order_rate}
    async with grown_environment(environment, tasks) as grown:
        samples = {
            name: await in_turns(turns, {"grown": partial(measured, grown), "empty": partial(measured, environment)})
            for name, measured in {**rates, "latency": p99}.items()
        }
    size = f"with {tasks:,} finished tasks, {tasks * ATTEMPTS:,} attempts"
    return [
        *(
            Figure(
                name=f"{name} {size}",
                unit="1/s",
                ours=samples[name]["grown"],
                against=samples[name]["empty"],
                against_what="with an empty database",
                reach=0.85,
            )
            for name in rates
        ),
        Figure(
            name=f"callback to subscriber at 200/s, p99, {size}",
            unit="ms",
            ours=samples["latency"]["grown"],
            reach=50.0,
            at_most=True,
            notes={"ms with an empty database": median(samples["latency"]["empty"])},
        ),
    ]
