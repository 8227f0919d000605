"""Overview: the figures and charts of the last hour and day, and the charges of thirty days."""

from playwright.async_api import expect

from tests.browser.conftest import Open
from tests.support.browsing import Complaints
from tests.support.service import Relay, subscriber


async def test_an_empty_period_shows_no_charts(open_page: Open) -> None:
    page = await open_page("overview")
    await expect(page.get_by_role("heading", name="No activity in this period")).to_be_visible()


async def test_the_overview_shows_rates_latencies_slots_and_errors(
    open_page: Open, relay: Relay, complaints: Complaints
) -> None:
    async with subscriber(answers=[503]) as receiver:
        await relay.subscribe(receiver.url, events=["task.failed"])
        for prompt in ("a boat", "a kite", "a grey day [fail:too grey]"):
            await relay.final(await relay.submit(prompt))
        page = await open_page("overview")
        figures = page.locator(".figures")
        await expect(figures.locator("dd").first).to_have_text("3")
        await expect(figures).to_contain_text("66.7%")
        await expect(figures).to_contain_text("0 / 20")
        await expect(page.locator(".chart svg rect.good").first).to_be_attached()
        await expect(page.locator(".chart")).to_have_count(7)
        await expect(page.locator(".ranking").first).to_contain_text("too grey")
        await expect(page.locator(".ranking").nth(1)).to_contain_text("503")
        await page.get_by_role("tab", name="Day").click()
        await expect(page.get_by_role("heading", name="Tasks created per 30 minutes")).to_be_visible()
    assert complaints.errors == []


async def test_usage_is_shown_by_day_by_order_type_and_against_budgets(
    open_page: Open, relay: Relay, database: str, complaints: Complaints
) -> None:
    for mode in ("std", "pro"):
        await relay.final(await relay.submit(mode=mode))
    await relay.final(await relay.submit(operation="images/generations", n=3))
    page = await open_page("overview")
    usage = page.get_by_role("region", name="Usage")
    await expect(usage).to_contain_text("7.5 units charged · 3 tasks")
    await expect(usage.locator(".chart svg rect.fill")).to_have_count(2)
    await expect(usage.locator(".chart tbody tr")).to_have_count(1)
    rows = usage.locator(".ranking li")
    await expect(rows.nth(0)).to_contain_text("Text to video kling-v1 · pro · 1 task")
    await expect(rows.nth(0).locator("strong")).to_have_text("3.5")
    await expect(rows).to_have_count(3)
    await relay.parts.database.pool.execute("UPDATE clients SET limit_month = 8")
    await page.reload()
    await expect(usage.locator(".ranking").last).to_contain_text("this month all your keys7.5 / 8")
    assert complaints.errors == []


async def test_amounts_are_added_exactly(open_page: Open) -> None:
    page = await open_page("overview")
    add = "async (texts) => (await import('/console/lib/format.js')).total(texts)"
    assert await page.evaluate(add, ["0.1", "0.2"]) == "0.3"
    assert await page.evaluate(add, ["9007199254740993", "0.000001", "-1"]) == "9007199254740992.000001"
    assert await page.evaluate(add, ["1", "-3.5"]) == "-2.5"
    assert await page.evaluate(add, []) == "0"
