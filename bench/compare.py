"""`python -m bench.compare BASE`: run the same benchmarks on a commit and on this tree, in turns, and print the ratios.

The commit is checked out to a temporary directory and runs with this tree's Python and libraries. A figure that has a
ceiling is compared by its ratio to it, because the machine's speed changes between runs; others by themselves.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench.__main__ import PARTS
from bench.figures import Figure, Samples, in_turns, table

ROOT = Path(__file__).parent.parent
MIN_RATIO, MAX_RATIO = 0.9, 1.1
"""Of rates, and of times and costs: beyond these a difference counts as a regression."""
_WRITTEN = re.compile(r"written to (\S+\.json)$", re.MULTILINE)


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Check out a commit of this repository until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="kling-relay-bench-") as directory:
        tree = Path(directory) / "base"
        _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


async def run_once(tree: Path, arguments: list[str]) -> dict[str, Any]:
    """Run the benchmarks of a tree and return their JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench",
        *arguments,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": f"{tree / 'service'}{os.pathsep}{tree}"},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    match = _WRITTEN.search(output.decode())
    if process.returncode or match is None:
        raise RuntimeError(f"the benchmarks of {tree} ended with {process.returncode}")
    result: dict[str, Any] = json.loads((tree / match[1]).read_text("utf-8"))
    return result


def numbers(result: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Return the comparable numbers of a run by figure and unit: a ratio or a value, and the costs among its notes."""
    values: dict[tuple[str, str], float] = {}
    for figure in result["figures"]:
        name = figure["name"]
        if figure["ratios"]:
            values[name, f"of {figure['against_what']}"] = median(figure["ratios"])
        else:
            values[name, figure["unit"]] = median(figure["ours"])
        values |= {(name, note): number for note, number in figure["notes"].items() if note.startswith("µs of")}
    return values


def compared(base: str, runs: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    """Return a figure for each number that both sides have, against that of the base."""
    samples: dict[str, list[dict[tuple[str, str], float]]] = {
        side: [numbers(result) for result in results] for side, results in runs.items()
    }
    names = [name for name in samples["ours"][0] if all(name in run for side in samples.values() for run in side)]
    return [
        Figure(
            name=name,
            unit=unit,
            ours=[run[name, unit] for run in samples["ours"]],
            against=[run[name, unit] for run in samples["base"]],
            against_what=base,
            reach=MAX_RATIO if is_cost else MIN_RATIO,
            at_most=is_cost,
        )
        for name, unit in names
        for is_cost in (unit.startswith("µs") or unit in {"ms", "MB"} or name.startswith("p99"),)
    ]


async def compare(options: argparse.Namespace) -> list[Figure]:
    """Run both sides in turns."""
    base = _git("rev-parse", "--short", options.base)
    arguments = ["--turns", "1", "--seconds", str(options.seconds), "--backlog", str(options.backlog), "--only"]
    arguments += options.only
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "base": []}
    with checkout(options.base) as tree:

        async def measure(side: str, directory: Path) -> float:
            runs[side].append(await run_once(directory, arguments))
            return 0.0

        _: Samples = await in_turns(
            options.turns, {"base": lambda: measure("base", tree), "ours": lambda: measure("ours", ROOT)}
        )
    return compared(base, runs)


def main() -> None:
    """Read the arguments, measure and print; end with 1 if a figure is worse."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--only", nargs="*", default=["ingest", "deliveries", "submits", "lookups"], choices=[*PARTS])
    parser.add_argument("--turns", type=int, default=3, help="how often each side runs")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each load lasts")
    parser.add_argument("--backlog", type=int, default=30_000, help="number of pending deliveries")
    figures = asyncio.run(compare(parser.parse_args()))
    print(table(figures))
    if any(figure.is_reached is False for figure in figures):
        print("\nSome figures are worse than those of the base. If the machine was busy, measure again.")
        sys.exit(1)


if __name__ == "__main__":
    main()
