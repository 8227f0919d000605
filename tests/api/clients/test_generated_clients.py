"""Clients that usual generators make of docs/openapi.json order, look up and list, and read every figure exactly.

The sources of the programs are in `generated/`. What generators and their libraries need is downloaded by npm, which
keeps it in its cache. A test is skipped if a tool is missing.
"""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.api.clients.conftest import Service
from tests.support.paths import ROOT
from tests.support.service import KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERE = Path(__file__).parent / "generated"
DOCUMENT = ROOT / "docs" / "openapi.json"
NPM_INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error")


async def run(folder: Path, *command: str | Path, **environment: str) -> str:
    """Run a program in a folder and return what it printed; it must succeed."""
    tool = str(command[0])
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not on this machine")
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=folder,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(170):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{' '.join(map(str, command))}\n{output.decode()}{errors.decode()}"
    return output.decode()


async def check(service: Service, folder: Path, *command: str | Path, **environment: str) -> None:
    """Run a client, and compare what it read with what the service has."""
    printed = await run(folder, *command, RELAY_URL=service.relay.url, RELAY_KEY=KEY, **environment)
    read: dict[str, Any] = json.loads(printed)
    task = await service.relay.task(read["task_id"])
    assert task["fields"] | {"prompt": "a rabbit", "duration": "10"} == task["fields"]
    assert task["created_at"] > 2**32
    assert read == {
        "task_id": task["task_id"],
        "created_at": task["created_at"],
        "charged": task["charge"]["charged"],
        "expires_at": task["expires_at"],
        "external_task_id": None,
        "submission": None,
        "task_status": "succeed",
        "listed": task["task_id"],
        "found": task["task_id"],
    }


def program(language: str, folder: Path) -> Path:
    """Copy the sources of a language's programs into the folder."""
    return Path(shutil.copytree(HERE / language, folder / language, ignore=shutil.ignore_patterns("node_modules")))


async def test_a_client_with_the_types_of_openapi_typescript_orders_looks_up_and_lists(
    service: Service, tmp_path: Path
) -> None:
    folder = program("typescript", tmp_path)
    await run(folder, *NPM_INSTALL)
    types = ("npx", "--no-install", "openapi-typescript", DOCUMENT, "-o", "schema.ts")
    await run(folder, *types, "--default-non-nullable=false")
    await run(folder, "npx", "--no-install", "tsc")
    await check(service, folder, "node", "out/client.js")
