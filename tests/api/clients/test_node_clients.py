"""Deliveries are verified by the `standardwebhooks` package of npm, and the document of the events by AsyncAPI's own
schema, which npm has as well; skipped where there is no Node.
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
    place = tmp_path_factory.mktemp("node") / "subscriber"
    shutil.copytree(HERE, place, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=120)
    return place


async def judged(package: Path, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    node = await asyncio.create_subprocess_exec(
        "node", "verify.mjs", cwd=package, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await node.communicate(json.dumps(given).encode())
    said: list[dict[str, Any]] = json.loads(out)
    return said


async def test_a_subscriber_written_for_node_verifies_every_delivery_and_no_forgery(
    database: str, package: Path
) -> None:
    async with sandboxed() as (_, provider), subscriber() as one, running(database, provider) as relay:
        secret = (await relay.subscribe(one.url))["secret"]
        task = await relay.submit("太空飞船在航行 🚀")
        await relay.final(task)
        await eventually(lambda: any(heard.json["type"] == "task.succeed" for heard in one.heard))
        given = [{"secret": secret, "headers": heard.headers, "body": heard.raw.decode()} for heard in one.heard]
        forged = {**given[0], "body": given[0]["body"].replace("task.", "task_")}
        *good, bad = await judged(package, [*given, forged])
        assert [each["good"] for each in good] == [True] * len(given)
        assert good[-1]["said"]["data"]["task_id"] == task
        assert not bad["good"]


def test_the_document_of_the_events_is_what_asyncapi_says_it_must_be(package: Path) -> None:
    document = yaml.safe_load(EVENTS.read_text("utf-8"))
    file = package / "node_modules" / "@asyncapi" / "specs" / "schemas" / f"{document['asyncapi']}.json"
    judge = Draft7Validator(json.loads(file.read_text("utf-8")))
    judge.validate(document)
    assert not judge.is_valid({**document, "channels": {"subscriber": {"adress": "mistyped"}}})
