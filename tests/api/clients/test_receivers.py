"""Who is called back: programs written for Kling's flat callbacks, the CloudEvents SDK, and the `standardwebhooks`
package, which has to believe every format and no forgery. The wire is real; nothing is unpacked but by them.
"""

from collections.abc import Callable
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook, WebhookVerificationError

from tests.api.clients.conftest import Place
from tests.support.service import Heard, Relay, Subscriber, subscriber
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORMATS: dict[str, Callable[[Any], Any]] = {
    "standard": lambda said: said["data"]["task_id"],
    "kling": lambda said: said["task_id"],
    "cloudevents": lambda said: said["data"]["task_id"],
}


async def told(relay: Relay, one: Subscriber, prompt: str = "a rabbit", **members: Any) -> tuple[str, list[Heard]]:
    """Order something and return its task and what a subscriber was told of it."""
    task = await relay.submit(prompt, **members)
    await relay.final(task)
    count = len(await relay.events(task))

    def of_task() -> list[Heard]:
        return [heard for heard in one.heard if task in heard.raw.decode()]

    await eventually(lambda: len({heard.id for heard in of_task()}) == count)
    return task, of_task()


@pytest.mark.parametrize("form", FORMATS)
async def test_the_standardwebhooks_package_believes_every_format_and_no_forgery(place: Place, form: str) -> None:
    async with subscriber() as one:
        made = await place.relay.subscribe(one.url, format=form)
        task, heard = await told(place.relay, one, "太空飞船在航行 🚀")
        reader = Webhook(made["secret"])
        for each in heard:
            assert FORMATS[form](reader.verify(each.raw, each.headers)) == task
            with pytest.raises(WebhookVerificationError):
                reader.verify(each.raw.replace(b'"task_status"', b'"task_statuS"'), each.headers)
            with pytest.raises(WebhookVerificationError):
                reader.verify(each.raw, {**each.headers, "webhook-id": "evt_of_another"})
        await place.relay.call("DELETE", f"/v1/subscriptions/{made['id']}")


async def test_the_cloudevents_sdk_reads_what_it_gets_from_the_wire(place: Place) -> None:
    async with subscriber() as one:
        made = await place.relay.subscribe(one.url, format="cloudevents", events=["task.*"])
        task, heard = await told(place.relay, one, external_task_id="for the SDK")
        for each in heard:
            event = from_http_event(HTTPMessage(headers=each.headers, body=each.raw))
            assert event.get_specversion() == "1.0"
            assert event.get_id() == each.id
            assert event.get_source() == place.relay.url
            assert event.get_subject() == task
            assert event.get_datacontenttype() == "application/json"
            at = event.get_time()
            assert at is not None
            assert at.tzinfo is not None
            data: Any = event.get_data()
            assert event.get_type() == f"task.{data['task_status']}"
            assert data["external_task_id"] == "for the SDK"
        await place.relay.call("DELETE", f"/v1/subscriptions/{made['id']}")


@pytest.mark.parametrize("member", ["notify_hook", "callback_url"])
async def test_a_receiver_written_for_kling_gets_kling_flat_bodies(place: Place, member: str) -> None:
    async with subscriber() as one:
        name = f"named by {member}"
        task, heard = await told(
            place.relay,
            one,
            "pictures",
            operation="images/generations",
            n=2,
            external_task_id=name,
            **{member: one.url},
        )
        assert {each.path for each in heard} == {"/hook"}
        for each in heard:
            said = each.json
            assert list(said) == [
                "task_id",
                "task_status",
                "task_status_msg",
                "created_at",
                "updated_at",
                "task_info",
                "task_result",
            ]
            assert said["task_info"] == {"external_task_id": name}
            assert said["task_status"] in {"submitted", "processing", "succeed", "failed"}
            assert each.headers["content-type"].startswith("application/json")
        (done,) = [each.json for each in heard if each.json["task_status"] == "succeed"]
        assert [image["index"] for image in done["task_result"]["images"]] == [0, 1]
        _, said = await place.relay.call("GET", f"/kling/v1/images/generations/{task}")
        assert said["data"]["task_result"]["images"] == done["task_result"]["images"]


async def test_a_receiver_is_told_why_a_task_failed(place: Place) -> None:
    async with subscriber() as one:
        _, heard = await told(place.relay, one, "a [fail:too dark]", notify_hook=one.url)
        (failed,) = [each.json for each in heard if each.json["task_status"] == "failed"]
        assert failed["task_status_msg"] == "too dark"
        assert failed["task_result"] == {}
