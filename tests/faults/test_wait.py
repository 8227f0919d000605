"""What the provider answers with "wait": sent again by the sweep, from a second on and ever later, in the order's own
turn for a slot, and without its client.
"""

from itertools import pairwise

import pytest

from kling_relay.sandbox import Profile, Sandbox
from tests.support.service import QUICK, running, sandboxed
from tests.support.waiting import eventually

pytestmark = pytest.mark.long
"""They wait for the sweep, whose shortest interval is a second."""


def posts(sandbox: Sandbox) -> list[float]:
    """Return when the provider received orders, in seconds."""
    return [request.at.timestamp() for request in sandbox.requests if request.method == "POST"]


async def test_a_wait_is_tried_again_from_a_second_on_without_the_client(database: str) -> None:
    async with sandboxed(Profile(seconds=QUICK)) as (sandbox, provider), running(database, provider) as relay:
        task = await relay.submit("a rabbit [1303:2]")
        shown = await relay.task(task)
        assert (shown["task_status"], shown["submission"]["state"]) == ("submitted", "recorded")
        assert "1303" in shown["submission"]["reason"]
        assert (await relay.final(task))["task_status"] == "succeed"
        first, second = (later - earlier for earlier, later in pairwise(posts(sandbox)))
        assert 0.99 <= first < second
        assert second >= 1.99
        assert len(sandbox.tasks) == 1


async def test_an_order_that_waits_holds_no_slot_and_takes_one_again_when_it_is_sent(database: str) -> None:
    """The provider has as many slots as we have. One order too many would be refused, and be an extra POST."""
    async with (
        sandboxed(Profile(seconds=(0.3, 0.5), slots=1)) as (sandbox, provider),
        running(database, provider, provider_slots="1") as relay,
    ):
        waits = await relay.submit("a rabbit [5001:1]")
        others = [await relay.submit(f"another {number}") for number in range(4)]
        await eventually(lambda: len(sandbox.tasks) >= 1)
        assert (await relay.task(waits))["submission"]["state"] == "recorded"
        for task in (waits, *others):
            assert (await relay.final(task))["task_status"] == "succeed"
        assert len(posts(sandbox)) == len(sandbox.tasks) + 1 == 6
        assert sandbox.slots_held == 0


async def test_a_connection_that_was_never_made_is_tried_again(database: str) -> None:
    async with sandboxed(Profile(seconds=QUICK)) as (sandbox, provider):
        async with running(database, "http://127.0.0.1:9") as relay:
            task = await relay.submit("a rabbit")
            shown = await relay.task(task)
            assert shown["submission"]["state"] == "recorded"
            assert "no connection to the provider" in shown["submission"]["reason"]
        async with running(database, provider) as relay:
            assert (await relay.final(task))["task_status"] == "succeed"
        assert len(posts(sandbox)) == 1
