"""Debian's Chromium by way of Playwright, with everything switched off that would call home or need a screen."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

CHROMIUM = shutil.which("chromium")
MISSING = "there is no Chromium on this machine; `apt-get install chromium` brings the one that the browser tests use"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Complaints:
    """What a page complained of: errors on its console, exceptions, and breaches of its Content-Security-Policy."""

    heard: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.heard.append(str(error)))
        page.on("console", self._console)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.heard.append(message.text)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start a headless Chromium and end it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        try:
            yield browser
        finally:
            await browser.close()
