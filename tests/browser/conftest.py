"""A browser for all tests of a process, because its start takes longer than most of them, and a service for each.

They share an event loop, which the connection to the browser belongs to. Each test has browser contexts of its own, as
separate as two browsers, which are closed at its end.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from kling_relay.sandbox import Profile
from tests.support import browsing
from tests.support.browsing import Complaints, chromium
from tests.support.service import KEY, Relay, running, sandboxed

HERE = Path(__file__).parent
Open = Callable[..., Awaitable[Page]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all browser tests in the event loop of the browser."""
    for item in items:
        if item.path.parent == HERE and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_browser() -> AsyncIterator[Browser]:
    if browsing.CHROMIUM is None:
        pytest.skip(browsing.MISSING)
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def browser(shared_browser: Browser) -> AsyncIterator[Browser]:
    """The browser; what a test opens in it is closed at the end."""
    yield shared_browser
    for context in shared_browser.contexts:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def relay(browser: Browser, database: str) -> AsyncIterator[Relay]:
    """The service with a sandbox whose tasks take a moment, so that a page shows them live.

    A callback that a busy machine refuses is replaced by a poll within seconds.
    """
    async with (
        sandboxed(Profile(seconds=(0.4, 0.6))) as (_, provider),
        running(database, provider, provider_slots="20", sweep_after="3s") as started,
    ):
        yield started


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest_asyncio.fixture(loop_scope="session")
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
