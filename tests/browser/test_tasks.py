"""Tasks: the list, live and filtered, and the page of a task."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from playwright.async_api import expect

from kling_relay.core.task import Signal, SignalKind
from kling_relay.flows.ingest import Observation
from tests.browser.conftest import Open
from tests.support.browsing import Complaints
from tests.support.service import Relay, subscriber


async def test_an_empty_list_shows_how_to_create_a_task(open_page: Open) -> None:
    page = await open_page("tasks")
    await expect(page.get_by_role("heading", name="No tasks yet")).to_be_visible()
    await expect(page.get_by_role("link", name="Create a task")).to_be_visible()
    await expect(page.locator(".code pre")).to_contain_text("/kling/v1/videos/text2video")


async def test_a_task_ordered_elsewhere_appears_and_ends_live(
    open_page: Open, relay: Relay, complaints: Complaints
) -> None:
    page = await open_page("tasks")
    await expect(page.get_by_role("status").get_by_text("Live")).to_be_visible()
    await relay.submit("a paper boat")
    row = page.locator("a.task").filter(has_text="a paper boat")
    await expect(row).to_be_visible()
    await expect(row).to_contain_text("Succeeded")
    await expect(row.locator("video")).to_be_visible()
    assert complaints.errors == []


async def test_the_list_is_filtered_by_status_type_and_text_and_the_filters_are_in_the_address(
    open_page: Open, relay: Relay
) -> None:
    video = await relay.submit("a paper boat")
    picture = await relay.submit("a red kite", operation="images/generations")
    failed = await relay.submit("a grey day [fail:too grey]")
    for task in (video, picture, failed):
        await relay.final(task)
    page = await open_page("tasks")
    rows = page.locator("a.task")
    await expect(rows).to_have_count(3)
    await page.get_by_label("Status", exact=True).select_option("failed")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("too grey")
    await page.get_by_label("Status", exact=True).select_option("")
    await page.get_by_label("Type", exact=True).select_option("text2image")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("a red kite")
    await page.get_by_label("Type", exact=True).select_option("")
    await page.get_by_role("searchbox").fill("paper")
    await expect(rows).to_have_count(1)
    assert "text=paper" in page.url
    await page.reload()
    await expect(rows).to_have_count(1)
    await page.get_by_role("searchbox").fill("no such thing")
    await expect(page.get_by_role("heading", name="No matching tasks")).to_be_visible()
    await page.get_by_role("button", name="Clear filters").click()
    await expect(rows).to_have_count(3)


async def test_a_task_shows_its_timeline_raw_callbacks_attempts_and_price(
    open_page: Open, relay: Relay, complaints: Complaints
) -> None:
    async with subscriber(answers=[503]) as receiver:
        await relay.subscribe(receiver.url, events=["task.succeed"])
        task = await relay.submit("a paper boat", mode="pro")
        await relay.final(task)
        page = await open_page(f"tasks/{task}")
        await expect(page.get_by_role("heading", name="a paper boat")).to_be_visible()
        await expect(page.locator(".facts").first).to_contain_text("3.5")
        await expect(page.get_by_text("The provider deletes these files on")).to_be_visible()
        for text in ("Task created", "Submitted to the provider", "Processing", "Done"):
            await expect(page.locator(".timeline")).to_contain_text(text)
        await page.locator("summary").filter(has_text="Raw body").last.click()
        await expect(page.locator(".timeline pre").last).to_contain_text('"task_status": "succeed"')
        delivery = page.locator(".delivery-line")
        await expect(delivery).to_contain_text("2 attempts")
        await delivery.click()
        attempts = page.get_by_role("list", name="Attempts").locator("li")
        await expect(attempts).to_have_count(2)
        await expect(attempts.first).to_contain_text("503")
        await expect(attempts.last).to_contain_text("200")
    assert complaints.errors == []


async def test_a_task_without_its_result_says_so_until_the_result_is_there(
    open_page: Open, relay: Relay, complaints: Complaints
) -> None:
    task = await relay.submit("a paper boat [forever][lose]")

    async def move(signal: Signal) -> None:
        await relay.parts.ingest.apply(
            Observation(task=UUID(task), signal=signal, source="query", at=datetime.now(UTC))
        )

    await move(Signal(kind=SignalKind.RESULT_MISSING))
    page = await open_page(f"tasks/{task}")
    notice = page.get_by_text("The provider reports success but has named no file")
    await expect(notice).to_be_visible()
    await move(Signal(kind=SignalKind.SUCCEED, result={"videos": []}))
    await expect(notice).to_have_count(0)
    assert complaints.errors == []


async def test_another_clients_task_is_not_found(open_page: Open) -> None:
    page = await open_page("tasks/01a20456-f6b4-7000-af89-f2b2835ecf47")
    await expect(page.get_by_role("alert")).to_contain_text("belongs to another client")


async def test_a_task_shows_members_with_the_names_of_object_prototype(
    open_page: Open, relay: Relay, complaints: Complaints
) -> None:
    names = ("__proto__", "constructor", "toString", "hasOwnProperty", "valueOf")
    members: dict[str, Any] = {name: {"of": f"value-{name}"} for name in names}
    task = await relay.submit("a boat", **members)
    page = await open_page(f"tasks/{task}")
    order = page.get_by_role("region", name="Order")
    for name in names:
        await expect(order.get_by_text(name, exact=True).first).to_be_visible()
        await expect(order).to_contain_text(f"value-{name}")
    await page.get_by_role("button", name="中文").first.click()
    await expect(page.get_by_role("region", name="订单")).to_contain_text("value-constructor")
    assert complaints.errors == []


async def test_unknown_fields_of_an_order_are_shown(open_page: Open, relay: Relay, complaints: Complaints) -> None:
    task = await relay.submit("a kite", duraton="10", mod="pro")
    page = await open_page(f"tasks/{task}")
    await expect(page.get_by_text("Unknown fields, passed on unread: duraton, mod")).to_be_visible()
    assert complaints.errors == []
