"""Addresses and the history: Back, deep links, malformed addresses, and keys that a link brings along."""

import pytest
from playwright.async_api import Page, expect

from kling_relay.app import keys
from tests.browser.conftest import Open
from tests.support.browsing import Complaints
from tests.support.service import KEY, Relay

SCROLLED = "scrollY"
IS_AT = "(place) => Math.abs(scrollY - place) < 3"
STORED_KEY = "JSON.parse(localStorage['kling-relay']).key"


async def list_of(relay: Relay, count: int) -> None:
    """Make `count` tasks that are final, so that no row changes any more."""
    for task in [await relay.submit(f"boat {number}") for number in range(count)]:
        await relay.final(task)


async def test_back_returns_to_the_loaded_rows_and_to_the_place(open_page: Open, relay: Relay) -> None:
    await list_of(relay, 60)
    page = await open_page("tasks")
    rows = page.locator("a.task")
    await expect(rows).to_have_count(25)
    await page.get_by_role("button", name="Older tasks").click()
    await expect(rows).to_have_count(50)
    await page.get_by_role("button", name="Older tasks").click()
    await expect(rows).to_have_count(60)
    last = rows.filter(has_text="boat 11")
    await last.scroll_into_view_if_needed()
    await page.wait_for_timeout(100)
    place = await page.evaluate(SCROLLED)
    assert place > 1000
    await last.click()
    await expect(page.get_by_role("heading", name="boat 11")).to_be_visible()
    assert await page.evaluate(SCROLLED) == 0
    await page.go_back()
    await expect(rows).to_have_count(60)
    await page.wait_for_function(IS_AT, arg=place)
    await page.goto(f"{relay.url}/docs")
    await page.go_back()
    await expect(rows).to_have_count(60)
    await page.wait_for_function(IS_AT, arg=place)
    await page.get_by_role("navigation").get_by_role("link", name="Overview").click()
    await page.get_by_role("navigation").get_by_role("link", name="Tasks").click()
    await expect(rows).to_have_count(25)
    assert await page.evaluate(SCROLLED) == 0


async def test_a_deep_link_without_a_key_is_followed_once_the_key_is_entered(open_page: Open, relay: Relay) -> None:
    task = await relay.submit("a paper boat")
    page = await open_page("settings")
    await page.get_by_role("button", name="Remove key").click()
    await page.goto(f"{relay.url}/console#/tasks/{task}")
    await page.get_by_label("API key", exact=True).fill("not-a-key")
    await page.get_by_role("button", name="Save and test").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("API key", exact=True).fill(KEY)
    await page.get_by_role("button", name="Save and test").click()
    await expect(page.get_by_role("heading", name="a paper boat")).to_be_visible()
    assert page.url.endswith(f"#/tasks/{task}")


async def test_a_page_that_refused_a_key_is_opened_again_after_the_settings(open_page: Open, relay: Relay) -> None:
    task = await relay.submit("a paper boat")
    page = await open_page(f"tasks/{task}", key="wrong")
    await page.get_by_role("alert").get_by_role("link", name="Settings").click()
    await page.get_by_label("API key", exact=True).fill(KEY)
    await page.get_by_role("button", name="Save and test").click()
    await expect(page.get_by_role("heading", name="a paper boat")).to_be_visible()


@pytest.mark.parametrize(
    ("address", "title"),
    [
        ("#/%", "Page not found"),
        ("#/tasks/%E0%A4%A", "Page not found"),
        ("#/tasks/..%2F..%2Fdocs", "Page not found"),
        ("#/constructor", "Page not found"),
        ("#/__proto__", "Page not found"),
        ("#key=%", "Try"),
        ("#key=", "Try"),
        ("#/tasks?since=constructor&from=never&until=x", "Tasks"),
        ("#/overview?span=__proto__", "Overview"),
    ],
)
async def test_a_malformed_address_opens_a_page(
    open_page: Open, relay: Relay, complaints: Complaints, address: str, title: str
) -> None:
    page = await open_page("settings")
    await page.goto("about:blank")
    await page.goto(f"{relay.url}/console{address}")
    await expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    # a key that the service does not know is 401
    assert [error for error in complaints.errors if "status of 401" not in error] == []


async def offered(page: Page, relay: Relay, key: str) -> Page:
    """Open the console with a key in its address, as any page can, in another tab of the same browser."""
    other = await page.context.new_page()
    await other.goto(f"{relay.url}/console#key={key}")
    return other


async def test_a_key_of_a_link_replaces_another_only_if_the_user_says_so(open_page: Open, relay: Relay) -> None:
    key = await keys.create_key(relay.parts.database, relay.parts.encryptor, "night shift", client="a stranger")
    page = await open_page("tasks")
    other = await offered(page, relay, key)
    question = other.get_by_role("dialog", name="Replace your key?")
    await expect(question).to_contain_text("bootstrap")
    await expect(question).to_contain_text("a stranger · night shift")
    assert key not in await other.content()
    assert "key=" not in other.url
    await other.keyboard.press("Escape")
    await expect(question).to_have_count(0)
    assert await other.evaluate(STORED_KEY) == KEY
    other = await offered(page, relay, key)
    await other.get_by_role("button", name="Keep your key").click()
    assert await other.evaluate(STORED_KEY) == KEY
    other = await offered(page, relay, key)
    await other.get_by_role("button", name="Use the key of the link").click()
    assert await other.evaluate(STORED_KEY) == key


async def test_a_link_to_an_open_console_asks_as_well(open_page: Open) -> None:
    page = await open_page("tasks")
    await page.evaluate("location.hash = '#key=kr-unknown'")
    question = page.get_by_role("dialog", name="Replace your key?")
    await expect(question).to_contain_text("The service does not know this key.")
    assert await page.evaluate(STORED_KEY) == KEY


async def test_a_link_with_the_same_key_asks_nothing(open_page: Open, relay: Relay) -> None:
    page = await open_page("tasks")
    other = await offered(page, relay, KEY)
    await expect(other.get_by_role("heading", name="Try")).to_be_visible()
    await expect(other.get_by_role("dialog")).to_have_count(0)
