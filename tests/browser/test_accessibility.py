"""axe-core finds nothing on any page, in any theme, at any width; dialogs begin, keep and return the focus."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Open
from tests.support.browsing import violations
from tests.support.service import Relay, subscriber

PAGES = (
    "try?kind=text2video",
    "try?kind=image2video",
    "tasks",
    "tasks?status=failed",
    "overview",
    "settings",
    "nowhere",
)
WIDTHS = (360, 760, 1440)
FOCUSED = "document.activeElement.outerHTML.slice(0, 200)"
KEEP = "ids => document.querySelectorAll('.operation').forEach(part => ids.includes(part.id) || part.remove())"
IN_DIALOG = "Boolean(document.activeElement.closest('dialog'))"


async def loaded(page: Page) -> None:
    await expect(page.locator("main h1, main h2").first).to_be_visible()
    await expect(page.locator(".bones")).to_have_count(0)


@pytest.mark.long
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
async def test_axe_finds_nothing_on_any_page(open_page: Open, relay: Relay, theme: str, width: int) -> None:
    async with subscriber(answers=[500] * 6) as receiver:
        subscription = await relay.subscribe(receiver.url, events=["task.failed"], description="Shop")
        await relay.subscribe("https://example.com/hook")
        task = await relay.submit("a paper boat")
        failed = await relay.submit("a grey day [fail:too grey]")
        for order in (task, failed):
            await relay.final(order)
        page = await open_page("try", width=width, theme=theme)
        own = (f"tasks/{task}", f"tasks/{failed}", "subscriptions", f"subscriptions/{subscription['id']}")
        found = {}
        for where in (*PAGES, *own):
            await page.goto(f"{relay.url}/console#/{where}")
            await loaded(page)
            if (faults := await violations(page)) != []:
                found[where] = faults
        assert found == {}


@pytest.mark.long
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_in_the_api_reference(open_page: Open, relay: Relay, theme: str) -> None:
    """All operations look alike: a few of them stand for the others in axe, which takes seconds for the whole page."""
    page = await open_page("tasks", theme=theme)
    await page.goto(f"{relay.url}/docs")
    await expect(page.locator("section.operation").nth(30)).to_be_attached()
    labels = [await section.get_attribute("aria-label") for section in await page.locator("section.operation").all()]
    assert len(set(labels)) == len(labels) > 30
    section = page.locator("#order_videos_text2video")
    await section.get_by_text("its members").first.click()
    await section.get_by_text("Change the body").click()
    await page.locator("#livez").get_by_role("button", name="Run").click()
    await expect(page.locator("#livez .answer .pill")).to_have_text("200", timeout=15_000)
    await page.evaluate(KEEP, ["order_videos_text2video", "list_tasks", "delete_subscription", "livez", "event"])
    found = {}
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        if (faults := await violations(page)) != []:
            found[width] = faults
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    assert found == {}


@pytest.mark.long
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_in_dialogs_and_errors(open_page: Open, relay: Relay, theme: str) -> None:
    subscription = await relay.subscribe("https://example.com/hook")
    page = await open_page(f"subscriptions/{subscription['id']}", theme=theme)
    for name in ("Edit", "Replay", "New secret", "Delete"):
        await page.locator(".acts-line").get_by_role("button", name=name).click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        assert await violations(page) == [], name
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.goto(f"{relay.url}/console#/tasks/01a20456-f6b4-7000-af89-f2b2835ecf47")
    await expect(page.get_by_role("alert")).to_be_visible()
    assert await violations(page) == []
    await page.goto(f"{relay.url}/console#key=another")
    await expect(page.get_by_role("dialog")).to_contain_text("The service does not know this key.")
    assert await violations(page) == []


async def test_a_dialog_begins_on_its_first_field_keeps_the_focus_and_gives_it_back(
    open_page: Open, relay: Relay
) -> None:
    subscription = await relay.subscribe("https://example.com/hook")
    page = await open_page(f"subscriptions/{subscription['id']}")
    edit = page.locator(".acts-line").get_by_role("button", name="Edit")
    await edit.click()
    await expect(page.get_by_role("dialog").get_by_label("URL")).to_be_focused()
    for key in ("Tab",) * 30 + ("Shift+Tab",) * 30:
        await page.keyboard.press(key)
        assert await page.evaluate(IN_DIALOG), await page.evaluate(FOCUSED)
    await page.keyboard.press("Escape")
    await expect(edit).to_be_focused()
    replay = page.locator(".acts-line").get_by_role("button", name="Replay")
    await replay.click()
    await expect(page.get_by_role("radio", name="Failed only")).to_be_focused()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    await expect(replay).to_be_focused()


async def test_a_dialog_without_fields_begins_on_its_heading(open_page: Open, relay: Relay) -> None:
    subscription = await relay.subscribe("https://example.com/hook")
    page = await open_page(f"subscriptions/{subscription['id']}")
    await page.locator(".acts-line").get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("heading", name="Delete this subscription?")).to_be_focused()


async def test_the_focus_goes_to_the_page_if_what_had_it_is_gone(open_page: Open) -> None:
    page = await open_page("subscriptions")
    await page.get_by_role("button", name="New subscription").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("URL").fill("https://example.com/hook")
    await dialog.get_by_role("button", name="Create").click()
    await expect(page.locator(".sub")).to_be_visible()
    await page.get_by_role("button", name="I have saved it").click()
    await expect(page.locator("main")).to_be_focused()
