"""What a process says when it starts, to people and to machines, and what it refuses to start with."""

import json
from typing import Literal

import pytest

from kling_relay.settings import Settings, risks
from tests.support.processes import fleet
from tests.support.service import SIGNING

APART = {"RELAY_PORT": "0", "RELAY_METRICS_PORT": "0", "RELAY_SIGNING_KEYS": SIGNING}


@pytest.mark.parametrize("role", ["api", "worker"])
async def test_an_api_and_a_worker_apart_without_a_provider_are_warned_of_their_sandboxes(
    role: Literal["api", "worker"], database: str
) -> None:
    async with fleet({"RELAY_DATABASE_URL": database, **APART}) as all_of_them:
        one = await all_of_them.start(role)
        assert await one.leave() == 0
    warned = [line for line in map(json.loads, one.lines) if line["level"] == "warning"]
    assert any("would each have a sandbox of their own" in line["event"] for line in warned), warned


def test_a_sandbox_in_process_beside_a_shared_database_is_warned_of() -> None:
    (risk,) = risks(Settings(database_url="postgresql://db/relay", signing_keys=SIGNING))
    assert "RELAY_PROVIDER_URL is not set" in risk


@pytest.mark.parametrize("level", ["info", "error"])
async def test_every_line_of_a_start_can_be_read_by_a_machine(level: str, database: str) -> None:
    settings = {"RELAY_DATABASE_URL": database, "RELAY_LOG_LEVEL": level, **APART}
    async with fleet(settings) as all_of_them:
        one = await all_of_them.start("up")
        assert await one.leave() == 0
    lines = [json.loads(line) for line in one.lines]
    assert all({"at", "level", "event"} <= line.keys() for line in lines)
    told = {line["event"].split(" ")[0]: line["level"] for line in lines}
    assert told.items() >= {"RELAY_PROVIDER_URL": "warning", "kling-relay": "info"}.items()
