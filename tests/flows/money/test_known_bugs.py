"""Known ways in which other services charge for nothing, each tested against the sandbox's own account."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from kling_relay.app.wiring import provider_of
from kling_relay.core.money import format_amount
from kling_relay.flows.reconcile import Reconcile
from kling_relay.sandbox import Profile, Sandbox
from tests.support.service import QUICK, Relay, running, sandboxed
from tests.support.waiting import eventually


def used(sandbox: Sandbox) -> Decimal:
    """Return what was spent of the sandbox's account."""
    return sandbox.profile.balance - sandbox.balance


async def entries(relay: Relay, task: str | None = None) -> list[tuple[str, str, str]]:
    """Return (entry, reserved, charged) of a task, or of all, oldest first."""
    rows = await relay.parts.database.pool.fetch(
        "SELECT entry, reserved, charged FROM ledger WHERE $1::uuid IS NULL OR task = $1 ORDER BY task, at, entry",
        UUID(task) if task else None,
    )
    return [(row["entry"], format_amount(row["reserved"]), format_amount(row["charged"])) for row in rows]


async def charge(relay: Relay, task: str) -> dict[str, Any]:
    return dict((await relay.task(task))["charge"])


async def test_an_omitted_duration_is_priced_as_the_provider_s_default(database: str) -> None:
    async with sandboxed() as (sandbox, url), running(database, url) as relay:
        task = await relay.submit(mode="pro")
        assert (await charge(relay, task))["quote"] == "3.5"
        assert (await relay.task(task))["fields"]["duration"] == "5"
        await relay.final(task)
        assert used(sandbox) == Decimal("3.5")


async def test_a_charge_above_the_reserve_is_settled_in_full(database: str) -> None:
    async with sandboxed() as (sandbox, url), running(database, url) as relay:
        task = await relay.submit("x [charge:9.5]")
        await relay.final(task)
        assert await entries(relay, task) == [("reserve", "1", "0"), ("settle", "-1", "9.5")]
        assert (await charge(relay, task))["charged"] == "9.5"
        assert used(sandbox) == Decimal("9.5")


@pytest.mark.parametrize("word", ["[fail]", "[moderate]"])
@pytest.mark.long
async def test_a_failure_releases_what_it_reserved(database: str, word: str) -> None:
    async with sandboxed() as (sandbox, url), running(database, url) as relay:
        task = await relay.submit(f"x {word}")
        await relay.final(task)
        assert await entries(relay, task) == [("reserve", "1", "0"), ("release", "-1", "0")]
        assert (await charge(relay, task))["state"] == "released"
        assert used(sandbox) == 0


async def test_a_refused_order_releases_its_reserve(database: str) -> None:
    async with sandboxed() as (sandbox, url), running(database, url) as relay:
        status, _ = await relay.call("POST", "/kling/v1/videos/text2video", json={"prompt": "x [1301]"})
        assert status == 400
        assert await entries(relay) == [("reserve", "1", "0"), ("release", "-1", "0")]
        assert used(sandbox) == 0


@pytest.mark.long
async def test_two_processes_that_receive_the_same_failure_release_it_once(database: str) -> None:
    """Every callback comes twice, to both processes at once, and both poll as well."""
    profile = Profile(seconds=QUICK, doubling=1.0, failure=0.5)
    async with (
        sandboxed(profile) as (sandbox, url),
        running(database, url, sweep_after="1s") as first,
        running(database, url, sweep_after="1s") as second,
    ):
        tasks = await asyncio.gather(*(relay.submit(f"{n}") for n in range(15) for relay in (first, second)))
        await asyncio.gather(*(first.final(task) for task in tasks))
        ledger = await entries(first)
        assert len(ledger) == 2 * len(tasks)
        assert sum(Decimal(reserved) for _, reserved, _ in ledger) == 0
        assert sum(Decimal(charged) for _, _, charged in ledger) == used(sandbox)


@pytest.mark.long
async def test_a_time_out_is_unknown_and_stays_reserved(database: str) -> None:
    async with (
        sandboxed(Profile(seconds=QUICK, callbacks=(), poll_error=1.0)) as (sandbox, url),
        running(database, url, provider_timeout="0.5s") as relay,
    ):
        task = await relay.submit("x [timeout-after-accept]")

        async def is_unknown() -> bool:
            return bool((await charge(relay, task))["state"] == "unknown")

        await eventually(is_unknown)
        assert (await relay.task(task))["task_status"] == "submitted"
        assert await entries(relay, task) == [("reserve", "1", "0")]
        sandbox.profile = Profile(seconds=QUICK)  # the provider answers again, and the task is found
        await relay.parts.database.pool.execute("UPDATE submissions SET due_at = now()")
        await relay.final(task)
        assert await entries(relay, task) == [("reserve", "1", "0"), ("settle", "-1", "1")]
        assert used(sandbox) == 1


@pytest.mark.long
async def test_a_success_after_the_deadline_is_charged_once_and_not_released_again(database: str) -> None:
    async with (
        sandboxed(Profile(seconds=(4.0, 4.0))) as (sandbox, url),
        running(database, url, task_deadline="1s", sweep_after="1s") as relay,
    ):
        task = await relay.submit("x")
        await relay.final(task)
        assert await entries(relay, task) == [("reserve", "1", "0"), ("release", "-1", "0")]

        async def is_charged() -> bool:
            return bool((await charge(relay, task))["state"] == "settled")

        await eventually(is_charged)
        assert await entries(relay, task) == [("reserve", "1", "0"), ("release", "-1", "0"), ("settle", "0", "1")]
        assert used(sandbox) == 1


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_the_ledger_equals_the_providers_account_after_a_storm(database: str) -> None:
    """Lost, doubled, reordered, late and contradicting callbacks, lost answers, resets and refusals to wait."""
    profile = Profile(
        seconds=(0.0, 0.3),
        failure=0.2,
        moderation=0.1,
        loss=0.2,
        doubling=0.3,
        reorder=0.2,
        delay=0.2,
        delay_seconds=(0.05, 0.3),
        contradiction=0.2,
        foreign_id=0.2,
        poll_html=0.2,
        poll_error=0.1,
        refusals=((1303, 0.2),),
        html_502_after_accept=0.1,
        reset_after_accept=0.1,
    )
    async with (
        sandboxed(profile, seed=11) as (sandbox, url),
        running(database, url, sweep_after="1s", provider_timeout="2s", provider_dialect="kling") as first,
        running(database, url, sweep_after="1s", provider_timeout="2s", provider_dialect="kling") as second,
    ):
        prompts = [f"{n} [charge:{n % 5}.5]" if n % 3 else f"{n}" for n in range(60)]
        orders = (
            relay.call("POST", "/kling/v1/videos/text2video", json={"prompt": prompt})
            for prompt, relay in zip(prompts, [first, second] * 30, strict=True)
        )
        answers = await asyncio.gather(*orders)
        tasks = [answer["data"]["task_id"] for status, answer in answers if status == 200]
        await asyncio.gather(*(first.final(task, 150) for task in tasks))
        ledger = await entries(first)
        assert sum(Decimal(reserved) for _, reserved, _ in ledger) == 0
        charged = sum(Decimal(amount) for _, _, amount in ledger)
        sandbox.profile = Profile(seconds=QUICK)  # nothing is silent any more
        async with provider_of(first.settings, url) as provider:
            compare = Reconcile(first.parts.database, provider, currency="unit", now=lambda: datetime.now(UTC))
            report = await compare(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC), ask_all=True)
        # only where the provider itself told a lie first may anything differ, and then all of it is listed
        liars = {task.order.external_task_id for task in sandbox.tasks.values() if task.schedule.contradict}
        differences = {
            str(difference.task): difference for difference in report.differences if difference.theirs is not None
        }
        assert set(differences) <= liars
        assert used(sandbox) - charged == sum(
            (difference.theirs or 0) - difference.ours for difference in differences.values()
        )
