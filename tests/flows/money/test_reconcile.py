"""Reconciling with the sandbox's account finds no difference after normal work, and every planted one."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from kling_relay.app.wiring import provider_of
from kling_relay.flows.reconcile import AccountComparison, Reconcile, Report
from kling_relay.provider.client import Provider
from kling_relay.sandbox import Sandbox
from tests.support.service import Relay, running, sandboxed
from tests.support.waiting import eventually


async def reconciled(relay: Relay, provider: Provider | None, *, ask_all: bool = False) -> Report:
    now = datetime.now(UTC)
    compare = Reconcile(relay.parts.database, provider, currency="unit", now=lambda: now)
    return await compare(now - timedelta(days=1), now + timedelta(minutes=1), ask_all=ask_all)


async def settled(relay: Relay, prompts: list[str]) -> list[str]:
    """Order these prompts, wait until all tasks are final, and return the tasks in the same order."""
    tasks = await asyncio.gather(*(relay.submit(prompt) for prompt in prompts))
    await asyncio.gather(*(relay.final(task) for task in tasks))
    return list(tasks)


async def spent(relay: Relay) -> Decimal:
    total: Decimal = await relay.parts.database.pool.fetchval("SELECT sum(reserved + charged) FROM ledger")
    return total


def used(sandbox: Sandbox) -> Decimal:
    """Return what was spent of the sandbox's account."""
    return sandbox.profile.balance - sandbox.balance


@pytest.mark.parametrize("dialect", ["gateway", "kling"])
@pytest.mark.parametrize("ask_all", [False, True])
@pytest.mark.long
async def test_reconciling_finds_no_difference_after_normal_work(database: str, dialect: str, ask_all: bool) -> None:
    prompts = ["a", "b [fail]", "c [charge:7.5]", "d [moderate]", "e [overtake]", "f [timeout-after-accept]", "g"]
    async with (
        sandboxed() as (sandbox, url),
        running(database, url, provider_timeout="1s", sweep_after="1s", provider_dialect=dialect) as relay,
        provider_of(relay.settings, url) as provider,
    ):
        await settled(relay, prompts)
        report = await reconciled(relay, provider, ask_all=ask_all)
        assert (report.tasks, report.silent, report.differences) == (7, 0, [])
        assert report.polled == 7 if ask_all else report.polled < 7
        assert await spent(relay) == used(sandbox) == Decimal("11.5")
        if dialect == "kling":
            assert isinstance(report.account, AccountComparison)
            assert report.account.to_json() == {"used": "11.5", "ours": "11.5", "difference": "0"}
        else:
            assert report.account == "the dialect gateway cannot read the account"


async def test_every_planted_difference_is_found_with_its_task(database: str) -> None:
    async with (
        sandboxed() as (_, url),
        running(database, url) as relay,
        provider_of(relay.settings, url) as provider,
    ):
        sound, dear, twice, lost = await settled(relay, ["a", "b [charge:3]", "c [fail]", "d"])
        pool = relay.parts.database.pool
        await pool.execute("UPDATE ledger SET charged = 2 WHERE task = $1 AND entry = 'settle'", UUID(dear))
        await pool.execute(
            "UPDATE ledger SET reserved = 2 * reserved WHERE task = $1 AND entry = 'release'", UUID(twice)
        )
        await pool.execute("DELETE FROM ledger WHERE task = $1 AND entry = 'settle'", UUID(lost))
        for ask_all in (False, True):
            report = await reconciled(relay, provider, ask_all=ask_all)
            differences = {
                str(difference.task): (difference.about, difference.client, difference.detail)
                for difference in report.differences
            }
            assert sound not in differences
            assert differences[dear] == ("charge", "bootstrap", "the provider charged 3")
            assert differences[twice] == ("books", "bootstrap", "-1 is reserved instead of 0")
            assert differences[lost][0] in {"books", "charge"}
            assert {difference.about for difference in report.differences if str(difference.task) == lost} == {
                "books",
                "charge",
            }
            assert len(json.loads(json.dumps(report.to_json()))["differences"]) == len(report.differences)


async def test_a_provider_that_contradicts_itself_is_asked(database: str) -> None:
    async with (
        sandboxed() as (sandbox, url),
        running(database, url) as relay,
        provider_of(relay.settings, url) as provider,
    ):
        (task,) = await settled(relay, ["a [contradict]"])
        await eventually(lambda: len([callback for callback in sandbox.callbacks if callback.answer]) == 4)
        report = await reconciled(relay, provider)
        assert report.polled == 1
        ours = (await relay.task(task))["charge"]["charged"]
        truth = used(sandbox)
        assert bool(report.differences) == (Decimal(ours) != truth)


async def test_without_a_provider_its_callbacks_are_compared_and_other_tasks_are_counted(database: str) -> None:
    async with sandboxed() as (_, url), running(database, url) as relay:
        await settled(relay, ["a", "b"])
        await relay.submit("c [forever]")
        report = await reconciled(relay, None)
        assert (report.tasks, report.polled, report.silent, report.differences) == (3, 0, 1, [])
        assert report.account == "there is no provider to ask"


async def test_reconciling_goes_on_without_the_provider_s_account(database: str) -> None:
    async with (
        sandboxed() as (sandbox, url),
        running(database, url, provider_dialect="kling") as relay,
        provider_of(relay.settings, url) as provider,
    ):
        await settled(relay, ["a"])
        await sandbox.stop()
        report = await reconciled(relay, provider, ask_all=True)
        assert (report.silent, report.differences) == (1, [])
        assert report.account == "the provider does not answer: refused"
