"""The operator's commands for money, on the database of a running service."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result

from kling_relay.cli.program import program
from tests.support.service import SIGNING, Relay, running, sandboxed

DOOR = "/kling/v1/videos/text2video"


@pytest.fixture
async def relay(database: str) -> AsyncIterator[Relay]:
    async with sandboxed() as (_, url), running(database, url) as service:
        yield service


async def operate(relay: Relay, *words: str, code: int = 0) -> Result:
    """Run a command with the settings of the service, in a thread, because it runs an event loop."""
    settings = relay.settings
    assert settings.database_url is not None
    environment = {
        "RELAY_DATABASE_URL": settings.database_url.get_secret_value(),
        "RELAY_PROVIDER_URL": settings.provider_url,
        "RELAY_PROVIDER_KEY": "hk-sandbox",
        "RELAY_SIGNING_KEYS": SIGNING,
    }
    result = await asyncio.to_thread(CliRunner().invoke, program, words, env=environment)
    assert result.exit_code == code, result.output
    return result


async def test_a_limit_is_set_listed_and_removed(relay: Relay) -> None:
    assert (await operate(relay, "budgets")).stderr == "There are no limits.\n"
    result = await operate(relay, "budgets", "set", "bootstrap", "--day", "1.5", "--open", "1")
    assert result.stdout == "bootstrap: day 1.5, open 1\n"
    await relay.submit("x [forever]")
    assert (await relay.call("POST", DOOR, json={"prompt": "y"}))[0] == 402
    (listed,) = json.loads((await operate(relay, "budgets", "list", "--json")).stdout)
    assert listed["limits"] == {"total": None, "day": "1.5", "month": None, "open": "1"}
    assert listed["spent"] == dict.fromkeys(("total", "day", "month", "open"), "1")
    drawn = (await operate(relay, "budgets")).stdout.splitlines()[1].split()
    assert drawn == ["client", "bootstrap", "1/1.5", "1/1"]
    assert (await operate(relay, "budgets", "set", "bootstrap")).stdout == "bootstrap: no limit\n"
    assert (await relay.call("POST", DOOR, json={"prompt": "y"}))[0] == 200


async def test_an_unknown_owner_and_a_malformed_amount_are_refused(relay: Relay) -> None:
    assert "There is no client" in (await operate(relay, "budgets", "set", "nobody", "--day", "1", code=1)).stderr
    assert "There is no key" in (await operate(relay, "budgets", "set", "no", "--of-key", code=1)).stderr
    for figure in ("-1", "NaN", "1e3", "many"):
        assert "is not an amount" in (await operate(relay, "budgets", "set", "a", f"--day={figure}", code=2)).stderr


async def test_the_bill_of_all_clients_is_printed_as_table_json_and_csv(relay: Relay) -> None:
    await relay.final(await relay.submit(mode="pro"))
    month = datetime.now(UTC).strftime("%Y-%m")
    (line,) = json.loads((await operate(relay, "bill", "--json")).stdout)
    assert (line["by"], line["charged"]) == ({"client": "bootstrap", "month": month}, "3.5")
    rows = list(csv.DictReader(io.StringIO((await operate(relay, "bill", "--csv", "--by", "mode")).stdout)))
    assert [(row["mode"], row["charged"], row["tasks"]) for row in rows] == [("pro", "3.5", "1")]
    assert "bootstrap" in (await operate(relay, "bill")).stdout


async def test_reconcile_exits_with_1_if_there_are_differences(relay: Relay) -> None:
    task = await relay.submit("x [charge:3]")
    await relay.final(task)
    result = await operate(relay, "reconcile", "--ask-all")
    assert "1 tasks, 1 polled, 0 without an answer, 0 differences." in result.stderr
    await relay.parts.database.pool.execute("UPDATE ledger SET charged = 2 WHERE entry = 'settle'")
    result = await operate(relay, "reconcile", code=1)
    assert task in result.stdout
    assert "the provider charged 3" in result.stdout
    (difference,) = json.loads((await operate(relay, "reconcile", "--json", code=1)).stdout)["differences"]
    assert (difference["task_id"], difference["about"], difference["ours"], difference["theirs"]) == (
        task,
        "charge",
        "2",
        "3",
    )
