"""Look-ups: GET of one task over 32 connections, against the same bytes from a server without a database."""

import aiohttp

from bench import fixtures
from bench.environment import Environment
from bench.figures import CpuTimes, Figure, cpu_notes, in_turns
from bench.load_generator import Load, Requests, full_load, with_cpu
from bench.programs import KEY, program, service

CONNECTIONS = 32
TASKS = 5_000
KLING_PATH = "/kling/v1/videos/text2video"


async def _body_of(url: str) -> str:
    authorization = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=authorization) as session, session.get(url) as answer:
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {await answer.text()}")
        return await answer.text()


async def measure(environment: Environment, turns: int, seconds: float) -> list[Figure]:
    """Measure Kling's look-up of a task, which clients poll, and our own detailed one."""
    async with environment.database() as url, service(url, "api", rate_limit="off") as api:  # it has one key for all
        connection = await fixtures.connect(url)
        client = await fixtures.bootstrap(connection)
        tasks = await fixtures.add_tasks(connection, [client], TASKS, finished=True)
        await connection.close()
        body = await _body_of(f"{api.url}{KLING_PATH}/{tasks[0]}")
        cpu_times: CpuTimes = {"service": [], "PostgreSQL": []}

        async def look_up(server: str, path: str) -> Load:
            paths = [f"{path}/{task}" for task in tasks]
            requests = Requests(url=server, paths=paths, method="GET", key=KEY, repeat=True)
            load = await full_load(requests, connections=CONNECTIONS, seconds=seconds)
            if load.failed:
                raise RuntimeError(f"{load.failed} of {load.requests} look-ups failed")
            return load

        async def ours() -> float:
            return (await with_cpu(look_up(api.url, KLING_PATH), api, environment, cpu_times)).rate

        async def detailed() -> float:
            return (await look_up(api.url, "/v1/tasks")).rate

        async def bare() -> float:
            async with program("ceilings", {"program": "server", "answer": body}) as server:
                return (await look_up(server.url, KLING_PATH)).rate

        samples = await in_turns(turns, {"ours": ours, "bare": bare, "detailed": detailed})
    return [
        Figure(
            name=f"GET task, {CONNECTIONS} connections",
            unit="1/s",
            ours=samples["ours"],
            against=samples["bare"],
            against_what="aiohttp with the same bytes, no database",
            reach=0.60,
            notes={
                **cpu_notes(cpu_times),
                "1/s of GET /v1/tasks/{id}, with price and history": sum(samples["detailed"]) / turns,
            },
        )
    ]
