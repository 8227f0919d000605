"""Look-ups: GET of one task over 32 connections, against the same bytes from a server without a database."""

import aiohttp

from bench import fixtures
from bench.environment import KEY, Ground, program, relay
from bench.figures import Figure, Spent, in_turns, spent_notes
from bench.load_generator import Calls, Load, counted, full

CONNECTIONS = 32
TASKS = 5_000
DOOR = "/kling/v1/videos/text2video"


async def _said(url: str) -> str:
    authorization = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=authorization) as session, session.get(url) as answer:
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {await answer.text()}")
        return await answer.text()


async def measure(ground: Ground, turns: int, seconds: float) -> list[Figure]:
    """Measure Kling's query of a task, which clients poll; our own detailed one beside it."""
    async with ground.database() as url, relay(url, "api") as api:
        connection = await fixtures.opened(url)
        client = await fixtures.bootstrap(connection)
        tasks = await fixtures.add_tasks(connection, [client], TASKS, finished=True)
        await connection.close()
        said = await _said(f"{api.url}{DOOR}/{tasks[0]}")
        spent: Spent = {"service": [], "PostgreSQL": []}

        async def got(base: str, where: str) -> Load:
            paths = [f"{where}/{task}" for task in tasks]
            calls = Calls(url=base, paths=paths, method="GET", key=KEY, again=True)
            load = await full(calls, connections=CONNECTIONS, seconds=seconds)
            if load.failed:
                raise RuntimeError(f"{load.failed} of {load.requests} look-ups failed")
            return load

        async def ours() -> float:
            return (await counted(got(api.url, DOOR), api, ground, spent)).rate

        async def rich() -> float:
            return (await got(api.url, "/v1/tasks")).rate

        async def bare() -> float:
            async with program("ceilings", {"act": "server", "answer": said}) as server:
                return (await got(server.url, DOOR)).rate

        found = await in_turns(turns, {"ours": ours, "bare": bare, "rich": rich})
    return [
        Figure(
            name=f"GET task, {CONNECTIONS} connections",
            unit="1/s",
            ours=found["ours"],
            against=found["bare"],
            against_what="aiohttp with the same bytes, no database",
            reach=0.30,
            notes={
                **spent_notes(spent),
                "1/s of GET /v1/tasks/{id}, with price and history": sum(found["rich"]) / turns,
            },
        )
    ]
