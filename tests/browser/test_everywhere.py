"""Every page: narrow and wide, light and dark, by keyboard, in two languages, with and without a key."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Open
from tests.support.browsing import Complaints
from tests.support.service import Relay

PAGES = ("try?kind=image2video", "tasks", "subscriptions", "overview", "settings")
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize(("width", "theme"), [(360, "light"), (360, "dark"), (1440, "light"), (1440, "dark")])
async def test_every_page_fits_its_width_without_console_errors(
    open_page: Open, relay: Relay, complaints: Complaints, width: int, theme: str
) -> None:
    task = await relay.submit("a boat with a very long name " * 12)
    subscription = await relay.subscribe("https://example.com/" + "deep/" * 40)
    page = await open_page("try", width=width, theme=theme)
    for where in (*PAGES, f"tasks/{task}", f"subscriptions/{subscription['id']}"):
        await page.goto(f"{relay.url}/console#/{where}")
        await expect(page.locator("main h1")).to_be_visible()
        await expect(page.locator(".bones")).to_have_count(0)
        assert await page.evaluate(OVERFLOW) <= 0, where
    await page.goto(f"{relay.url}/docs")
    await expect(page.get_by_role("heading", name="API reference")).to_be_visible()
    assert await page.evaluate(OVERFLOW) <= 0
    assert complaints.errors == []


async def test_the_console_can_be_used_by_keyboard_alone(open_page: Open) -> None:
    page = await open_page("try?kind=text2video")
    await page.locator("textarea").first.wait_for()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("tab", name="Text to video")).to_be_focused()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("tab", name="Image to video")).to_be_focused()
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("Tab")
    await expect(page.locator("textarea").first).to_be_focused()
    await page.keyboard.type("a street")
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await page.get_by_role("button", name="Submit").evaluate("(button) => button.matches(':focus')"):
            break
    await page.keyboard.press("Enter")
    await expect(page.locator(".progress .pill")).to_be_visible()


async def test_the_console_speaks_english_and_chinese_and_remembers_which(open_page: Open) -> None:
    page = await open_page("try?kind=text2video")
    await page.get_by_role("button", name="中文").first.click()
    await expect(page.get_by_role("heading", name="试用")).to_be_visible()
    assert await page.evaluate("document.documentElement.lang") == "zh-CN"
    await page.reload()
    await expect(page.get_by_role("button", name="提交")).to_be_visible()


async def test_the_console_asks_for_a_key_and_explains_a_wrong_one(open_page: Open, relay: Relay) -> None:
    page = await open_page("settings")
    await page.get_by_role("button", name="Remove key").click()
    await expect(page.get_by_text("Welcome. Enter an API key to start.")).to_be_visible()
    await page.get_by_label("API key", exact=True).fill("not-a-key")
    await page.get_by_role("button", name="Save and test").click()
    await expect(page.get_by_role("alert")).to_contain_text("kling-relay keys create")


async def test_the_key_stays_in_the_browser_and_out_of_the_address(open_page: Open) -> None:
    page = await open_page("tasks")
    assert "key" not in page.url
    stored = await page.evaluate("Object.keys(localStorage)")
    assert stored == ["kling-relay"]
    assert await page.context.cookies() == []


async def test_the_console_reports_an_unreachable_service_and_recovers(open_page: Open, relay: Relay) -> None:
    page = await open_page("tasks")
    await expect(page.get_by_role("status").get_by_text("Live")).to_be_visible()
    await page.context.set_offline(True)
    await page.get_by_label("Type", exact=True).select_option("text2image")
    await expect(page.get_by_role("alert")).to_contain_text("does not answer")
    await expect(page.get_by_role("button", name="Retry")).to_be_visible()
    await page.context.set_offline(False)
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_the_api_reference_can_be_searched(open_page: Open, relay: Relay) -> None:
    page = await open_page("tasks")
    await page.goto(f"{relay.url}/docs")
    await page.get_by_label("Find a path").fill("replay")
    await page.get_by_role("navigation").get_by_role("link", name="Deliver").click()
    assert page.url.endswith("#replay_subscription")
    await expect(page.locator("#replay_subscription")).to_be_in_viewport()
