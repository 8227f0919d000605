"""The console on a bad connection: it says so, asks again by itself, and never waits for ever."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import Open
from tests.support.line import Line, line
from tests.support.service import KEY, Relay


@pytest_asyncio.fixture(loop_scope="session")
async def wire(relay: Relay) -> AsyncIterator[Line]:
    async with line(relay.url) as made:
        yield made


async def open_through(wire: Line, open_page: Open, where: str) -> Page:
    """Open a page through the line, with a clock that a test can turn on."""
    page = await open_page("settings")
    await page.clock.install()
    await page.goto(f"{wire.url}/console#key={KEY}")
    await page.wait_for_url("**/console#/**")
    await page.goto(f"{wire.url}/console#/{where}")
    await expect(state(page)).to_contain_text("Live")
    return page


def state(page: Page) -> Locator:
    return page.locator(".rail .state")


async def test_a_connection_without_a_heartbeat_is_not_live(wire: Line, open_page: Open) -> None:
    page = await open_through(wire, open_page, "tasks")
    wire.freeze()
    await page.clock.fast_forward(36_000)
    await expect(state(page)).to_contain_text("Reconnecting")
    wire.thaw()
    await expect(state(page)).to_contain_text("Live")


async def test_a_lost_network_is_not_live_at_once(open_page: Open) -> None:
    page = await open_page("tasks")
    await expect(state(page)).to_contain_text("Live")
    await page.context.set_offline(True)
    await expect(state(page)).to_contain_text("Reconnecting")
    await page.context.set_offline(False)
    await expect(state(page)).to_contain_text("Live")


async def test_a_request_without_an_answer_ends_and_is_repeated_later(wire: Line, open_page: Open) -> None:
    page = await open_through(wire, open_page, "tasks")
    wire.freeze()
    async with page.expect_request("**/v1/tasks?kind=text2image*"):
        await page.get_by_label("Type", exact=True).select_option("text2image")
    await page.clock.fast_forward(31_000)
    await expect(page.get_by_role("alert")).to_contain_text("did not answer within 30 s")
    wire.thaw()
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_an_order_without_an_answer_says_that_it_may_have_been_received(
    wire: Line, open_page: Open, relay: Relay
) -> None:
    page = await open_through(wire, open_page, "try?kind=text2video")
    await page.get_by_label("Prompt", exact=False).first.fill("a boat")
    await expect(page.locator(".price strong")).to_have_text("1 unit")
    wire.freeze()
    await page.get_by_role("button", name="Submit").click()
    await expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    await page.clock.fast_forward(121_000)
    await expect(page.get_by_role("alert")).to_contain_text("It may have taken effect")
    await expect(page.get_by_role("button", name="Submit")).to_be_enabled()


@pytest.mark.parametrize("where", ["tasks", "subscriptions", "overview", "try?kind=text2video"])
async def test_a_page_recovers_by_itself_when_the_service_is_back(wire: Line, open_page: Open, where: str) -> None:
    page = await open_through(wire, open_page, "settings")
    await wire.cut()
    await page.evaluate(f"location.hash = '#/{where}'")
    await expect(page.get_by_role("alert").first).to_contain_text("does not answer")
    await wire.restore()
    await expect(page.get_by_role("alert")).to_have_count(0)
    await expect(page.locator(".bones")).to_have_count(0)
    await expect(state(page)).to_contain_text("Live")
