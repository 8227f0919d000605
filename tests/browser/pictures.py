"""`make images`: takes the pictures in docs/images, from a demo with some minutes of orders.

Nothing is edited: the pictures show what happened in those minutes.
"""

import asyncio
import io
import os
import re
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from PIL import Image
from playwright.async_api import Browser, Page

from kling_relay.client import Relay
from tests.support.browsing import CHROMIUM, MISSING, chromium
from tests.support.paths import ROOT
from tests.support.service import subscriber

IMAGES = ROOT / "docs" / "images"
MINUTES = 4.0
PROMPTS = (
    "A tram turns a corner in old Lisbon, golden hour",
    "漫画兔子吃草",
    "A paper boat drifts down a rain-wet street, close to the water",
    "太空飞船在航行",
    "A whale turns under a frozen lake",
    "As a woodcut in two colours",
)
FAILING = " [fail:The picture is too dark]"
ANSWERS = [200, 200, 503, 200, 200, 200, 200, 500, 200, 200]
"""The answers of the second subscriber, in a loop."""
PLAYS = "() => [...document.querySelectorAll('.progress video')].some((video) => video.currentTime > 0.5)"
SETTLED = """() => !document.querySelector('.bones, .spin')
    && [...document.images].every((image) => image.complete || image.getBoundingClientRect().top > innerHeight)
    && [...document.querySelectorAll('video')].every((video) => video.readyState > 1)
    && !!document.querySelector('h1') && (location.hash !== '#/overview' || !!document.querySelector('.usage'))"""
"""Whether everything is loaded; the network is never idle, because the page follows a stream."""
GROUND = (217, 218, 212)


@asynccontextmanager
async def demo(directory: str) -> AsyncIterator[tuple[str, str]]:
    """Start `kling-relay demo` with its data in `directory`; yield its URL and key when its four orders are done."""
    settings = {"RELAY_DATA_DIR": directory, "RELAY_METRICS_PORT": "0", "RELAY_PROVIDER_SLOTS": "60"}
    command = (sys.executable, "-m", "kling_relay", "demo")
    running = await asyncio.create_subprocess_exec(*command, env={**os.environ, **settings}, stdout=PIPE)
    try:
        yield await started(running)
    finally:
        if running.returncode is None:
            running.terminate()
        await running.communicate()


async def started(running: Process) -> tuple[str, str]:
    """Read the demo's output until its script is done, and return its URL and key."""
    console: tuple[str, str] | None = None
    assert running.stdout is not None
    async with asyncio.timeout(120):
        async for line in running.stdout:
            text = line.decode()
            if match := re.search(r"(http://\S+)/console#key=(\S+)", text):
                console = match[1], match[2]
            if "Ctrl-C" in text and console:
                return console
    raise RuntimeError("The demo ended early; its output is above.")


async def order(relay: Relay, seconds: float) -> None:
    """Submit orders of all kinds for `seconds`, a few every few seconds; every ninth task fails."""
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        for _ in range(1 + number % 3):
            number += 1
            prompt = PROMPTS[number % len(PROMPTS)] + (FAILING if number % 9 == 0 else "")
            if number % 3 == 0:
                await relay.text_to_image(prompt, n=1 + number % 2)
            else:
                await relay.text_to_video(prompt, mode="pro" if number % 5 == 0 else "std")
        await asyncio.sleep(4)  # charts need orders that are spread over minutes


async def opened(browser: Browser, url: str, key: str, **given: Any) -> Page:
    """Open the console, signed in; by default 1440 by 900, light and in English."""
    options = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light", "locale": "en-GB", **given}
    page = await (await browser.new_context(**options)).new_page()
    await page.goto(f"{url}/console#key={key}")
    await page.wait_for_url("**/console#/**")
    return page


async def take(page: Page, name: str, address: str = "", *, whole: bool = False) -> Image.Image:
    """Go to `address` if it is given, wait until everything is loaded, save a screenshot and return it."""
    if address:
        await page.goto(address)
        await page.locator("main h1").first.wait_for()
    await page.wait_for_function(SETTLED)
    if whole:  # as high as the page, so that nothing sticky covers it
        high = int(await page.evaluate("document.documentElement.scrollHeight"))
        await page.set_viewport_size({"width": 1440, "height": high})
    picture = Image.open(io.BytesIO(await page.screenshot(animations="disabled"))).convert("RGB")
    if name:
        picture.save(IMAGES / f"{name}.png", optimize=True)
        sys.stdout.write(f"{name}.png\n")
    return picture


async def try_it(page: Page, name: str, words: Mapping[str, str], console: str) -> None:
    """Submit an order for a video from a picture, and take a screenshot while it plays."""
    await page.goto(f"{console}/try?kind=image2video")
    await page.get_by_role("button", name=words["sample"]).first.click()
    await page.locator("textarea").first.fill(words["prompt"])
    await page.get_by_role("button", name=words["send"]).click()
    await page.wait_for_function(PLAYS, timeout=30_000)
    await page.evaluate("scrollTo(0, 0)")
    await page.locator("h1").first.click()
    await take(page, name)


ENGLISH = {"sample": "Sample picture", "prompt": "The clouds drift slowly, the light fades", "send": "Submit"}
CHINESE = {"sample": "示例图片", "prompt": "云缓缓飘过，光线渐暗", "send": "提交"}


async def narrow(browser: Browser, url: str, key: str, places: list[str]) -> None:
    """Take four pages at the width of a phone, two light and two dark, side by side."""
    phone = {"viewport": {"width": 360, "height": 760}, "device_scale_factor": 1.5}
    shots = []
    for number, where in enumerate(places):
        page = await opened(browser, url, key, **phone, color_scheme="light" if number < len(places) / 2 else "dark")
        shots.append(await take(page, "", f"{url}/console#/{where}"))
    wide, high = shots[0].size
    gap = 30
    sheet = Image.new("RGB", (gap + (wide + gap) * len(shots), high + 2 * gap), GROUND)
    for number, shot in enumerate(shots):
        sheet.paste(shot, (gap + (wide + gap) * number, gap))
    sheet.save(IMAGES / "narrow.png", optimize=True)
    sys.stdout.write("narrow.png\n")


async def shoot(browser: Browser, url: str, key: str, task: str, subscription: str) -> None:
    """Take every picture."""
    console = f"{url}/console#"
    page = await opened(browser, url, key)
    await try_it(page, "try", ENGLISH, console)
    await take(page, "tasks", f"{console}/tasks")
    await take(page, "subscriptions", f"{console}/subscriptions")
    await take(page, "subscription", f"{console}/subscriptions/{subscription}")
    await take(page, "docs", f"{url}/docs")
    await take(page, "task", f"{console}/tasks/{task}", whole=True)
    await take(await opened(browser, url, key), "overview", f"{console}/overview", whole=True)
    dark = await opened(browser, url, key, color_scheme="dark")
    await take(dark, "overview-dark", f"{console}/overview", whole=True)
    await try_it(await opened(browser, url, key, color_scheme="dark", locale="zh-CN"), "try-zh-dark", CHINESE, console)
    await narrow(browser, url, key, ["try?kind=text2video", "tasks", f"tasks/{task}", "overview"])


async def main(minutes: float) -> None:
    if CHROMIUM is None:
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        async with (
            demo(directory) as (url, key),
            Relay(url, key) as relay,
            subscriber(answers=ANSWERS * 400) as shop,
            chromium() as browser,
        ):
            subscription = await relay.subscribe(
                shop.url, events=["task.succeed", "task.failed"], description="Shop, orders"
            )
            sys.stdout.write(f"Ordering for {minutes:g} minutes.\n")
            await order(relay, minutes * 60)
            task = await relay.text_to_video(PROMPTS[0], mode="pro")
            await relay.wait(task.task_id, within=60)
            await shoot(browser, url, key, task.task_id, subscription.id)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES))
