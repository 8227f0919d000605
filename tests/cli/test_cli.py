"""The command line against a running service: what is printed, where, and with which exit code."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kling_relay.cli.program import program
from tests.support.paths import ROOT
from tests.support.service import KEY, Subscriber, running, sandboxed, subscriber
from tests.support.service import Relay as Service
from tests.support.waiting import eventually

NO_SETTINGS = {f"RELAY_{name}": None for name in ("URL", "KEY", "HOST", "PORT", "DATA_DIR")}


def command(*words: str, **environment: str | None) -> Result:
    """Run a command as a process without our settings would."""
    return CliRunner().invoke(program, words, env={**NO_SETTINGS, **environment})


@dataclass(frozen=True, slots=True)
class Terminal:
    """Commands for a running service. Each runs in a thread, because it runs an event loop."""

    service: Service

    async def run(self, *words: str, code: int = 0) -> Result:
        environment = {"RELAY_URL": self.service.url, "RELAY_KEY": KEY}
        result = await asyncio.to_thread(command, *words, **environment)
        assert result.exit_code == code, result.output
        return result

    async def json(self, *words: str, code: int = 0) -> Any:
        return json.loads((await self.run(*words, "--json", code=code)).stdout)


@pytest.fixture
async def terminal(database: str) -> AsyncIterator[Terminal]:
    async with sandboxed() as (_, provider), running(database, provider) as service:
        yield Terminal(service)


@pytest.fixture
async def hook() -> AsyncIterator[Subscriber]:
    async with subscriber() as subscribed:
        yield subscribed


def head(path: str) -> bytes:
    return Path(path).read_bytes()[:4]


async def test_submit_orders_a_task_waits_and_downloads_its_results(terminal: Terminal, tmp_path: Path) -> None:
    quick = await terminal.run("submit", "text2image", "a rabbit", "--n", "2", "--download", str(tmp_path))
    task, *saved = quick.stdout.splitlines()
    assert re.fullmatch(r"[0-9a-f-]{36} succeed", task)
    assert [head(line) for line in saved] == [b"\x89PNG", b"\x89PNG"]
    options = ("--mode", "pro", "--set", 'cfg_scale="0.5"', "--external-task-id", "mine")
    task_json = await terminal.json("submit", "image2video", "--image", saved[0], *options, "--wait")
    assert (task_json["kind"], task_json["external_task_id"], task_json["task_status"]) == (
        "image2video",
        "mine",
        "succeed",
    )
    assert task_json["fields"]["mode"] == "pro"
    assert task_json["fields"]["image"].startswith("Base64 image, png")
    failed = await terminal.run("submit", "text2video", "[fail:no luck] a rabbit", "--wait", code=1)
    assert "no luck" in failed.stdout
    listed = await terminal.json("tasks", "--status", "failed", "--since", "1h")
    assert [task["kind"] for task in listed] == ["text2video"]
    assert listed[0]["task_id"] in (await terminal.run("tasks")).stdout
    watched = await terminal.run("watch", listed[0]["task_id"], code=1)
    assert [line.split()[2] for line in watched.stdout.splitlines()][-1] == "failed"
    late = await terminal.run("submit", "text2video", "[forever] a rabbit", "--within", "0.2s", code=4)
    assert "What to do: Wait longer" in late.stderr


async def test_submit_quotes_a_price_and_usage_draws_bars(terminal: Terminal) -> None:
    camera = ("--camera-move", "zoom=-3")
    assert (await terminal.json("submit", "text2video", "a", *camera, "--quote"))["amount"] == "1"
    await terminal.run("submit", "text2video", "a rabbit", *camera, "--wait")
    drawn = (await terminal.run("usage", "--by", "kind", "--since", "1d")).stdout
    assert "text2video" in drawn
    assert "█" in drawn
    assert "kling-v1" in (await terminal.run("prices")).stdout


async def test_commands_manage_a_subscription_and_its_deliveries(terminal: Terminal, hook: Subscriber) -> None:
    hook.answers = [500]
    created = await terminal.json(
        "subscriptions", "create", hook.url, "--event", "task.succeed", "--header", "X-Who=me"
    )
    assert created["secret"].startswith("whsec_")
    assert created["id"] in (await terminal.run("subscriptions")).stdout
    changed = await terminal.json("subscriptions", "change", created["id"], "--event", "*", "--ordering", "task")
    assert (changed["events"], changed["headers"]) == (["*"], {"X-Who": "me"})
    delivery = (await terminal.run("subscriptions", "test", created["id"])).stdout.strip()
    await eventually(lambda: len(hook.heard) == 2, 15)

    async def delivered() -> str | None:
        text = (await terminal.run("deliveries", "show", delivery, "--answers")).stdout
        return text if "delivered" in text else None

    text = await eventually(delivered)
    assert text is not None
    assert re.search(r"1 .* 500", text)
    assert [row["id"] for row in await terminal.json("deliveries", "--status", "delivered")] == [delivery]
    await terminal.run("deliveries", "retry", "--status", "delivered")
    await eventually(lambda: len(hook.heard) == 3, 15)
    assert len({heard.id for heard in hook.heard}) == 1
    for verb, status in (("pause", "paused"), ("resume", "active")):
        assert (await terminal.json("subscriptions", verb, created["id"]))["status"] == status
    assert (await terminal.run("subscriptions", "rotate", created["id"])).stdout.startswith("whsec_")
    assert (
        "deliveries scheduled" in (await terminal.run("subscriptions", "replay", created["id"], "--since", "1h")).stdout
    )
    await terminal.run("subscriptions", "delete", created["id"])
    assert "create ADDRESS" in (await terminal.run("subscriptions", "list")).stderr


async def test_a_refusal_prints_advice_and_no_traceback(terminal: Terminal) -> None:
    wrong = await terminal.run("submit", "text2video", "--mode", "fast", code=1)
    assert "prompt is required" in wrong.stderr
    assert "What to do:" in wrong.stderr
    nothing = "01a20459-e1cd-7000-bb91-054c5629cf90"
    missing = json.loads((await terminal.run("watch", nothing, "--json", code=1)).stderr)
    assert (missing["status"], missing["code"]) == (404, 1203)
    faulty = await terminal.run("subscriptions", "create", "http://10.0.0.1/", code=1)
    assert "url: must" in faulty.stderr
    stranger = await terminal.run("tasks", "--key", "wrong", code=1)
    assert "kling-relay keys create" in stranger.stderr
    usage = await terminal.run("submit", "text2video", "a", "--image", "no-such-file.png", code=2)
    assert "neither a file nor a URL" in usage.stderr
    assert "Traceback" not in wrong.output + faulty.output + stranger.output + usage.output


async def test_the_event_log_is_printed_and_forwarded_to_a_local_program(terminal: Terminal, hook: Subscriber) -> None:
    await terminal.run("submit", "text2image", "a rabbit", "--wait")
    lines = (await terminal.run("events", "--json")).stdout.splitlines()
    logged = [json.loads(line) for line in lines]
    assert [event["type"] for event in logged][-1] == "task.succeed"
    assert "succeed" in (await terminal.run("events", "--type", "task.succeed")).stdout
    words = ("listen", "--forward-to", hook.url, "--after", "0", "--json", "--url", terminal.service.url, "--key", KEY)
    listener = await asyncio.create_subprocess_exec(
        *(".venv/bin/python", "-m", "kling_relay", *words),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert listener.stdout is not None
        secret = (await asyncio.wait_for(listener.stdout.readline(), 20)).decode().strip()
        await eventually(lambda: len(hook.heard) == len(logged))
        assert [heard.id for heard in hook.heard] == [event["id"] for event in logged]
        assert [heard.verified(secret)["data"] for heard in hook.heard] == [event["data"] for event in logged]
        assert json.loads(await asyncio.wait_for(listener.stdout.readline(), 10))["outcome"] == "200"
    finally:
        listener.terminate()
        await listener.communicate()
