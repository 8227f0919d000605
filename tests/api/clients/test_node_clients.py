"""Checks with packages of npm: `standardwebhooks`, the schema of AsyncAPI, and the linter of Redocly for OpenAPI.

Skipped without Node.
"""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.validators import Draft7Validator  # type: ignore[import-untyped]  # it has no types of its own

from tests.support.paths import ROOT
from tests.support.service import running, sandboxed, subscriber
from tests.support.waiting import eventually

HERE = Path(__file__).parent / "node"
EVENTS = ROOT / "docs" / "asyncapi.yaml"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node subscriber with its locked package, installed."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not on this machine")
    folder = tmp_path_factory.mktemp("node") / "subscriber"
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


async def verify(package: Path, deliveries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the subscriber in Node says of each delivery."""
    node = await asyncio.create_subprocess_exec(
        "node", "verify.mjs", cwd=package, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await node.communicate(json.dumps(deliveries).encode())
    verdicts: list[dict[str, Any]] = json.loads(out)
    return verdicts


async def test_the_npm_package_accepts_every_delivery_and_no_forgery(database: str, package: Path) -> None:
    async with sandboxed() as (_, provider), subscriber() as receiver, running(database, provider) as relay:
        secret = (await relay.subscribe(receiver.url))["secret"]
        task = await relay.submit("太空飞船在航行 🚀")
        await relay.final(task)
        await eventually(lambda: any(request.json["type"] == "task.succeed" for request in receiver.heard))
        deliveries = [
            {"secret": secret, "headers": request.headers, "body": request.raw.decode()} for request in receiver.heard
        ]
        forged = {**deliveries[0], "body": deliveries[0]["body"].replace("task.", "task_")}
        *accepted, refused = await verify(package, [*deliveries, forged])
        assert [verdict["good"] for verdict in accepted] == [True] * len(deliveries)
        assert accepted[-1]["event"]["data"]["task_id"] == task
        assert not refused["good"]


def test_the_asyncapi_document_matches_asyncapi_s_own_schema(package: Path) -> None:
    document = yaml.safe_load(EVENTS.read_text("utf-8"))
    file = package / "node_modules" / "@asyncapi" / "specs" / "schemas" / f"{document['asyncapi']}.json"
    validator = Draft7Validator(json.loads(file.read_text("utf-8")))
    validator.validate(document)
    assert not validator.is_valid({**document, "channels": {"subscriber": {"adress": "mistyped"}}})


async def test_redocly_finds_no_errors_in_the_openapi_document(package: Path) -> None:
    document = (ROOT / "docs" / "openapi.json").read_text("utf-8")
    assert await errors_of(package, document) == []
    assert await errors_of(package, document.replace('"servers"', '"x-servers"')) == ["no-empty-servers"]


async def errors_of(package: Path, document: str) -> list[str]:
    """Return the rules that the document breaks."""
    node = await asyncio.create_subprocess_exec(
        "node", "lint.mjs", cwd=package, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await node.communicate(document.encode())
    rules: list[str] = json.loads(out)
    return rules
