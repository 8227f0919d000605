"""The API reference: its examples are accepted as they stand on the page, in every language, and run from there."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
from playwright.async_api import Locator, Page, expect

from kling_relay.core import callback_token
from tests.browser.conftest import Open
from tests.support.api_document import BOOK
from tests.support.browsing import Complaints
from tests.support.service import KEY, Relay

SHORT_KEY = f"{KEY[:4]}…"
HOOK = "http://127.0.0.1:65535/hook"
OPERATIONS = ("order_videos_text2video", "change_subscription", "list_tasks", "delete_subscription")
"""A POST, a PATCH, a GET and a DELETE."""


async def reference(open_page: Open, relay: Relay) -> Page:
    page = await open_page("tasks")
    await page.goto(f"{relay.url}/docs")
    await expect(page.get_by_role("heading", name="API reference")).to_be_visible()
    return page


async def example_of(section: Locator, relay: Relay) -> str:
    """Return the code of an operation's example, with the whole key, and existing things in its path."""
    code = (await section.locator(".code pre").first.inner_text()).replace(SHORT_KEY, KEY)
    task = await relay.submit(
        operation=_operation_of(str(await section.get_attribute("id"))), image="https://example.com/a.png"
    )
    subscription = (await relay.subscribe(HOOK))["id"]
    _, tested = await relay.call("POST", f"/v1/subscriptions/{subscription}/test", json={})
    values = {
        "TASK": task,
        "SUBSCRIPTION": subscription,
        "DELIVERY": tested["delivery"],
        "TOKEN": callback_token.make(relay.parts.context.callback_keys, UUID(task)),
    }
    return re.sub(rf"(?<=/)({'|'.join(values)})\b", lambda match: str(values[match[1]]), code)


def _operation_of(route: str) -> str:
    """Return the operation whose tasks a route shows; any for other routes."""
    return next((path for path in BOOK.operations if route.endswith(path.replace("/", "_"))), "videos/text2video")


@asynccontextmanager
async def program(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program; it is ended with the block."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def output_of(*command: str) -> str:
    """Return what a program printed; it must succeed."""
    async with asyncio.timeout(120), program(*command) as process:
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
async def test_every_curl_command_of_the_reference_is_accepted(open_page: Open, relay: Relay) -> None:
    page = await reference(open_page, relay)
    sections = await page.locator("section.operation:not(#event)").all()
    _, document = await relay.call("GET", "/openapi.json")
    assert len(sections) == sum(len(methods) for methods in document["paths"].values())
    refused = {}
    for section in sections:
        command = (await example_of(section, relay)).removeprefix("curl ")
        if command.startswith("-N "):  # a stream does not end
            command = f"-m 1 {command}"
        printed = await output_of("sh", "-c", f"curl -sS -w '\n%{{http_code}}' {command} || true")
        if not re.search(r"\n2\d\d", printed):
            refused[await section.get_attribute("id")] = printed
    assert refused == {}


@pytest.mark.parametrize(
    ("language", "tool"),
    [("Python", sys.executable), ("JavaScript", "node"), pytest.param("Go", "go", marks=pytest.mark.long)],
)
async def test_an_example_runs_as_a_program(
    open_page: Open, relay: Relay, tmp_path: Path, language: str, tool: str
) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not on this machine")
    page = await reference(open_page, relay)
    await page.get_by_role("tab", name=language, exact=True).first.click()
    for operation in OPERATIONS:
        code = await example_of(page.locator(f"#{operation}"), relay)
        file = (
            tmp_path
            / {"Python": f"{operation}.py", "JavaScript": f"{operation}.mjs", "Go": f"{operation}.go"}[language]
        )
        file.write_text(code, "utf-8")
        printed = await output_of(tool, *(["run"] if tool == "go" else []), str(file))
        assert ("task_id" in printed) == (operation in {"order_videos_text2video", "list_tasks"})


async def test_an_order_is_run_from_the_reference_with_the_key_of_the_console(
    open_page: Open, relay: Relay, complaints: Complaints
) -> None:
    page = await reference(open_page, relay)
    section = page.locator("#order_videos_text2video")
    await section.get_by_text("Change the body").click()
    body = section.get_by_label("Body")
    await body.fill((await body.input_value()).replace("A spaceship crosses the night sky", "a boat"))
    await expect(section.locator(".code pre").first).to_contain_text('"prompt": "a boat"')
    await section.get_by_role("button", name="Run").click()
    await expect(section.locator(".answer .pill")).to_have_text("200", timeout=15_000)
    _, tasks = await relay.call("GET", "/v1/tasks")
    (task,) = tasks["data"]
    await expect(section.get_by_label("Response")).to_contain_text(task["task_id"])
    assert (await relay.task(task["task_id"]))["fields"]["prompt"] == "a boat"
    lookup = page.locator("#show_task")
    await lookup.get_by_label("task", exact=True).fill(task["task_id"])
    await lookup.get_by_role("button", name="Run").click()
    await expect(lookup.get_by_label("Response")).to_contain_text('"prompt": "a boat"')
    assert KEY not in await page.content()
    assert complaints.errors == []


async def test_a_refusal_is_shown_in_the_reference(open_page: Open, relay: Relay) -> None:
    page = await reference(open_page, relay)
    section = page.locator("#show_task")
    await section.get_by_label("task", exact=True).fill("nobody-s")
    await section.get_by_role("button", name="Run").click()
    await expect(section.locator(".answer .pill")).to_have_text("404", timeout=15_000)
    await expect(section.get_by_label("Response")).to_contain_text("does not exist")


async def test_without_a_key_the_reference_says_where_to_enter_one(open_page: Open, relay: Relay) -> None:
    page = await open_page("settings")
    await page.get_by_role("button", name="Remove key").click()
    await expect(page.get_by_text("Welcome. Enter an API key to start.")).to_be_visible()
    await page.goto(f"{relay.url}/docs")
    section = page.locator("#order_videos_text2video")
    await expect(section.locator(".code pre").first).to_contain_text("Bearer YOUR-KEY")
    await expect(section.get_by_role("link", name="in the console")).to_be_visible()
    await expect(section.get_by_role("button", name="Run")).to_have_count(0)
    await page.locator("#livez").get_by_role("button", name="Run").click()
    await expect(page.locator("#livez .answer .pill")).to_have_text("200", timeout=15_000)


async def test_the_reference_shows_the_members_of_an_order_and_of_an_event(open_page: Open, relay: Relay) -> None:
    page = await reference(open_page, relay)
    members = page.locator("#order_videos_text2video .about > .members > li")
    prompt = members.filter(has_text="prompt").first
    await expect(prompt).to_contain_text("string")
    await expect(members.filter(has_text="duration").first).to_contain_text("default")
    await expect(page.locator("#event")).to_contain_text("webhook-signature")
    await expect(page.locator("#event .examples")).to_contain_text('"task_status"')
