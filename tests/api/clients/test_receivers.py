"""Receivers of deliveries: programs written for Kling's flat callbacks, the CloudEvents SDK, and `standardwebhooks`.

They read real requests, and each must accept every format and no forgery.
"""

from collections.abc import Callable
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook, WebhookVerificationError

from tests.api.clients.conftest import Service
from tests.support.service import Heard, Relay, Subscriber, subscriber
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORMATS: dict[str, Callable[[Any], Any]] = {
    "standard": lambda body: body["data"]["task_id"],
    "kling": lambda body: body["task_id"],
    "cloudevents": lambda body: body["data"]["task_id"],
}


async def order_and_collect(
    relay: Relay, receiver: Subscriber, prompt: str = "a rabbit", **members: Any
) -> tuple[str, list[Heard]]:
    """Order something and return its task, and the requests about it that a subscriber received."""
    task = await relay.submit(prompt, **members)
    await relay.final(task)
    count = len(await relay.events(task))

    def of_task() -> list[Heard]:
        return [request for request in receiver.heard if task in request.raw.decode()]

    await eventually(lambda: len({request.id for request in of_task()}) == count)
    return task, of_task()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.long
async def test_the_standardwebhooks_package_accepts_every_format_and_no_forgery(service: Service, form: str) -> None:
    async with subscriber() as receiver:
        created = await service.relay.subscribe(receiver.url, format=form)
        task, requests = await order_and_collect(service.relay, receiver, "太空飞船在航行 🚀")
        reader = Webhook(created["secret"])
        for request in requests:
            assert FORMATS[form](reader.verify(request.raw, request.headers)) == task
            with pytest.raises(WebhookVerificationError):
                reader.verify(request.raw.replace(b'"task_status"', b'"task_statuS"'), request.headers)
            with pytest.raises(WebhookVerificationError):
                reader.verify(request.raw, {**request.headers, "webhook-id": "evt_of_another"})
        await service.relay.call("DELETE", f"/v1/subscriptions/{created['id']}")


async def test_the_cloudevents_sdk_reads_deliveries(service: Service) -> None:
    async with subscriber() as receiver:
        created = await service.relay.subscribe(receiver.url, format="cloudevents", events=["task.*"])
        task, requests = await order_and_collect(service.relay, receiver, external_task_id="for the SDK")
        for request in requests:
            event = from_http_event(HTTPMessage(headers=request.headers, body=request.raw))
            assert event.get_specversion() == "1.0"
            assert event.get_id() == request.id
            assert event.get_source() == service.relay.url
            assert event.get_subject() == task
            assert event.get_datacontenttype() == "application/json"
            at = event.get_time()
            assert at is not None
            assert at.tzinfo is not None
            data: Any = event.get_data()
            assert event.get_type() == f"task.{data['task_status']}"
            assert data["external_task_id"] == "for the SDK"
        await service.relay.call("DELETE", f"/v1/subscriptions/{created['id']}")


@pytest.mark.parametrize("member", ["notify_hook", "callback_url"])
async def test_a_receiver_written_for_kling_gets_klings_flat_bodies(service: Service, member: str) -> None:
    async with subscriber() as receiver:
        name = f"named by {member}"
        task, requests = await order_and_collect(
            service.relay,
            receiver,
            "pictures",
            operation="images/generations",
            n=2,
            external_task_id=name,
            **{member: receiver.url},
        )
        assert {request.path for request in requests} == {"/hook"}
        for request in requests:
            body = request.json
            assert list(body) == [
                "task_id",
                "task_status",
                "task_status_msg",
                "created_at",
                "updated_at",
                "task_info",
                "task_result",
            ]
            assert body["task_info"] == {"external_task_id": name}
            assert body["task_status"] in {"submitted", "processing", "succeed", "failed"}
            assert request.headers["content-type"].startswith("application/json")
        (done,) = [request.json for request in requests if request.json["task_status"] == "succeed"]
        assert [image["index"] for image in done["task_result"]["images"]] == [0, 1]
        _, body = await service.relay.call("GET", f"/kling/v1/images/generations/{task}")
        assert body["data"]["task_result"]["images"] == done["task_result"]["images"]


async def test_a_receiver_gets_the_reason_of_a_failed_task(service: Service) -> None:
    async with subscriber() as receiver:
        _, requests = await order_and_collect(service.relay, receiver, "a [fail:too dark]", notify_hook=receiver.url)
        (failed,) = [request.json for request in requests if request.json["task_status"] == "failed"]
        assert failed["task_status_msg"] == "too dark"
        assert failed["task_result"] == {}
