"""Slots: how many tasks are in flight at the provider, exact with several workers, after a kill, and fair."""

from pathlib import Path

import aiohttp
import asyncpg

from kling_relay.app import keys
from kling_relay.sandbox import Profile, Sandbox
from tests.faults.client import Client
from tests.faults.process import Part, Process, dying, reserved_port, started
from tests.support.service import running, sandboxed
from tests.support.waiting import eventually

SLOTS = 4


def posts(sandbox: Sandbox) -> int:
    """Return how many orders the provider received, including those that it refused."""
    return sum(request.method == "POST" for request in sandbox.requests)


async def test_the_provider_never_hears_more_orders_than_it_has_slots(database: str) -> None:
    """The provider has as many slots as we do. It refuses one order too many with 1303, a POST without a task."""
    profile = Profile(seconds=(0.02, 0.2), slots=SLOTS)
    async with (
        sandboxed(profile) as (sandbox, provider),
        running(database, provider, provider_slots=str(SLOTS)) as one,
        running(database, provider, provider_slots=str(SLOTS)) as other,
    ):
        tasks = []
        for number in range(15):
            relay = (one, other)[number % 2]
            if number % 5 == 0:
                tasks.append(await relay.submit("rabbits", "images/generations", n=3))
            else:
                tasks.append(await relay.submit(f"a rabbit {number}"))
        for task in tasks:
            assert (await one.final(task, 30))["task_status"] == "succeed"
        assert posts(sandbox) == len(tasks) == len(sandbox.tasks)
        assert sandbox.slots_held == 0


async def test_orders_beyond_the_slots_wait_in_line_and_say_so(database: str) -> None:
    async with sandboxed() as (sandbox, provider), running(database, provider, provider_slots="1") as relay:
        first, second = await relay.submit("a rabbit [forever]"), await relay.submit("another")
        assert len(sandbox.tasks) == 1
        waiting = await relay.task(second)
        assert (waiting["task_status"], waiting["submission"]["state"]) == ("submitted", "recorded")
        sandbox.finish(first)
        assert (await relay.final(second))["task_status"] == "succeed"


async def test_an_order_larger_than_all_slots_is_sent_alone(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider, provider_slots="2") as relay:
        assert (await relay.final(await relay.submit("rabbits", "images/generations", n=9)))["task_status"] == "succeed"


async def test_a_client_with_a_long_queue_does_not_hold_up_another(database: str) -> None:
    async with (
        sandboxed(Profile(seconds=(0.02, 0.05))) as (sandbox, provider),
        running(database, provider, provider_slots="1") as relay,
    ):
        blocking = await relay.submit("a rabbit [forever]")
        many = [await relay.submit(f"a rabbit {number}") for number in range(5)]
        key = await keys.create_key(relay.parts.database, relay.parts.encryptor, "the other client")
        other = Client(relay.url, relay.client, key)
        single = await other.insist("k", "the other's only rabbit")
        sandbox.finish(blocking)
        for task in many:
            await relay.final(task)
        await other.final(single)
        line = [task.order.external_task_id for task in sandbox.tasks.values()]
        assert line.index(single) < line.index(many[2])


async def test_orders_that_stood_in_line_too_long_are_given_up_and_not_sent(database: str) -> None:
    async with (
        sandboxed() as (sandbox, provider),
        running(database, provider, provider_slots="1", task_deadline="2s", sweep_after="60s") as relay,
    ):
        await relay.submit("a rabbit [forever]")
        late = await relay.final(await relay.submit("too late"))
        assert late["task_status"] == "failed"
        assert "never reached the provider and was not charged" in late["task_status_msg"]
        assert len(sandbox.tasks) == 1


async def test_slots_are_held_by_what_a_killed_process_had_sent(database: str, tmp_path: Path) -> None:
    with reserved_port() as held:
        port = held.getsockname()[1]
        async with (
            sandboxed(Profile(seconds=(1.0, 1.0), slots=1)) as (sandbox, provider),
            aiohttp.ClientSession() as web,
        ):
            settings = {
                "port": str(port),
                "provider_slots": "1",
                "provider_timeout": "1s",
                "sweep_after": "0.3s",
                "provider_dialect": "kling",
            }
            part = Part(role="up", database=database, provider=provider, settings=settings, log=tmp_path / "log")
            first = Process(dying(part, "submit: POST sent, answer not read"))
            assert await first.ready()
            client = Client(f"http://127.0.0.1:{port}", web)
            assert await client.order("first", "a rabbit [lose]") is None
            assert await first.ended() == -9
            async with started(part):
                tasks = [await client.insist(word, f"a rabbit {word}") for word in ("second", "third")]
                for task in tasks:
                    assert (await client.final(task))["task_status"] == "succeed"

                async def nothing_left() -> bool:
                    return not await _held(database)

                await eventually(nothing_left)
            assert posts(sandbox) == len(sandbox.tasks) == 3


async def test_slots_stay_exact_while_one_of_two_processes_is_killed(database: str, tmp_path: Path) -> None:
    """It dies in its first POST. Its slot stays taken, and the other process gets no more slots for that."""
    with reserved_port() as one, reserved_port() as other:
        async with (
            sandboxed(Profile(seconds=(0.1, 0.4), slots=2)) as (sandbox, provider),
            aiohttp.ClientSession() as web,
        ):
            ports = [held.getsockname()[1] for held in (one, other)]
            settings = {
                "provider_slots": "2",
                "provider_timeout": "1s",
                "sweep_after": "0.3s",
                "provider_dialect": "kling",
            }
            dies, lives = (
                Part(
                    role="up",
                    database=database,
                    provider=provider,
                    settings={**settings, "port": str(port)},
                    log=tmp_path / str(port),
                )
                for port in ports
            )
            doomed, client = (Client(f"http://127.0.0.1:{port}", web) for port in ports)
            first = Process(dying(dies, "submit: POST sent, answer not read"))
            assert await first.ready()
            async with started(lives):
                words = [f"order {number}" for number in range(8)]
                assert await doomed.order(words[0], words[0]) is None
                assert await first.ended() == -9
                tasks = [await client.insist(word, word) for word in words]
                for task in tasks:
                    assert (await client.final(task))["task_status"] == "succeed"
            assert posts(sandbox) == len(sandbox.tasks) == len(words)
            assert sandbox.slots_held == 0


async def _held(database: str) -> int:
    connection = await asyncpg.connect(database)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM submissions"))
    finally:
        await connection.close()
