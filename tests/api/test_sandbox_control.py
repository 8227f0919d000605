"""The sandbox's own API, its results, its options, and the docs that list every directive and option."""

import io
import random
import re
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
from PIL import Image

from kling_relay.sandbox import DIRECTIVES, Profile, ProfileError, Sandbox
from tests.support.paths import ROOT
from tests.support.sandboxed import QUICK, scene

PAGE = (ROOT / "docs" / "sandbox.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
PATH = "/kling/v1/videos/text2video"


async def test_the_state_can_be_read_over_http() -> None:
    async with scene() as stage:
        task = await stage.submit("[fail]", external_task_id="mine", duration="10")
        await stage.called(3)
        _, account = await stage.get("/sandbox/account")
        assert (account["spent"], account["charges"], account["refunds"], account["slots_held"]) == ("0", 1, 1, 0)
        _, ledger = await stage.get("/sandbox/ledger")
        assert [(line["kind"], line["units"]) for line in ledger["data"]] == [("refund", "-2"), ("charge", "2")]
        _, tasks = await stage.get("/sandbox/tasks?limit=5")
        assert (tasks["total"], tasks["data"][0]["task_status"], tasks["data"][0]["price"]) == (1, "failed", "2")
        _, one = await stage.get("/sandbox/tasks/mine")
        assert one["task_id"] == task
        assert [sent["answer"] for sent in one["callbacks"]] == [200, 200, 200]
        _, sent = await stage.get("/sandbox/callbacks?offset=1&limit=1")
        assert (sent["total"], sent["data"][0]["status"]) == (3, "processing")


async def test_tasks_are_ended_and_callbacks_sent_over_http() -> None:
    async with scene(Profile(seconds=(3600, 3600))) as stage:
        first, second = await stage.submit(), await stage.submit()
        assert (await stage.post(f"/sandbox/tasks/{first}/finish"))[1]["task_status"] == "succeed"
        _, failed = await stage.post(f"/sandbox/tasks/{second}/fail", reason="by hand")
        assert (failed["task_status"], failed["task_status_msg"]) == ("failed", "by hand")
        assert (await stage.post(f"/sandbox/tasks/{first}/finish"))[0] == 400
        assert (await stage.post(f"/sandbox/tasks/{first}/callback", status="processing"))[0] == 200
        assert (await stage.post(f"/sandbox/tasks/{first}/callback", status="odd"))[0] == 400
        assert (await stage.post("/sandbox/tasks/nobody/finish"))[0] == 404
        assert [body["task_status"] for body in await stage.called(5)].count("processing") == 1


async def test_options_can_be_changed_while_the_sandbox_runs() -> None:
    async with scene() as stage:
        options = {"loss": 1, "seconds": "0..0", "callbacks": ["succeed"], "external_ids": False, "slots": None}
        async with stage.client.patch(stage.url + "/sandbox/profile", json=options) as answer:
            shown = await answer.json()
        assert (shown["loss"], shown["callbacks"], shown["external_ids"]) == ("1", "succeed", "no")
        await stage.final(await stage.submit())
        assert [(callback.status, callback.is_lost) for callback in stage.sandbox.callbacks] == [("succeed", True)]
        async with stage.client.patch(stage.url + "/sandbox/profile", json={"loss": 2, "odd": 1}) as answer:
            reply = await answer.json()
        assert (answer.status, reply["code"]) == (400, 1201)
        assert "loss" in reply["message"]
        assert "odd" in reply["message"]


async def test_the_record_is_not_told_to_strangers() -> None:
    async with scene() as stage:
        for path in ("account", "ledger", "tasks", "callbacks", "profile"):
            async with stage.client.get(f"{stage.url}/sandbox/{path}", headers={"Authorization": "Bearer x"}) as answer:
                assert answer.status == 401
        _, profile = await stage.get("/sandbox/profile")
        assert not {"keys", "access_keys", "secret"} & set(profile)


def test_a_profile_reads_back_its_own_json() -> None:
    profile = Profile(loss=0.25, slots=3, refusals=((1302, 0.5), (5000, 0.1)), seconds=(0, 1), hook_fields=("a", "b"))
    assert Profile().with_options(profile.to_json().items()) == profile


def test_every_wrong_option_is_reported_at_once() -> None:
    with pytest.raises(ProfileError) as raised:
        Profile().with_options([("loss", "2"), ("secret", "whsec_!"), ("nothing", "1"), ("seconds", "3..1")])
    assert re.findall(r"(?:^|; )(\w+):", str(raised.value)) == ["loss", "secret", "nothing", "seconds"]


@pytest.mark.parametrize(
    ("ratio", "size"), [("16:9", (960, 540)), ("9:16", (540, 960)), ("1:1", (720, 720)), ("21:9", (1050, 450))]
)
async def test_pictures_are_real_and_have_the_shape_that_was_asked_for(ratio: str, size: tuple[int, int]) -> None:
    async with scene() as stage:
        task = await stage.submit("漫画兔子吃草 & a hat", "images/generations", aspect_ratio=ratio)
        (image,) = await _result(stage.sandbox, stage, task, "images")
        async with stage.client.get(image["url"], headers={"Authorization": ""}) as answer:
            assert (answer.content_type, answer.headers["Access-Control-Allow-Origin"]) == ("image/png", "*")
            png = await answer.read()
        with Image.open(io.BytesIO(png)) as picture:
            assert (picture.format, picture.size) == ("PNG", size)
        assert len(png) < 200_000


@pytest.mark.parametrize("ratio", ["16:9", "9:16", "1:1"])
async def test_videos_are_real_and_can_be_read_in_ranges(ratio: str) -> None:
    async with scene() as stage:
        task = await stage.submit("x", aspect_ratio=ratio, duration="10")
        (video,) = await _result(stage.sandbox, stage, task, "videos")
        async with stage.client.get(video["url"]) as answer:
            assert (answer.status, answer.content_type) == (200, "video/mp4")
            whole = await answer.read()
        assert whole[4:8] == b"ftyp"
        assert whole.index(b"moov") < whole.index(b"mdat")  # faststart: a browser plays while it loads
        async with stage.client.get(video["url"], headers={"Range": "bytes=4-7"}) as answer:
            assert (answer.status, await answer.read()) == (206, b"ftyp")
            assert answer.headers["Content-Range"] == f"bytes 4-7/{len(whole)}"
            assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    "name", ["x/0-5x4.png", "x/1-4x3-5.mp4", "../profile.py", "x/0-16x9.gif", "%2e%2e/%2e%2e/profile.py", "x"]
)
async def test_no_other_file_is_served(name: str) -> None:
    async with scene() as stage, stage.client.get(f"{stage.url}/sandbox/results/{name}") as answer:
        assert answer.status in (401, 404)


async def test_results_outlive_the_sandbox_that_made_them() -> None:
    async with scene() as stage:
        task = await stage.submit("a rabbit", "images/generations")
        (image,) = await _result(stage.sandbox, stage, task, "images")
        async with stage.client.get(image["url"]) as answer:
            before = await answer.read()
    async with scene() as other, other.client.get(other.url + image["url"].removeprefix(stage.url)) as answer:
        assert await answer.read() == before


async def test_a_public_url_begins_the_addresses_of_results() -> None:
    sandbox = Sandbox(
        Profile(seconds=QUICK),
        now=lambda: datetime.now(UTC),
        rng=random.Random(1),
        public_url="https://sandbox.example/",
    )
    url = await sandbox.start()
    async with scene() as stage:
        stage.url = url
        task = await stage.submit()
        (video,) = await _result(sandbox, stage, task, "videos")
    await sandbox.stop()
    assert video["url"].startswith("https://sandbox.example/sandbox/results/")


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with scene() as stage:
        sandbox = Sandbox(Profile(), now=lambda: datetime.now(UTC), rng=random.Random(1))
        with pytest.raises(OSError, match="address already in use"):
            await sandbox.start(port=int(stage.url.rsplit(":", 1)[1]))


async def test_the_front_page_lists_every_directive() -> None:
    async with scene() as stage, stage.client.get(stage.url + "/", headers={"Authorization": ""}) as answer:
        guide = await answer.text()
    assert all(directive.form in guide for directive in DIRECTIVES.values())


def test_the_docs_list_every_directive() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `[")]
    for directive in DIRECTIVES.values():
        assert any(all(f"`{form}`" in row for form in directive.form.split()) for row in rows), directive.form


def test_the_docs_list_every_option_with_its_default() -> None:
    for (name, default, meaning), option in zip(Profile.options(), fields(Profile), strict=True):
        assert name == option.name
        row = f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |"
        assert row in PAGE, row


def test_the_example_in_the_settings_page_is_a_valid_profile() -> None:
    (row,) = [line for line in SETTINGS.splitlines() if "`RELAY_SANDBOX_PROFILE`" in line]
    example = re.search(r"e\.g\. `([^`]+)`", row)
    assert example
    pairs = [option.partition("=") for option in example[1].split()]
    profile = Profile().with_options([(name, value) for name, _, value in pairs])
    assert (profile.loss, profile.doubling) == (0.3, 0.3)


async def _result(sandbox: Sandbox, stage: Any, task: str, kind: str) -> list[dict[str, Any]]:
    await sandbox.until(lambda: sandbox.task(task).is_final)
    result = sandbox.task(task).result
    assert result is not None
    files = result[kind]
    assert isinstance(files, list)
    return files
