"""`python -m bench.pinned`: pin service, PostgreSQL, load and subscribers to cores, and say which was the limit.

The end-to-end load runs with the cores as given (`--service 0-1 --postgres 2-3 --load 4 --subscribers 5`). Without
options they are divided, and on two or three cores all but the service share. A part whose cores were busy for nine
tenths of the time was the limit.
"""

import argparse
import asyncio
import os
from collections.abc import Mapping

import psutil
import uvloop

from bench import fixtures
from bench.callbacks import CONNECTIONS, DELIVERIES, MAX_PER_SECOND
from bench.end_to_end import wait_for_last
from bench.environment import Environment, open_environment
from bench.load_generator import Requests, full_load
from bench.programs import program, service

PARTS = ("service", "postgres", "load", "subscribers")
BUSY = 0.9
Cores = Mapping[str, list[int]]


def divided(cores: list[int]) -> dict[str, list[int]]:
    """Return the cores of each part: the service and PostgreSQL get most, and parts share if there are too few."""
    if len(cores) < len(PARTS):
        rest = cores[1:] or cores
        return {"service": cores[:1], "postgres": rest, "load": rest, "subscribers": rest}
    half = (len(cores) - 2) // 2
    return {
        "service": cores[:half],
        "postgres": cores[half : 2 * half],
        "load": [cores[-2]],
        "subscribers": [cores[-1]],
    }


def parse_cores(text: str) -> list[int]:
    """Return the cores in a list as taskset takes it, such as `0-2,5`."""
    spans = [part.partition("-") for part in text.split(",")]
    return [core for first, _, last in spans for core in range(int(first), int(last or first) + 1)]


def limits(cores: Cores, seconds: Mapping[str, float], elapsed: float) -> list[str]:
    """Return the groups of parts whose cores were busy; parts that share cores are a group."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for part, own in cores.items():
        groups.setdefault(tuple(own), []).append(part)
    return [
        " and ".join(parts)
        for own, parts in groups.items()
        if sum(seconds[part] for part in parts) >= BUSY * elapsed * len(own)
    ]


def _pin(process: psutil.Process, cores: list[int]) -> None:
    for each in (process, *process.children(recursive=True)):
        each.cpu_affinity(cores)
        for thread in each.threads():
            os.sched_setaffinity(thread.id, cores)


def _own_cpu() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system + times.children_user + times.children_system


async def run(environment: Environment, cores: Cores, seconds: float) -> None:
    """Run the load once with pinned parts and print what each used."""
    postmaster = int((environment.server.cluster / "postmaster.pid").read_text().split()[0])
    _pin(psutil.Process(), cores["load"])  # the load generator inherits it
    async with environment.database() as url, program("stand_ins", {}) as subscriber:
        connection = await fixtures.connect(url)
        [client] = await fixtures.add_clients(connection, 1)
        endpoints = [f"{subscriber.url}/ok/{number}" for number in range(DELIVERIES)]
        await fixtures.subscribe(connection, [fixtures.NewSubscription(client, endpoint) for endpoint in endpoints])
        tasks = await fixtures.add_tasks(connection, [client], int((seconds + 1) * MAX_PER_SECOND))
        async with service(url, "up") as relay:
            _pin(psutil.Process(relay.process.pid), cores["service"])
            _pin(psutil.Process(subscriber.process.pid), cores["subscribers"])
            _pin(psutil.Process(postmaster), cores["postgres"])  # its later children inherit it

            def used() -> dict[str, float]:
                return dict(zip(PARTS, (relay.cpu(), environment.cpu(), _own_cpu(), subscriber.cpu()), strict=True))

            loop = asyncio.get_running_loop()
            started_at, before = loop.time(), used()
            requests = Requests(url=relay.url, paths=fixtures.callback_paths(tasks), body=fixtures.CALLBACK)
            await full_load(requests, connections=CONNECTIONS, seconds=seconds)
            moves = await wait_for_last(connection, subscriber.url)
            elapsed, after = loop.time() - started_at, used()
        await connection.close()
    spent = {part: after[part] - before[part] for part in PARTS}
    print(f"{moves / elapsed:,.0f} callbacks/s with {DELIVERIES} deliveries each, {elapsed:.1f} s")
    for part in PARTS:
        print(f"  {part:<12} cores {cores[part]}: {spent[part] / elapsed:.2f} cores busy")
    print(
        "limited by "
        + (", ".join(limits(cores, spent, elapsed)) or "nothing that was pinned: waits, or other programs")
    )


async def _main(cores: Cores, seconds: float) -> None:
    async with open_environment() as environment:
        await run(environment, cores, seconds)


def main() -> None:
    """Read the arguments and run."""
    available = sorted(os.sched_getaffinity(0))
    arguments = argparse.ArgumentParser(prog="python -m bench.pinned", description=__doc__)
    for part, default in divided(available).items():
        arguments.add_argument(f"--{part}", type=parse_cores, default=default)
    arguments.add_argument("--seconds", type=float, default=5.0)
    options = vars(arguments.parse_args())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main({part: options[part] for part in PARTS}, options["seconds"]))


if __name__ == "__main__":
    main()
