"""Clients that usual generators make of docs/openapi.json order, look up and list, and read every figure exactly.

The sources of the programs are in `generated/`. What generators and their libraries need is downloaded by npm, pip,
Maven and Go, which keep it in their caches. A test is skipped if one of these tools is missing.
"""

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.api.clients.conftest import Service
from tests.support.paths import ROOT
from tests.support.service import KEY

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

HERE = Path(__file__).parent / "generated"
DOCUMENT = ROOT / "docs" / "openapi.json"
OPENAPI_PYTHON_CLIENT = "openapi-python-client==0.29.1"
OPENAPI_GENERATOR = "7.25.0"
NPM_INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error")
LIBRARIES_OF_OPENAPI_GENERATOR = ("urllib3>=2.7", "python-dateutil>=2.8.2", "pydantic>=2.11")
PIP_INSTALL = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--prefer-binary")
MAVEN = ("mvn", "--batch-mode", "--quiet")
MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"


async def run(folder: Path, *command: str | Path, **environment: str) -> str:
    """Run a program in a folder and return what it printed; it must succeed."""
    tool = str(command[0])
    program = folder / tool if "/" in tool else tool
    if shutil.which(program) is None:
        pytest.skip(f"{tool} is not on this machine")
    process = await asyncio.create_subprocess_exec(
        program,
        *map(str, command[1:]),
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
        "quoted": task["charge"]["quote"],
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def typescript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs in TypeScript, with their packages."""
    folder = program("typescript", tmp_path_factory.mktemp("programs"))
    await run(folder, *NPM_INSTALL)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs in Python, with their packages in `packages`."""
    folder = program("python", tmp_path_factory.mktemp("programs"))
    packages = (OPENAPI_PYTHON_CLIENT, *LIBRARIES_OF_OPENAPI_GENERATOR)
    await run(folder, sys.executable, *PIP_INSTALL, "--target", "packages", *packages)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The jar of openapi-generator, from Maven."""
    folder = tmp_path_factory.mktemp("openapi-generator")
    artifact = f"org.openapitools:openapi-generator-cli:{OPENAPI_GENERATOR}"
    await run(folder, *MAVEN, f"{MAVEN_PLUGIN}:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}")
    return folder / f"openapi-generator-cli-{OPENAPI_GENERATOR}.jar"


async def generate(generator: Path, folder: Path, language: str, *options: str) -> None:
    """Make a client with openapi-generator in the folder."""
    await run(HERE, "java", "-jar", generator, "generate", "-g", language, "-i", DOCUMENT, "-o", folder, *options)


async def test_a_client_with_the_types_of_openapi_typescript_orders_looks_up_and_lists(
    service: Service, typescript: Path
) -> None:
    types = ("npx", "--no-install", "openapi-typescript", DOCUMENT, "-o", "schema.ts")
    await run(typescript, *types, "--default-non-nullable=false")
    await compile_typescript(typescript, "by_openapi_typescript.ts")
    await check(service, typescript, "node", "out/by_openapi_typescript.js")


async def test_a_typescript_client_by_openapi_generator_orders_looks_up_and_lists(
    service: Service, typescript: Path, generator: Path
) -> None:
    made = typescript / "openapi-generator"
    await generate(generator, made, "typescript-fetch", "--additional-properties", "importFileExtension=.js")
    await compile_typescript(typescript, "by_openapi_generator.ts")
    await check(service, typescript, "node", "out/by_openapi_generator.js")


async def compile_typescript(folder: Path, program: str) -> None:
    """Compile one program with what it imports."""
    options = json.loads((folder / "tsconfig.json").read_text())
    (folder / "own.json").write_text(json.dumps({**options, "files": [program]}))
    await run(folder, "npx", "--no-install", "tsc", "--project", "own.json")


async def test_a_client_by_openapi_python_client_orders_looks_up_and_lists(service: Service, python: Path) -> None:
    (python / "config.yaml").write_text("post_hooks: []\n")
    options = ("--path", DOCUMENT, "--meta", "none", "--config", "config.yaml", "--output-path", "kling_relay_client")
    await run(python, sys.executable, "-m", "openapi_python_client", "generate", *options, PYTHONPATH="packages")
    await check(service, python, sys.executable, "by_openapi_python_client.py", PYTHONPATH="packages")


async def test_a_python_client_by_openapi_generator_orders_looks_up_and_lists(
    service: Service, python: Path, generator: Path
) -> None:
    await generate(generator, python / "made", "python")
    await check(service, python, sys.executable, "by_openapi_generator.py", PYTHONPATH="packages:made")


async def test_a_java_client_by_openapi_generator_orders_looks_up_and_lists(
    service: Service, tmp_path: Path, generator: Path
) -> None:
    made, libraries = tmp_path / "made", tmp_path / "libraries"
    await generate(generator, made, "java", "--library", "native", "--additional-properties", "useJakartaEe=true")
    models = [path.read_text() for path in (made / "src/main/java/org/openapitools/client/model").glob("*.java")]
    assert models
    assert [text for text in models if re.search(r"private (Integer|Float)\b", text)] == [], "each number has 64 bits"
    folder = program("java", tmp_path)
    await run(folder, *MAVEN, f"{MAVEN_PLUGIN}:copy-dependencies", f"-DoutputDirectory={libraries}")
    sources = [str(path) for path in (made / "src" / "main" / "java").rglob("*.java")]
    (folder / "sources").write_text("\n".join([*sources, "Client.java"]))
    await run(folder, "javac", "-nowarn", "-cp", f"{libraries}/*", "-d", "classes", "@sources")
    await check(service, folder, "java", "-cp", f"classes:{libraries}/*", "Client")


async def test_a_go_client_by_oapi_codegen_orders_looks_up_and_lists(service: Service, tmp_path: Path) -> None:
    folder = program("go", tmp_path)
    made = folder / "relay" / "client.gen.go"
    made.parent.mkdir()
    await run(
        folder, "go", "tool", "oapi-codegen", "-generate", "types,client", "-package", "relay", "-o", made, DOCUMENT
    )
    assert not re.search(r"\b(int|int32|float32) +`json", made.read_text()), "each number has 64 bits"
    await run(folder, "go", "build", "-o", "client", ".")
    await check(service, folder, "./client")
