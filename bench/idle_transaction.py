"""What an open idle transaction costs: its old snapshot keeps PostgreSQL from removing dead rows."""

from functools import partial

from bench import callbacks, deliveries, fixtures
from bench.environment import Environment, hold_transaction
from bench.figures import Figure, in_turns
from bench.load_generator import Requests, full_load


async def measure(environment: Environment, turns: int, seconds: float, backlog: int) -> list[Figure]:
    """Measure callbacks and deliveries a second with and without an idle transaction."""

    async def callback_rate(*, idle: bool) -> float:
        tasks = int((seconds + 1) * callbacks.MAX_PER_SECOND)
        async with callbacks.api_with_tasks(environment, tasks) as (api, paths, connection):
            database = await connection.fetchval("SELECT current_database()")
            requests = Requests(url=api.url, paths=paths, body=fixtures.CALLBACK)
            if not idle:
                return (await full_load(requests, connections=callbacks.CONNECTIONS, seconds=seconds)).rate
            async with hold_transaction(environment.server.url(database)):
                return (await full_load(requests, connections=callbacks.CONNECTIONS, seconds=seconds)).rate

    async def delivery_rate(*, idle: bool) -> float:
        return (await deliveries.deliver_backlog(environment, backlog, with_idle_transaction=idle)).rate

    figures = []
    for name, rate in {"callbacks": callback_rate, "deliveries": delivery_rate}.items():
        samples = await in_turns(turns, {"idle": partial(rate, idle=True), "free": partial(rate, idle=False)})
        figures.append(
            Figure(
                name=f"{name}, an idle transaction held open",
                unit="1/s",
                ours=samples["idle"],
                against=samples["free"],
                against_what="without it",
                reach=0.85,
            )
        )
    return figures
