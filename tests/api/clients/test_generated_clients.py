"""Clients that usual generators make of docs/openapi.json order, look up and list, and read every figure exactly.

The sources of the programs are in `generated/`. What generators and their libraries need is downloaded by npm, pip and
Maven, which keep it in their caches. A test is skipped if one of these tools is missing.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.clients.conftest import Service
from tests.support.paths import ROOT
from tests.support.service import KEY

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

HERE = Path(__file__).parent / "generated"
DOCUMENT = ROOT / "docs" / "openapi.json"
OPENAPI_PYTHON_CLIENT = "openapi-python-client==0.29.1"
OPENAPI_GENERATOR = "7.25.0"
NPM_INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error")
MAVEN = ("mvn", "--batch-mode", "--quiet")
MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"


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


async def test_a_client_by_openapi_python_client_orders_looks_up_and_lists(service: Service, tmp_path: Path) -> None:
    folder = program("python", tmp_path)
    await run(folder, sys.executable, "-m", "venv", "venv")
    python = folder / "venv" / "bin" / "python"
    await run(folder, python, "-m", "pip", "install", "--quiet", "--prefer-binary", OPENAPI_PYTHON_CLIENT)
    (folder / "config.yaml").write_text("post_hooks: []\n")
    options = ("--path", DOCUMENT, "--meta", "none", "--config", "config.yaml", "--output-path", "kling_relay_client")
    await run(folder, python, "-m", "openapi_python_client", "generate", *options)
    await check(service, folder, python, "by_openapi_python_client.py")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The jar of openapi-generator, from Maven."""
    if missing := [tool for tool in ("mvn", "java") if shutil.which(tool) is None]:
        pytest.skip(f"{missing[0]} is not on this machine")
    folder = tmp_path_factory.mktemp("openapi-generator")
    artifact = f"org.openapitools:openapi-generator-cli:{OPENAPI_GENERATOR}"
    command = [*MAVEN, f"{MAVEN_PLUGIN}:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
    subprocess.run(command, check=True, capture_output=True, timeout=170)
    return folder / f"openapi-generator-cli-{OPENAPI_GENERATOR}.jar"


async def generate(generator: Path, folder: Path, language: str, *options: str) -> None:
    """Make a client with openapi-generator."""
    await run(folder, "java", "-jar", generator, "generate", "-g", language, "-i", DOCUMENT, "-o", folder, *options)


async def test_a_java_client_by_openapi_generator_orders_looks_up_and_lists(
    service: Service, tmp_path: Path, generator: Path
) -> None:
    made, libraries = tmp_path / "made", tmp_path / "libraries"
    made.mkdir()
    await generate(generator, made, "java", "--library", "native", "--additional-properties", "useJakartaEe=true")
    folder = program("java", tmp_path)
    await run(folder, *MAVEN, f"{MAVEN_PLUGIN}:copy-dependencies", f"-DoutputDirectory={libraries}")
    sources = [str(path) for path in (made / "src" / "main" / "java").rglob("*.java")]
    (folder / "sources").write_text("\n".join([*sources, "Client.java"]))
    await run(folder, "javac", "-nowarn", "-cp", f"{libraries}/*", "-d", "classes", "@sources")
    await check(service, folder, "java", "-cp", f"classes:{libraries}/*", "Client")
