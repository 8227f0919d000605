"""Subscriptions: create, test, pause, replay, rotate, edit and delete them; inspect and retry deliveries."""

from playwright.async_api import Page, expect

from tests.browser.conftest import Open
from tests.support.browsing import Complaints
from tests.support.service import Relay, subscriber
from tests.support.waiting import eventually


async def press(page: Page, name: str) -> None:
    await page.locator(".acts-line").get_by_role("button", name=name).click()


async def test_a_new_subscription_shows_its_secret_once(open_page: Open, relay: Relay, complaints: Complaints) -> None:
    async with subscriber() as receiver:
        page = await open_page("subscriptions")
        await expect(page.get_by_role("heading", name="No subscriptions yet")).to_be_visible()
        await page.get_by_role("button", name="New subscription").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("URL").fill(receiver.url)
        await dialog.get_by_label("Description").fill("Shop")
        await dialog.get_by_role("button", name="Create").click()
        secret = await page.get_by_role("dialog").locator("pre").first.inner_text()
        assert secret.startswith("whsec_")
        await page.get_by_role("button", name="I have saved it").click()
        await page.locator(".sub a").click()
        await press(page, "Test")
        await expect(page.locator(".delivery-line")).to_contain_text("subscription.test")
        await expect(page.locator(".delivery-line")).to_contain_text("Delivered")
        assert receiver.heard[0].verified(secret)["type"] == "subscription.test"
        assert secret not in await page.content()
    assert complaints.errors == []


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


async def test_pausing_queues_resuming_delivers_and_replaying_delivers_again(open_page: Open, relay: Relay) -> None:
    async with subscriber() as receiver:
        subscription = await relay.subscribe(receiver.url, events=["task.succeed"])
        page = await open_page(f"subscriptions/{subscription['id']}")
        await press(page, "Pause")
        await expect(page.locator(".head .pill")).to_have_text("Paused")
        await relay.final(await relay.submit())
        await expect(page.locator(".delivery-line")).to_contain_text("Pending")
        assert receiver.heard == []
        await press(page, "Resume")
        await eventually(lambda: len(receiver.heard) == 1)
        await press(page, "Replay")
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("radio", name="All events").check()
        await dialog.get_by_role("button", name="Replay").click()
        await eventually(lambda: len(receiver.heard) == 2)
        assert len(receiver.ids()) == 1


async def test_a_failed_delivery_shows_its_error_and_can_be_retried(open_page: Open, relay: Relay) -> None:
    async with subscriber(answers=[500] * 6) as receiver:
        subscription = await relay.subscribe(receiver.url, events=["task.succeed"])
        await relay.final(await relay.submit())
        page = await open_page(f"subscriptions/{subscription['id']}?status=exhausted")
        delivery = page.locator(".delivery-line")
        await eventually(lambda: len(receiver.heard) == 6)
        await page.reload()
        await expect(delivery).to_contain_text("500")
        await delivery.click()
        await page.get_by_text("Request body").click()
        await expect(page.locator(".delivery pre").last).to_contain_text('"type": "task.succeed"')
        await page.get_by_role("button", name="Retry now").click()
        await eventually(lambda: len(receiver.heard) == 7)


async def test_a_secret_is_rotated_and_a_subscription_changed_and_deleted(open_page: Open, relay: Relay) -> None:
    subscription = await relay.subscribe("https://example.com/hook")
    page = await open_page(f"subscriptions/{subscription['id']}")
    await press(page, "New secret")
    await page.get_by_role("dialog").get_by_role("button", name="Create secret").click()
    await expect(page.get_by_role("dialog").locator("pre").first).to_contain_text("whsec_")
    await page.get_by_role("button", name="I have saved it").click()
    await press(page, "Edit")
    await page.get_by_role("dialog").get_by_label("Description").fill("Renamed")
    await page.get_by_role("dialog").get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="Renamed")).to_be_visible()
    await press(page, "Delete")
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("heading", name="No subscriptions yet")).to_be_visible()


async def test_a_secret_stays_until_the_user_has_saved_it_or_gives_it_up(open_page: Open, relay: Relay) -> None:
    subscription = await relay.subscribe("https://example.com/hook")
    page = await open_page("tasks")
    await page.goto(f"{relay.url}/console#/subscriptions/{subscription['id']}")
    await press(page, "New secret")
    await page.get_by_role("dialog").get_by_role("button", name="Create secret").click()
    dialog = page.get_by_role("dialog", name="Signing secret")
    secret = await dialog.locator("pre").first.inner_text()
    for _ in range(3):
        await page.keyboard.press("Escape")
        await expect(dialog.get_by_role("alert")).to_contain_text("Have you saved the secret?")
    await page.mouse.click(5, 5)
    await expect(dialog).to_contain_text(secret)
    await page.go_back()
    await expect(dialog).to_contain_text(secret)
    await dialog.get_by_role("button", name="Close without saving").click()
    await expect(dialog).to_have_count(0)
