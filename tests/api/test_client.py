"""The client library against a running service: every method once, as a user would call it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kling_relay.client import (
    ConflictError,
    InvalidError,
    NotFinalError,
    NotFoundError,
    Relay,
    SyncRelay,
    UnauthenticatedError,
    verify,
)
from kling_relay.core.operation import SHORT_KINDS
from kling_relay.sandbox.images import draw
from tests.support.relay import VIDEO, ApiServer, serve_api
from tests.support.service import KEY, running, sandboxed, subscriber
from tests.support.waiting import eventually


@pytest.fixture
async def served(database: str) -> AsyncIterator[ApiServer]:
    async with serve_api(database) as server:
        yield server


@pytest.fixture
async def relay(served: ApiServer) -> AsyncIterator[Relay]:
    async with Relay(served.url, served.key) as client:
        yield client


async def test_each_kind_is_ordered_with_its_fields(served: ApiServer, relay: Relay, tmp_path: Path) -> None:
    picture = tmp_path / "rabbit.png"
    draw("test", "1x1", "rabbit").save(picture)
    tasks = [
        await relay.text_to_image("a rabbit", n=2, aspect_ratio="4:3", external_task_id="mine"),
        await relay.image_to_image("by night", picture, image_fidelity=0.5),
        await relay.text_to_video("a spaceship", duration=5, camera_control={"type": "forward_up"}),
        await relay.image_to_video(picture.read_bytes(), prompt="it hops", mode="pro"),
    ]
    assert [task.kind for task in tasks] == list(SHORT_KINDS)
    assert [order["operation"].split("/")[-1] for order in served.provider.orders] == [
        "generations",
        "generations",
        "text2video",
        "image2video",
    ]
    detail = await relay.task(tasks[0].task_id)
    assert (detail.external_task_id, detail.fields["n"], detail.model) == ("mine", 2, "kling-v1")
    assert [task.task_id async for task in relay.tasks(limit=3)] == [task.task_id for task in tasks[:0:-1]]
    assert [task.kind async for task in relay.tasks(kind=["text2video"])] == ["text2video"]


async def test_wait_returns_the_final_task_or_raises_after_its_time(served: ApiServer, relay: Relay) -> None:
    task = await relay.text_to_video("a spaceship")
    with pytest.raises(NotFinalError, match="submitted"):
        await relay.wait(task.task_id, within=0.1)
    waiting = asyncio.ensure_future(relay.wait(task.task_id, within=20))
    await eventually(lambda: served.load("waiters") == 1)
    await served.succeed(task.task_id)
    final = await waiting
    assert final.has_succeeded
    assert final.urls == (VIDEO["videos"][0]["url"],)
    assert [event.data["task_status"] for event in await relay.history(task.task_id)] == ["submitted", "succeed"]
    assert [callback["outcome"] for callback in await relay.callbacks(task.task_id)]


async def test_the_same_idempotency_key_returns_the_same_task(relay: Relay) -> None:
    first = await relay.text_to_video("a spaceship", idempotency_key="one")
    assert (await relay.text_to_video("a spaceship", idempotency_key="one")).task_id == first.task_id
    with pytest.raises(ConflictError) as refused:
        await relay.text_to_video("another", idempotency_key="one")
    assert "Idempotency-Key" in refused.value.advice


async def test_refusals_are_typed_and_name_every_fault(served: ApiServer, relay: Relay) -> None:
    with pytest.raises(InvalidError) as invalid:
        await relay.text_to_video("", mode="fast")
    assert {"prompt", "mode"} <= {word.split(" ")[0] for word in invalid.value.message.split("; ")}
    assert invalid.value.code == 1201
    assert invalid.value.request_id
    with pytest.raises(InvalidError) as invalid:
        await relay.subscribe("http://10.0.0.1/hook", format="xml")
    assert [fault.field for fault in invalid.value.faults] == ["format"]
    with pytest.raises(NotFoundError):
        await relay.task("01a20459-e1cd-7000-bb91-054c5629cf90")
    async with Relay(served.url, "wrong") as stranger:
        with pytest.raises(UnauthenticatedError, match="key"):
            await stranger.task("01a20459-e1cd-7000-bb91-054c5629cf90")


async def test_the_event_log_is_read_to_its_end_and_followed(served: ApiServer, relay: Relay) -> None:
    first = await relay.text_to_video("one")
    await served.succeed(first.task_id)
    logged = [event async for event in relay.events()]
    assert [event.task.task_status for event in logged] == ["submitted", "succeed"]
    assert all(event.id.startswith("evt_") for event in logged)
    async with aclosing(relay.stream(after=logged[0].cursor)) as stream:
        assert await anext(stream) == logged[1]
        second = await relay.text_to_video("two")
        event = await asyncio.wait_for(anext(stream), 10)
        assert (event.task.task_id, event.type) == (second.task_id, "task.submitted")
    assert [event.id async for event in relay.events(task=second.task_id)] == [event.id]
    assert [event.id async for event in relay.events(type="task.succeed", limit=1)] == [logged[1].id]


@pytest.mark.long
async def test_every_method_for_subscriptions_and_money_works(relay: Relay) -> None:
    async with subscriber() as other:
        created = await relay.subscribe(
            other.url, events=["task.succeed"], headers={"X-Who": "tests"}, description="mine"
        )
        assert created.secret is not None
        assert "whsec_" not in repr(created)
        assert [row.id async for row in relay.subscriptions()] == [created.id]
        changed = await relay.change_subscription(created.id, events=["*"], ordering="task")
        assert (changed.events, changed.ordering, changed.headers) == (("*",), "task", {"X-Who": "tests"})
        tested = await relay.test_subscription(created.id)
        delivery = await relay.delivery(tested["delivery"])
        assert (delivery.status, delivery.type, delivery.attempts) == ("pending", "subscription.test", ())
        assert (await relay.retry_delivery(delivery.id)).id == delivery.id
        assert [row.id async for row in relay.deliveries(status="pending")] == [delivery.id]
        assert (await relay.pause(created.id)).status == "paused"
        assert (await relay.resume(created.id)).status == "active"
        assert await relay.rotate_secret(created.id, overlap_seconds=60) != created.secret
        assert (await relay.subscription(created.id)).old_secrets_until
        assert await relay.replay(created.id, since=datetime.now(UTC) - timedelta(hours=1), only="all") >= 0
        await relay.unsubscribe(created.id)
        assert [row async for row in relay.subscriptions()] == []
    assert (await relay.hook_secret()).startswith("whsec_")
    quote = await relay.quote("text2video", {"prompt": "a", "mode": "pro", "duration": 10})
    assert quote.amount == "7"
    await relay.text_to_video("a spaceship")
    used = await relay.usage(by=["kind"])
    assert [(line.by["kind"], line.tasks) for line in used.data] == [("text2video", 1)]
    assert await relay.prices()


async def test_the_blocking_client_works_without_asyncio(served: ApiServer) -> None:
    def work() -> tuple[str, list[str], list[str]]:
        with SyncRelay(served.url, served.key) as relay:
            task = relay.text_to_video("a spaceship")
            with pytest.raises(NotFinalError):
                relay.wait(task.task_id, within=0.05)
            first = next(relay.stream(after="0"))
            return task.task_id, [row.task_id for row in relay.tasks()], [first.task.task_id]

    task, listed, streamed = await asyncio.to_thread(work)
    assert listed == streamed == [task]


@pytest.mark.parametrize("form", ["standard", "kling", "cloudevents"])
async def test_verify_reads_a_delivery_of_every_format(database: str, form: str) -> None:
    async with (
        sandboxed() as (_, provider),
        subscriber() as other,
        running(database, provider) as service,
        Relay(service.url, KEY) as relay,
    ):
        created = await relay.subscribe(other.url, events=["task.succeed"], format=form)
        task = await relay.text_to_image("a rabbit")
        await relay.wait(task.task_id, within=20)
        await eventually(lambda: other.heard)
    event = verify(["whsec_b3RoZXI=", created.secret or ""], other.heard[0].headers, other.heard[0].raw)
    assert (event.type, event.data["task_id"]) == ("task.succeed", task.task_id)
