"""A browser, and the whole service with its sandbox."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from kling_relay.sandbox import Profile
from tests.support import browsing
from tests.support.browsing import Complaints, chromium
from tests.support.service import KEY, Relay, running, sandboxed

Open = Callable[..., Awaitable[Page]]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if browsing.CHROMIUM is None:
        pytest.skip(browsing.MISSING)
    async with chromium() as started:
        yield started


@pytest.fixture
async def relay(browser: Browser, database: str) -> AsyncIterator[Relay]:
    """The service with a sandbox whose tasks take a moment, so that a page shows them live."""
    async with (
        sandboxed(Profile(seconds=(0.4, 0.6))) as (_, provider),
        running(database, provider, provider_slots="20") as started,
    ):
        yield started


@pytest.fixture
async def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
async def open_page(browser: Browser, relay: Relay, complaints: Complaints) -> Open:
    """Return a function that opens a page of the console, signed in, in a fresh browser context."""

    async def opened(where: str, *, width: int = 1440, theme: Any = "light", key: str = KEY) -> Page:
        context = await browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, locale="en-GB"
        )
        await context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = await context.new_page()
        page.set_default_timeout(15_000)
        complaints.listen(page)
        await page.goto(f"{relay.url}/console#key={key}")
        await page.wait_for_url("**/console#/**")
        await page.goto(f"{relay.url}/console#/{where}")
        return page

    return opened
