"""Overview: the figures and charts of the last hour and day."""

from playwright.async_api import expect

from tests.browser.conftest import Open
from tests.support.browsing import Complaints
from tests.support.service import Relay, subscriber


async def test_nothing_yet_is_said_rather_than_drawn(open_page: Open) -> None:
    page = await open_page("overview")
    await expect(page.get_by_role("heading", name="Nothing happened in this time")).to_be_visible()


async def test_rates_latencies_slots_and_errors_are_drawn(
    open_page: Open, relay: Relay, complaints: Complaints
) -> None:
    async with subscriber(answers=[503]) as hearer:
        await relay.subscribe(hearer.url, events=["task.failed"])
        for prompt in ("a boat", "a kite", "a grey day [fail:too grey]"):
            await relay.final(await relay.submit(prompt))
        page = await open_page("overview")
        figures = page.locator(".figures")
        await expect(figures.locator("dd").first).to_have_text("3")
        await expect(figures).to_contain_text("66.7%")
        await expect(figures).to_contain_text("0 / 20")
        await expect(page.locator(".chart svg rect.good").first).to_be_attached()
        await expect(page.locator(".chart")).to_have_count(6)
        await expect(page.locator(".ranking").first).to_contain_text("too grey")
        await expect(page.locator(".ranking").last).to_contain_text("503")
        await page.get_by_role("tab", name="Day").click()
        await expect(page.get_by_role("heading", name="Tasks ordered, half an hour")).to_be_visible()
    assert complaints.heard == []
