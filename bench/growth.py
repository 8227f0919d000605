"""Growth and soak (`--full`): the same figures with millions of finished tasks behind them; memory after a million."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median

from bench import callbacks, deliveries, environment, fixtures, latency, lookups, orders
from bench.environment import Ground
from bench.figures import Figure, in_turns
from kling_relay.store.postgres.statement import Connection
from kling_relay.store.schema import partitions

DAYS = 80
ATTEMPTS = 3
_LOAD = """
WITH made AS (
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000'
            || 'b' || substr(md5(n::text || $4), 1, 15))::uuid AS id, at
    FROM generate_series(1, $1) n, LATERAL (SELECT $2::timestamptz + random() * interval '1 day' AS at) moment
), recorded AS (
    INSERT INTO tasks (id, client, status, sequence, created_at, updated_at, kind, model, units, quote, currency,
                       prices, fields)
    SELECT id, $3, 'succeed', 1, at, at, 'text2video', 'kling-v1', 1, 1, 'unit', 'bench', '{}' FROM made
), told AS (
    INSERT INTO events (subject, sequence, client, tx, at, type, body)
    SELECT id, 1, $3, 1, at, 'task.succeed', $5 FROM made
)
INSERT INTO attempts (subscription, subject, sequence, attempt, at, latency, status, outcome)
SELECT s, id, 1, 1, at, 0.01, 200, 'delivered' FROM made, unnest($6::uuid[]) s
"""


async def load(connection: Connection, tasks: int) -> None:
    """Fill the database with so many finished tasks of the last eighty days, each with three attempts."""
    now = datetime.now(UTC)
    await partitions.ensure(connection, now - timedelta(days=DAYS), timedelta(days=90))
    for day in range(7, DAYS, 3):  # as a service that ran all that time would have made them
        await partitions.ensure(connection, now - timedelta(days=DAYS - day), timedelta(days=90))
    [client, sample, *subscriptions] = fixtures.ids(2 + ATTEMPTS)
    body = fixtures.event_of(sample, client).body
    for day in range(DAYS):
        start = now - timedelta(days=DAYS - day)
        await connection.execute(_LOAD, tasks // DAYS, start, client, str(day), body, subscriptions, timeout=3600)
    await connection.execute("ANALYZE tasks, events, attempts", timeout=3600)
    await connection.execute("CHECKPOINT", timeout=3600)


@asynccontextmanager
async def grown(ground: Ground, tasks: int) -> AsyncIterator[Ground]:
    """Give a ground whose every database is a copy of one that has grown."""
    admin = await fixtures.opened(ground.server.url("postgres"))
    name = "bench_grown"
    try:
        # partitions are made from the past on, so it begins without those of the present
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {environment.BARE} STRATEGY file_copy")
        inside = await fixtures.opened(ground.server.url(name))
        await load(inside, tasks)
        await partitions.ensure(inside, datetime.now(UTC), timedelta(days=90))
        await inside.close()
        yield replace(ground, template=name)
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()


async def measure(ground: Ground, turns: int, seconds: float, tasks: int) -> list[Figure]:
    """Measure callbacks, deliveries, look-ups, orders and latency with an empty and with a grown database, by turns."""

    async def callback_rate(on: Ground) -> float:
        return await callbacks.rate(on, seconds)

    async def delivered(on: Ground) -> float:
        return (await deliveries.drained(on, 40_000)).rate

    async def looked_up(on: Ground) -> float:
        return (await lookups.measure(on, 1, seconds))[0].ours[0]

    async def ordered(on: Ground) -> float:
        return await orders.rate(on, seconds)

    async def late(on: Ground) -> float:
        return latency.percentile(await latency.at_rate(on, 200, seconds), 0.99)

    rates = {"callbacks": callback_rate, "deliveries": delivered, "look-ups": looked_up, "orders": ordered}
    async with grown(ground, tasks) as large:
        found = {
            name: await in_turns(turns, {"grown": partial(rate, large), "empty": partial(rate, ground)})
            for name, rate in {**rates, "latency": late}.items()
        }
    behind = f"with {tasks:,} finished tasks, {tasks * ATTEMPTS:,} attempts"
    return [
        *(
            Figure(
                name=f"{name} {behind}",
                unit="1/s",
                ours=found[name]["grown"],
                against=found[name]["empty"],
                against_what="with an empty database",
                reach=0.85,
            )
            for name in rates
        ),
        Figure(
            name=f"callback to subscriber at 200/s, p99, {behind}",
            unit="ms",
            ours=found["latency"]["grown"],
            reach=50.0,
            at_most=True,
            notes={"ms with an empty database": median(found["latency"]["empty"])},
        ),
    ]
