"""The sandbox's faults on the wire: resets, timeouts, HTML pages, counted error codes, failing polls."""

import asyncio
import random
from datetime import UTC, datetime

import aiohttp
import pytest

from kling_relay.sandbox import Profile
from kling_relay.sandbox.directives import DIRECTIVES, read_directives
from kling_relay.sandbox.errors import RefusalError
from kling_relay.sandbox.schedule import DEFAULT, Ending, randomize
from tests.support.sandboxed import QUICK, Scene, scene

PATH = "/kling/v1/videos/text2video"
IMPATIENT = aiohttp.ClientTimeout(total=0.2)


async def test_a_submit_can_time_out_after_it_was_accepted_and_charged() -> None:
    async with scene() as stage:
        body = {"prompt": "[timeout-after-accept]", "notify_hook": stage.hook, "external_task_id": "mine"}
        with pytest.raises(TimeoutError):
            await stage.client.post(stage.url + PATH, json=body, timeout=IMPATIENT)
        await stage.final("mine")
        assert len(stage.sandbox.ledger) == 1
        await stage.called(3)


async def test_a_submit_can_time_out_with_nothing_accepted() -> None:
    async with scene() as stage:
        with pytest.raises(TimeoutError):
            await stage.client.post(stage.url + PATH, json={"prompt": "[timeout]"}, timeout=IMPATIENT)
        assert len(stage.sandbox.requests) == 1
        assert not stage.sandbox.tasks


async def test_a_hanging_connection_is_reset_in_the_end() -> None:
    async with scene(Profile(seconds=QUICK, hang_seconds=0.05)) as stage:
        with pytest.raises(aiohttp.ClientError):
            await stage.post(PATH, prompt="[timeout]")


@pytest.mark.parametrize(("directive", "charges"), [("[reset]", 0), ("[reset:accepted]", 1)])
async def test_a_connection_can_be_reset_before_or_after_accepting(directive: str, charges: int) -> None:
    async with scene() as stage:
        with pytest.raises(aiohttp.ClientConnectionError):
            await stage.post(PATH, prompt=directive)
        assert len(stage.sandbox.ledger) == charges


@pytest.mark.parametrize(("directive", "charges"), [("[html-502]", 0), ("[html-502:accepted]", 1)])
async def test_a_proxys_page_can_come_before_or_after_accepting(directive: str, charges: int) -> None:
    async with scene() as stage:
        async with stage.client.post(stage.url + PATH, json={"prompt": directive}) as answer:
            assert (answer.status, answer.content_type) == (502, "text/html")
            assert "<html>" in await answer.text()
        assert len(stage.sandbox.ledger) == charges


async def test_a_bare_429_has_no_envelope() -> None:
    async with scene() as stage, stage.client.post(stage.url + PATH, json={"prompt": "[429]"}) as answer:
        assert (answer.status, answer.headers["Retry-After"], answer.content_type) == (429, "1", "text/plain")


async def test_counted_faults_come_one_after_another_and_then_stop() -> None:
    async with scene() as stage:
        prompt = "[1303:2] a rabbit [5001:1]"
        codes = [(await stage.post(PATH, prompt=prompt))[1]["code"] for _ in range(5)]
        assert codes == [1303, 1303, 5001, 0, 0]
        other_order, _ = await stage.post(PATH, prompt=prompt, external_task_id="another order")
        assert other_order == 429


async def test_an_internal_error_can_hide_an_accepted_order() -> None:
    async with scene() as stage:
        status, reply = await stage.post(PATH, prompt="[5000:accepted]", external_task_id="mine")
        assert (status, reply["code"]) == (500, 5000)
        await stage.final("mine")
        assert stage.sandbox.task("mine").status == "succeed"


async def test_a_slow_answer_arrives_late() -> None:
    async with scene() as stage:
        clock = asyncio.get_running_loop().time
        started = clock()
        await stage.submit("[slow:100ms] rabbit")
        assert clock() - started >= 0.1


async def test_callbacks_can_overtake_the_answer() -> None:
    async with scene() as stage:
        status, reply = await stage.post(PATH, prompt="[overtake] rabbit")
        assert [call.json["task_status"] for call in stage.calls] == ["submitted", "processing", "succeed"]
        assert (status, reply["data"]["task_status"]) == (200, "submitted")


async def test_polls_can_fail_for_a_while() -> None:
    async with scene() as stage:
        # Two resets, because aiohttp retries a GET once by itself if a kept-alive connection breaks.
        task = await stage.submit("[poll-html:1][poll-5000:1][poll-lost:1][poll-reset:2]")
        assert [await _poll(stage, task) for _ in range(5)] == ["502", "5000", "1203", "ClientOSError", "0"]


async def test_polls_can_go_unanswered() -> None:
    async with scene() as stage:
        task = await stage.submit("[poll-timeout:1]")
        with pytest.raises(TimeoutError):
            await stage.client.get(f"{stage.url}{PATH}/{task}", timeout=IMPATIENT)
        assert await _poll(stage, task) == "0"


async def _poll(stage: Scene, task: str) -> str:
    """Return the result of a poll: the error's name, the status of an HTML page, or the code."""
    try:
        async with stage.client.get(f"{stage.url}{PATH}/{task}") as answer:
            if answer.content_type == "text/html":
                return str(answer.status)
            return str((await answer.json())["code"])
    except aiohttp.ClientConnectionError as error:
        return "ClientOSError" if isinstance(error, aiohttp.ClientOSError) else type(error).__name__


async def test_a_task_can_take_forever_and_still_be_ended_by_hand() -> None:
    async with scene() as stage:
        task = await stage.submit("[forever]")
        await stage.until(lambda: stage.sandbox.task(task).status == "processing")
        assert stage.sandbox.task(task).timer is None
        stage.sandbox.finish(task)
        with pytest.raises(ValueError, match="succeed already"):
            stage.sandbox.fail(task)


async def test_moderation_fails_the_task_in_klings_words() -> None:
    async with scene() as stage:
        task = await stage.submit("[moderate]")
        await stage.final(task)
        assert stage.sandbox.task(task).reason == "Failure to pass the risk control system"


async def test_a_success_can_cost_a_different_sum() -> None:
    async with scene() as stage:
        task = await stage.submit("[charge:7.5]")
        await stage.final(task)
        assert [str(line.units) for line in stage.sandbox.ledger] == ["1", "6.5"]
        assert (await stage.get(f"{PATH}/{task}"))[1]["data"]["final_unit_deduction"] == "7.5"


@pytest.mark.parametrize(
    "prompt",
    [
        "[slow]",
        "[slow:soon]",
        "[slow:nan]",
        "[lose:later]",
        "[double:0]",
        "[spelling:odd]",
        "[1303:many]",
        "[charge:-1]",
        "[no-url:0]",
        "[late-url:soon]",
    ],
)
async def test_a_misspelt_argument_is_refused_rather_than_ignored(prompt: str) -> None:
    with pytest.raises(RefusalError, match="1201: sandbox"):
        read_directives(prompt)


async def test_other_brackets_are_part_of_the_prompt() -> None:
    assert read_directives("a [red] rabbit [x:y] [ fail ] [[") is DEFAULT


async def test_every_directive_is_read_as_documented() -> None:
    for name, directive in DIRECTIVES.items():
        form = directive.form.split()[0].replace("CODE", name).replace("STYLE", "newer").replace(":N", ":1")
        assert read_directives(f"a {form} rabbit") != DEFAULT, name


async def test_random_numbers_are_drawn_only_for_shares_above_zero() -> None:
    rng = random.Random(7)
    before = rng.getstate()
    assert randomize(DEFAULT, Profile(), rng) is DEFAULT
    assert rng.getstate() == before


async def test_random_draws_meet_the_shares() -> None:
    profile = Profile(failure=0.2, timeout_after_accept=0.1, slow=0.5, refusals=((1302, 0.3),))
    rng = random.Random(7)
    schedules = [randomize(DEFAULT, profile, rng) for _ in range(2000)]
    assert 320 < sum(schedule.ending is Ending.FAILED for schedule in schedules) < 480
    assert 900 < sum(schedule.slow > 0 for schedule in schedules) < 1100
    assert 500 < sum(any(fault.code == 1302 for fault in schedule.submit_faults) for schedule in schedules) < 700


async def test_stopping_ends_requests_that_are_kept_waiting() -> None:
    async with scene() as stage:
        waiting = asyncio.create_task(stage.post(PATH, prompt="[timeout]"))
        await stage.until(lambda: len(stage.sandbox.requests) == 1)
        async with asyncio.timeout(5):
            await stage.sandbox.stop()
        with pytest.raises(aiohttp.ClientError):
            await waiting
        assert stage.sandbox.requests[0].at <= datetime.now(UTC)
