"""The operator's commands for keys and the schema, and the doctor, on a database."""

import asyncio
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from click.testing import CliRunner, Result

from kling_relay.cli.program import program
from tests.support.service import SIGNING, running, sandboxed


async def operate(database: str, *words: str, code: int = 0, more: Mapping[str, str] = MappingProxyType({})) -> Result:
    """Run a command with the settings of a service, in a thread, because it runs an event loop."""
    environment = {"RELAY_DATABASE_URL": database, "RELAY_SIGNING_KEYS": SIGNING, "RELAY_PORT": "9", **more}
    result: Result = await asyncio.to_thread(CliRunner().invoke, program, words, env=environment)
    assert result.exit_code == code, result.output
    return result


async def test_a_key_is_created_used_listed_and_revoked(database: str) -> None:
    key = (await operate(database, "keys", "create", "my-backend", "--scope", "read", "--expires", "90d")).stdout
    assert re.fullmatch(r"kr-[0-9a-f]{32}-[\w-]{43}\n", key)
    async with sandboxed() as (_, provider), running(database, provider) as service:
        environment = {"RELAY_URL": service.url, "RELAY_KEY": key.strip()}
        assert (await operate(database, "tasks", "--json", more=environment)).stdout.strip() == "[]"
        refused = await operate(database, "submit", "text2image", "a", code=1, more=environment)
        assert "scope" in refused.stderr
    (listed,) = [
        row for row in json.loads((await operate(database, "keys", "--json")).stdout) if row["name"] != "bootstrap"
    ]
    assert (listed["name"], listed["client"], listed["scopes"]) == ("my-backend", "my-backend", ["read"])
    assert 88 < (datetime.fromisoformat(listed["expires_at"]) - datetime.now(UTC)).days < 91
    assert (await operate(database, "keys", "revoke", "my-backend")).stdout == "1 revoked.\n"
    again = await operate(database, "keys", "revoke", "my-backend", code=1)
    assert "keys list" in again.stderr
    assert "revoked" in (await operate(database, "keys", "list")).stdout


async def test_migrate_wait_returns_if_the_schema_is_current(database: str) -> None:
    await operate(database, "migrate", "--wait", "--within", "5s")
    await operate(database, "migrate")


def states(shown: Result) -> dict[str, str]:
    findings: list[dict[str, Any]] = json.loads(shown.stdout)
    return {finding["check"]: finding["state"] for finding in findings}


async def test_the_doctor_reports_what_is_good_and_what_is_broken(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as service:
        given = {"RELAY_URL": service.url, "RELAY_PUBLIC_URL": service.url, "RELAY_PROVIDER_URL": provider}
        well = await operate(database, "doctor", "--json", more=given | {"RELAY_PROVIDER_KEY": "hk-sandbox"})
        assert set(states(well).values()) <= {"ok", "warning"}
        assert states(well)["provider"] == "ok"
        given["RELAY_PUBLIC_URL"] = "http://127.0.0.1:9"
        poor = await operate(database, "doctor", "--json", code=1, more=given | {"RELAY_PROVIDER_KEY": "wrong"})
        assert {check for check, state in states(poor).items() if state == "error"} == {"provider", "public address"}
    ill = await operate("postgresql://127.0.0.1:9/none", "doctor", code=1)
    assert "✗ database" in ill.stdout
    assert "Check RELAY_DATABASE_URL" in ill.stdout


async def test_an_unreachable_database_is_reported_in_a_sentence() -> None:
    shown = await operate("postgresql://127.0.0.1:9/none", "keys", "create", "a", code=3)
    assert "Traceback" not in shown.output
    assert "kling-relay doctor" in shown.stderr
