"""Subscriptions: made, tested, paused, replayed, rotated, changed and deleted; attempts looked into and made again."""

from playwright.async_api import Page, expect

from tests.browser.conftest import Open
from tests.support.browsing import Complaints
from tests.support.service import Relay, subscriber
from tests.support.waiting import eventually


async def act(page: Page, name: str) -> None:
    await page.locator(".acts-line").get_by_role("button", name=name).click()


async def test_a_subscription_is_made_and_its_secret_shown_once(
    open_page: Open, relay: Relay, complaints: Complaints
) -> None:
    async with subscriber() as hearer:
        page = await open_page("subscriptions")
        await expect(page.get_by_role("heading", name="No subscriptions yet")).to_be_visible()
        await page.get_by_role("button", name="New subscription").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("URL").fill(hearer.url)
        await dialog.get_by_label("Description").fill("Shop")
        await dialog.get_by_role("button", name="Create").click()
        secret = await page.get_by_role("dialog").locator("pre").first.inner_text()
        assert secret.startswith("whsec_")
        await page.get_by_role("button", name="I have saved it").click()
        await page.locator(".sub a").click()
        await act(page, "Test")
        await expect(page.locator(".delivery-line")).to_contain_text("subscription.test")
        await expect(page.locator(".delivery-line")).to_contain_text("Delivered")
        assert hearer.heard[0].verified(secret)["type"] == "subscription.test"
        assert secret not in await page.content()
    assert complaints.heard == []


async def test_a_fault_of_a_new_subscription_is_shown_at_its_field(open_page: Open) -> None:
    page = await open_page("subscriptions")
    await page.get_by_role("button", name="New subscription").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Create").click()
    await expect(dialog.get_by_role("alert").first).to_have_text("The URL must start with http:// or https://.")
    await dialog.get_by_label("URL").fill("http://10.1.2.3/hook")
    await dialog.get_by_role("button", name="Create").click()
    await expect(dialog.locator(".fault").first).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)


async def test_pausing_gathers_resuming_delivers_and_replaying_delivers_again(open_page: Open, relay: Relay) -> None:
    async with subscriber() as hearer:
        made = await relay.subscribe(hearer.url, events=["task.succeed"])
        page = await open_page(f"subscriptions/{made['id']}")
        await act(page, "Pause")
        await expect(page.locator(".head .pill")).to_have_text("Paused")
        await relay.final(await relay.submit())
        await expect(page.locator(".delivery-line")).to_contain_text("Pending")
        assert hearer.heard == []
        await act(page, "Resume")
        await eventually(lambda: len(hearer.heard) == 1)
        await act(page, "Replay")
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("radio", name="All events").check()
        await dialog.get_by_role("button", name="Replay").click()
        await eventually(lambda: len(hearer.heard) == 2)
        assert len(hearer.ids()) == 1


async def test_a_failed_delivery_says_why_and_is_made_again_by_hand(open_page: Open, relay: Relay) -> None:
    async with subscriber(answers=[500] * 6) as hearer:
        made = await relay.subscribe(hearer.url, events=["task.succeed"])
        await relay.final(await relay.submit())
        page = await open_page(f"subscriptions/{made['id']}?status=exhausted")
        delivery = page.locator(".delivery-line")
        await eventually(lambda: len(hearer.heard) == 6)
        await page.reload()
        await expect(delivery).to_contain_text("500")
        await delivery.click()
        await page.get_by_text("Request body").click()
        await expect(page.locator(".delivery pre").last).to_contain_text('"type": "task.succeed"')
        await page.get_by_role("button", name="Retry now").click()
        await eventually(lambda: len(hearer.heard) == 7)


async def test_a_secret_is_rotated_and_a_subscription_changed_and_deleted(open_page: Open, relay: Relay) -> None:
    made = await relay.subscribe("https://example.com/hook")
    page = await open_page(f"subscriptions/{made['id']}")
    await act(page, "New secret")
    await page.get_by_role("dialog").get_by_role("button", name="Create secret").click()
    await expect(page.get_by_role("dialog").locator("pre").first).to_contain_text("whsec_")
    await page.get_by_role("button", name="I have saved it").click()
    await act(page, "Edit")
    await page.get_by_role("dialog").get_by_label("Description").fill("Renamed")
    await page.get_by_role("dialog").get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="Renamed")).to_be_visible()
    await act(page, "Delete")
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("heading", name="No subscriptions yet")).to_be_visible()
