"""Try: from the form to the picture or the video on the page."""

import asyncio
import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import FilePayload, Page, expect

from tests.browser.conftest import Open
from tests.support.browsing import Complaints
from tests.support.service import Relay

PLAYS = "() => [...document.querySelectorAll('.progress video')].some((video) => video.currentTime > 0)"
SHOWS = (
    "(many) => [...document.querySelectorAll('.progress img')].filter((image) => image.naturalWidth).length === many"
)


async def send(page: Page) -> None:
    await page.get_by_role("button", name="Submit").click()


async def test_a_video_is_ordered_priced_watched_and_plays(open_page: Open, complaints: Complaints) -> None:
    page = await open_page("try?kind=text2video")
    await page.get_by_role("button", name="太空飞船在航行").click()
    await expect(page.locator(".price strong")).to_have_text("1 unit")
    await page.get_by_role("radio", name="10 s", exact=True).check()
    await expect(page.locator(".price strong")).to_have_text("2 units")
    await send(page)
    await expect(page.locator(".progress .pill")).to_be_visible()
    await page.wait_for_function(PLAYS)
    await page.get_by_role("link", name="Full timeline").click()
    await expect(page.get_by_role("heading", name="太空飞船在航行")).to_be_visible()
    assert complaints.errors == []


async def test_a_price_and_its_factors_are_shown_in_both_languages(open_page: Open) -> None:
    page = await open_page("try?kind=image2video")
    await page.get_by_role("radio", name="kling-v1-5", exact=True).check()
    await page.get_by_role("radio", name="Professional", exact=True).check()
    await page.get_by_role("radio", name="10 s", exact=True).check()
    lines = page.locator(".price .lines")
    await expect(lines).to_have_text("2 per kling-v1-5 video × 3.5 for mode pro × 2 for duration 10")
    await page.get_by_role("button", name="中文").first.click()
    await expect(page.locator(".price strong")).to_have_text("14 点")
    await expect(lines).to_have_text("kling-v1-5 视频每个 2 × 3.5（模式 pro） × 2（时长 10）")
    await page.get_by_role("tab", name="文生图").click()
    await page.get_by_label("图片数量").fill("3")
    await expect(lines).to_have_text("每张图片 1 × 3（数量 3）")


async def test_pictures_are_ordered_by_number_and_proportions(open_page: Open, complaints: Complaints) -> None:
    page = await open_page("try?kind=text2image")
    await page.get_by_label("Prompt", exact=False).first.fill("漫画兔子吃草")
    await page.get_by_label("Number of images").fill("3")
    await page.get_by_role("radio", name="4:3", exact=True).check()
    await send(page)
    await page.wait_for_function(SHOWS, arg=3)
    assert complaints.errors == []


async def test_a_picture_becomes_a_video(open_page: Open, relay: Relay, complaints: Complaints) -> None:
    page = await open_page("try?kind=image2video")
    await send(page)
    await expect(page.get_by_text("Required.")).to_be_visible()
    await page.get_by_role("button", name="Sample picture").first.click()
    await expect(page.get_by_text("640 × 480")).to_be_visible()
    await page.get_by_role("radio", name="kling-v1-5", exact=True).check()
    await expect(page.locator(".price strong")).to_have_text("2 units")
    await send(page)
    await page.wait_for_function(PLAYS)
    _, tasks = await relay.call("GET", "/v1/tasks")
    task = await relay.task(tasks["data"][0]["task_id"])
    assert task["fields"]["model_name"] == "kling-v1-5"
    assert task["fields"]["image"].startswith("Base64 image, jpg 640x480")
    assert complaints.errors == []


async def test_a_picture_that_is_too_small_is_refused_before_anything_is_sent(open_page: Open) -> None:
    page = await open_page("try?kind=image2video")
    small = await page.evaluate("""async () => {
        const canvas = Object.assign(document.createElement('canvas'), { width: 120, height: 120 });
        return canvas.toDataURL('image/png').split(',')[1];
    }""")
    picture: FilePayload = {"name": "small.png", "mimeType": "image/png", "buffer": base64.b64decode(small)}
    await page.locator("input[type=file]").first.set_input_files(picture)
    await expect(page.get_by_text("120 × 120 is too small (min 300 px per side).")).to_be_visible()


async def test_camera_control_uses_exactly_one_axis(open_page: Open) -> None:
    page = await open_page("try?kind=text2video")
    await page.get_by_label("Prompt", exact=False).first.fill("a street")
    await page.get_by_text("Advanced").click()
    await page.get_by_role("radio", name="Simple", exact=True).check()
    await page.get_by_role("slider", name="Vertical").fill("4")
    await page.get_by_role("slider", name="Zoom").fill("-3")
    await expect(page.get_by_role("slider", name="Vertical")).to_have_value("0")
    command = await page.locator(".code pre").inner_text()
    order = json.loads(command[command.index("-d '") + 4 : -1])
    assert order["camera_control"] == {"type": "simple", "config": {"zoom": -3}}
    await page.get_by_role("radio", name="Professional").check()
    await expect(page.get_by_text("Camera control needs mode std, duration 5.")).to_be_visible()
    command = await page.locator(".code pre").inner_text()
    assert "camera_control" not in command


async def copied_command(page: Page) -> str:
    await page.locator(".code").get_by_role("button", name="Copy").click()
    return str(await page.evaluate("navigator.clipboard.readText()"))


async def run(command: str, directory: Path) -> Any:
    """Run a command in a shell and return its JSON output."""
    shell = await asyncio.create_subprocess_shell(
        f"{command} 2>/dev/null", cwd=directory, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await shell.communicate()
    return json.loads(output)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
async def test_the_curl_command_sends_the_order_of_the_form(open_page: Open, relay: Relay, tmp_path: Path) -> None:
    page = await open_page("try?kind=image2image")
    await page.get_by_label("Prompt", exact=False).first.fill('it\'s a street for $5, `really` \\ "so"')
    picture = Image.effect_noise((900, 700), 80)
    picture.save(tmp_path / "my picture.png")
    assert (tmp_path / "my picture.png").stat().st_size > 200_000
    await page.locator("input[type=file]").first.set_input_files(tmp_path / "my picture.png")
    await expect(page.get_by_text("900 × 700")).to_be_visible()
    assert "test-key-" not in await page.locator(".code pre").inner_text()
    answer = await run(await copied_command(page), tmp_path)
    assert answer["code"] == 0, answer
    fields = (await relay.task(answer["data"]["task_id"]))["fields"]
    assert fields["prompt"] == 'it\'s a street for $5, `really` \\ "so"'
    assert fields["image"].startswith("Base64 image, png 900x700")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
async def test_the_curl_command_quotes_shell_characters(open_page: Open, relay: Relay, tmp_path: Path) -> None:
    page = await open_page("try?kind=text2video")
    await page.get_by_label("Prompt", exact=False).first.fill("it's $HOME")
    answer = await run(await copied_command(page), tmp_path)
    assert (await relay.task(answer["data"]["task_id"]))["fields"]["prompt"] == "it's $HOME"


async def test_a_refusal_is_shown_with_its_reason(open_page: Open, relay: Relay) -> None:
    await relay.submit("first", external_task_id="taken")
    page = await open_page("try?kind=text2video")
    await page.get_by_label("Prompt", exact=False).first.fill("second")
    await page.get_by_text("Integration").click()
    await page.get_by_label("Your task ID").fill("taken")
    await send(page)
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("used before with another order")
    await expect(alert).to_contain_text("Use another external task ID")


IS_ON_TOP = """(button) => {
    const { left, top, width, height } = button.getBoundingClientRect();
    return [2, height / 2, height - 2].every((down) =>
        button.contains(document.elementFromPoint(left + width / 2, top + down)));
}"""


@pytest.mark.parametrize("width", [360, 640, 641, 760, 860, 861, 1440])
async def test_the_submit_button_is_above_the_bottom_bar_at_every_width(open_page: Open, width: int) -> None:
    page = await open_page("try?kind=image2video", width=width)
    await page.set_viewport_size({"width": width, "height": 560})
    submit = page.get_by_role("button", name="Submit")
    await expect(submit).to_be_visible()
    for place in (0, 150):
        await page.evaluate(f"scrollTo(0, {place})")
        assert await submit.evaluate(IS_ON_TOP), place


async def test_an_order_is_still_followed_after_another_page_and_a_reload(open_page: Open, relay: Relay) -> None:
    page = await open_page("try?kind=text2video")
    await page.get_by_label("Prompt", exact=False).first.fill("a boat")
    await send(page)
    task = await page.locator(".progress code.id").inner_text()
    await page.get_by_role("navigation").get_by_role("link", name="Tasks").click()
    await expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    await page.get_by_role("navigation").get_by_role("link", name="Try").click()
    await expect(page.locator(".progress code.id")).to_have_text(task)
    await page.wait_for_function(PLAYS)
    await page.reload()
    await expect(page.locator(".progress .pill")).to_have_text("Succeeded")
    await page.locator(".progress").get_by_role("button", name="Close").click()
    await page.reload()
    await expect(page.get_by_text("Your result appears here")).to_be_visible()
