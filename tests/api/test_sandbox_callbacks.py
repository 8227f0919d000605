"""The sandbox's callbacks: in order, in every style, signed, and with every fault."""

import asyncio
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from kling_relay.sandbox import STYLES, Profile
from tests.support.sandboxed import QUICK, scene

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="


async def test_every_change_is_called_back_in_order_with_klings_flat_body() -> None:
    async with scene() as stage:
        task = await stage.submit(duration="10", external_task_id="mine")
        bodies = await stage.called(3)
        assert [body["task_status"] for body in bodies] == ["submitted", "processing", "succeed"]
        assert {body["task_id"] for body in bodies} == {task}
        assert all(body["task_info"] == {"external_task_id": "mine"} for body in bodies)
        assert "task_result" not in bodies[0]
        assert bodies[2]["final_unit_deduction"] == "2"
        assert bodies[2]["task_result"]["videos"][0]["duration"] == "10.1"


async def test_an_order_without_a_hook_gets_no_callback() -> None:
    async with scene() as stage:
        await stage.final(await stage.submit(notify_hook=""))
        await stage.submit()
        await stage.called(3)
        assert len(stage.calls) == 3


async def test_only_the_chosen_statuses_are_called_back() -> None:
    async with scene(Profile(seconds=QUICK, callbacks=("succeed", "failed"))) as stage:
        await stage.submit()
        (body,) = await stage.called(1)
        assert body["task_status"] == "succeed"


@pytest.mark.parametrize("style", [style for style in STYLES if style != "mixed"])
async def test_every_style_contains_the_id_and_the_result(style: str) -> None:
    async with scene() as stage:
        task = await stage.submit(f"[spelling:{style}] rabbit")
        bodies = await stage.called(3)
        assert len({str(body) for body in bodies}) == 3
        assert all(task in str(body) for body in bodies)
        assert ".mp4" in str(bodies[-1])


async def test_the_newer_style_is_klings_newer_body() -> None:
    async with scene(Profile(seconds=QUICK, style="newer")) as stage:
        task = await stage.submit("x", "images/generations")
        done = (await stage.called(3))[-1]
        assert (done["id"], done["status"], done["message"]) == (task, "succeeded", "")
        assert done["outputs"][0]["type"] == "image"
        assert {"create_time", "update_time", "external_id", "billing"} <= set(done)


async def test_the_enveloped_style_says_success_even_of_a_failure() -> None:
    async with scene() as stage:
        await stage.submit("[spelling:enveloped][fail:no]")
        done = (await stage.called(3))[-1]
        assert (done["code"], done["message"]) == (0, "SUCCEED")
        assert (done["data"]["task_status"], done["data"]["task_status_msg"]) == ("failed", "no")


async def test_mixed_styles_differ_and_are_the_same_for_the_same_dice() -> None:
    shapes = []
    for _ in range(2):
        async with scene(Profile(seconds=QUICK, style="mixed")) as stage:
            for _ in range(5):
                await stage.final(await stage.submit())
            shapes.append([sorted(body) for body in await stage.called(15)])
    assert len({str(shape) for shape in shapes[0]}) > 2
    assert shapes[0] == shapes[1]


async def test_callbacks_are_signed_when_there_is_a_secret() -> None:
    async with scene(Profile(seconds=QUICK, secret=SECRET)) as stage:
        await stage.submit()
        await stage.called(3)
        for call in stage.calls:
            Webhook(SECRET).verify(call.raw, call.headers)
        assert len({call.headers["webhook-id"] for call in stage.calls}) == 3


async def test_a_copy_carries_the_same_webhook_id() -> None:
    async with scene(Profile(seconds=QUICK, secret=SECRET, callbacks=("succeed",))) as stage:
        await stage.submit("[double:3]")
        await stage.called(3)
        assert len({call.headers["webhook-id"] for call in stage.calls}) == 1


async def test_signatures_can_be_missing_or_forged() -> None:
    async with scene(Profile(seconds=QUICK, secret=SECRET, callbacks=("succeed",))) as stage:
        await stage.submit("[unsigned]")
        await stage.called(1)
        await stage.submit("[forged]")
        await stage.called(2)
        assert "webhook-signature" not in stage.calls[0].headers
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(stage.calls[1].raw, stage.calls[1].headers)


async def test_a_lost_callback_is_in_the_record_but_never_sent() -> None:
    async with scene() as stage:
        await stage.submit("[lose:processing] rabbit")
        bodies = await stage.called(2)
        assert [body["task_status"] for body in bodies] == ["submitted", "succeed"]
        assert [(callback.status, callback.is_lost) for callback in stage.sandbox.callbacks if callback.is_lost] == [
            ("processing", True)
        ]
        quiet = await stage.submit("[lose]")
        await stage.final(quiet)
        assert all(callback.is_lost for callback in stage.sandbox.callbacks if callback.task_id == quiet)


async def test_a_doubled_callback_comes_twice_and_keeps_its_place() -> None:
    async with scene() as stage:
        await stage.submit("[double] rabbit")
        statuses = [body["task_status"] for body in await stage.called(6)]
        assert statuses == ["submitted"] * 2 + ["processing"] * 2 + ["succeed"] * 2


async def test_reordered_callbacks_come_last_first() -> None:
    async with scene() as stage:
        await stage.submit("[reorder] rabbit")
        statuses = [body["task_status"] for body in await stage.called(3)]
        assert statuses == ["succeed", "processing", "submitted"]


async def test_a_delayed_callback_tells_what_was_true_when_it_was_written() -> None:
    async with scene() as stage:
        task = await stage.submit("[delay:50ms] rabbit")
        await stage.final(task)
        assert not stage.calls
        assert [body["task_status"] for body in await stage.called(3)] == ["submitted", "processing", "succeed"]


@pytest.mark.parametrize(("word", "truth", "lie"), [("", "failed", "succeed"), (":succeed", "succeed", "failed")])
async def test_a_contradiction_follows_the_truth_and_does_not_change_it(word: str, truth: str, lie: str) -> None:
    async with scene() as stage:
        task = await stage.submit(f"[contradict{word}]")
        bodies = await stage.called(4)
        assert [body["task_status"] for body in bodies[2:]] == [truth, lie]
        assert stage.sandbox.task(task).status == truth
        assert len(stage.sandbox.ledger) == (2 if truth == "failed" else 1)


@pytest.mark.parametrize("style", STYLES)
async def test_a_success_without_a_url_has_none_in_any_style(style: str) -> None:
    async with scene() as stage:
        task = await stage.submit(f"[spelling:{style}][no-url:2] rabbit")
        assert "/results/" not in str(await stage.called(3))
        polled = [str(await stage.get(f"/kling/v1/videos/text2video/{task}")) for _ in range(4)]
        assert ["/results/" in answer for answer in polled] == [False, False, True, True]


async def test_a_late_url_comes_with_a_second_callback_for_the_success() -> None:
    async with scene() as stage:
        task = await stage.submit("[late-url:50ms] rabbit")
        bodies = await stage.called(4)
        assert [body["task_status"] for body in bodies[2:]] == ["succeed", "succeed"]
        assert "task_result" not in bodies[2]
        assert bodies[3]["task_result"] == stage.sandbox.task(task).result
        assert len(stage.sandbox.ledger) == 1


async def test_a_foreign_id_was_never_seen_before() -> None:
    async with scene() as stage:
        task = await stage.submit("[foreign-id]", external_task_id="mine")
        for body in await stage.called(3):
            assert body["task_id"] != task
            assert body["task_info"] == {}


async def test_garbage_is_not_json_and_huge_is_over_two_mebibytes() -> None:
    async with scene(Profile(seconds=QUICK, callbacks=("succeed",))) as stage:
        await stage.submit("[garbage]")
        await stage.until(lambda: len(stage.sandbox.callbacks) == 1)
        assert stage.calls[0].raw.startswith(b"<html>")
        await stage.submit("[huge]")
        await stage.until(lambda: len(stage.sandbox.callbacks) == 2)
        assert len(stage.calls[1].raw) == 2 * 1024 * 1024
        assert stage.calls[1].json["task_status"] == "succeed"


async def test_a_refused_callback_is_not_tried_again_unless_it_was_asked_for() -> None:
    async with scene(Profile(seconds=QUICK, callbacks=("succeed",))) as stage:
        stage.answers[:] = [503]
        await stage.submit()
        await stage.submit()
        await stage.called(2)
        assert [callback.answer for callback in stage.sandbox.callbacks] == [503, 200]


@pytest.mark.long
async def test_retries_go_on_until_a_2xx() -> None:
    async with scene(Profile(seconds=QUICK, callbacks=("succeed",), callback_tries=2)) as stage:
        stage.answers[:] = [503]
        await stage.submit()
        await stage.called(2)
        assert [callback.answer for callback in stage.sandbox.callbacks] == [503, 200]


async def test_a_receiver_that_is_not_there_is_an_error_in_the_record() -> None:
    async with scene(Profile(seconds=QUICK, callbacks=("succeed",))) as stage:
        await stage.submit(notify_hook="http://127.0.0.1:1/nobody")
        await stage.submit(notify_hook="not an address")
        await stage.until(lambda: len(stage.sandbox.callbacks) == 2)
        assert all(callback.answer is None and callback.error for callback in stage.sandbox.callbacks)


async def test_redirects_are_not_followed() -> None:
    async with scene(Profile(seconds=QUICK, callbacks=("succeed",))) as stage:
        stage.answers[:] = [307]
        await stage.submit()
        await stage.until(lambda: len(stage.sandbox.callbacks) == 1)
        assert stage.sandbox.callbacks[0].answer == 307


async def test_dice_lose_double_and_delay_their_share() -> None:
    profile = Profile(seconds=QUICK, loss=0.3, doubling=0.3, reorder=0.3, delay=0.3, delay_seconds=(0, 0.05))
    async with scene(profile) as stage:
        tasks = [await stage.submit(f"order {n}") for n in range(100)]
        # Every callback of every task is either in the record as lost, or came at least once.
        expected = {(task, status) for task in tasks for status in ("submitted", "processing", "succeed")}
        await stage.until(
            lambda: {(callback.task_id, callback.status) for callback in stage.sandbox.callbacks} == expected
        )
        lost = sum(callback.is_lost for callback in stage.sandbox.callbacks)
        assert 60 <= lost <= 120
        assert 30 <= len(stage.sandbox.callbacks) - 300 <= 110
        came = [(call.json["task_id"], call.json["task_status"]) for call in stage.calls]
        orders = [[status for one, status in came if one == task] for task in tasks]
        assert any(order.index("succeed") < order.index("processing") for order in orders if len(set(order)) == 3)


async def test_muted_means_nothing_is_sent_and_a_callback_can_be_sent_by_hand() -> None:
    async with scene(Profile(seconds=(3600, 3600))) as stage:
        stage.sandbox.mute()
        task = await stage.submit()
        stage.sandbox.turn_to_processing(task)
        stage.sandbox.finish(task)
        stage.sandbox.unmute()
        stage.sandbox.call_back(task, "processing")
        stage.sandbox.call_back(task)
        assert [body["task_status"] for body in await stage.called(2)] == ["processing", "succeed"]


async def test_stopping_cuts_what_is_under_way() -> None:
    async with scene(Profile(seconds=(0, 0))) as stage:
        await stage.submit("[delay:1h] rabbit".replace("1h", "3600s"))
        async with asyncio.timeout(5):
            await stage.sandbox.stop()
        assert not stage.calls
        assert datetime.now(UTC) > stage.sandbox.requests[0].at
