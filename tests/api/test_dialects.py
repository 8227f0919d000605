"""The official dialect, end to end: no prefix, callback_url, external_task_id, and an API key or a JWT."""

import pytest

from kling_relay.sandbox import Profile
from tests.support.service import QUICK, running, sandboxed, subscriber
from tests.support.waiting import eventually

SIGNED = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="


@pytest.mark.parametrize("key", ["hk-sandbox", "sandbox-access-key:sandbox-secret-key-of-32-bytes-or-more"])
async def test_the_official_dialect_works_with_each_form_of_credentials(database: str, key: str) -> None:
    async with (
        sandboxed() as (sandbox, provider),
        running(database, provider, provider_dialect="kling", provider_key=key) as relay,
    ):
        task = await relay.submit()
        assert (await relay.final(task))["task_status"] == "succeed"
        known = sandbox.task(task)
        assert known.order.external_task_id == task


@pytest.mark.long
async def test_an_order_with_a_lost_response_is_found_by_its_external_task_id(database: str) -> None:
    async with (
        sandboxed() as (sandbox, provider),
        running(database, provider, provider_dialect="kling", provider_timeout="1s", sweep_after="1s") as relay,
    ):
        task = await relay.submit("a rabbit [timeout-after-accept][lose]")
        assert (await relay.final(task))["task_status"] == "succeed"
        assert len(sandbox.tasks) == 1


@pytest.mark.long
async def test_signed_callbacks_are_trusted_and_forged_ones_cause_a_poll(database: str) -> None:
    async with (
        sandboxed(Profile(seconds=QUICK, secret=SIGNED)) as (_, provider),
        subscriber() as receiver,
        running(database, provider, provider_webhook_secret=SIGNED, sweep_after="1s") as relay,
    ):
        await relay.subscribe(receiver.url, events=["task.succeed"])
        for prompt in ("a rabbit", "a rabbit [unsigned]", "a rabbit [forged]"):
            task = await relay.submit(prompt)
            assert (await relay.final(task))["task_status"] == "succeed"
        await eventually(lambda: len(receiver.ids()) == 3)
