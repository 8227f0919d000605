"""The log and the metrics of a running service, and no secret in either."""

import asyncio
import json
import shutil
from typing import Any

import aiohttp
import pytest

from tests.support.service import KEY, SIGNING, running, sandboxed, subscriber
from tests.support.waiting import eventually


def lines(captured: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in captured.splitlines() if line.startswith("{")]


async def test_one_order_leaves_one_line_for_each_thing_that_happened(
    database: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with sandboxed() as (_, provider), subscriber() as heard:
        async with running(database, provider, log_format="json", log_level="info") as relay:
            await relay.subscribe(heard.url)
            task = await relay.submit()
            await relay.final(task)
            told = len(await relay.events(task))
            await eventually(lambda: len(heard.ids()) == told)
        text = capfd.readouterr().err
    written = lines(text)
    (order,) = [line for line in written if line.get("route") == "order_videos_text2video"]
    assert (order["event"], order["level"], order["status"], order["task"]) == ("request", "info", 200, task)
    assert order["request_id"]
    assert order["key_id"]
    callbacks = [line for line in written if line["event"] == "callback"]
    assert callbacks
    assert {line["task"] for line in callbacks} == {task}
    assert {line["outcome"] for line in callbacks} <= {"moved", "stale"}
    assert len({line["request_id"] for line in callbacks}) == len(callbacks)
    assert '": "' not in text  # orjson rendered every line
    assert sum(line["delivered"] for line in written if line["event"] == "attempts") == told
    assert {line["task_status"] for line in callbacks if line["outcome"] == "moved"} >= {"succeed"}
    assert not [line for line in written if line["event"] == "task moved"]  # the line of a callback has its step
    for secret in (KEY, SIGNING, "whsec_", "/callbacks/", database):
        assert secret not in text


async def test_a_scrape_of_a_running_service_shows_what_it_did(database: str) -> None:
    port = free_port()
    async with (
        sandboxed() as (_, provider),
        subscriber() as heard,
        aiohttp.ClientSession() as session,
        running(database, provider, metrics_port=str(port)) as relay,
    ):
        await relay.subscribe(heard.url)
        task = await relay.submit()
        await relay.final(task)
        await eventually(lambda: len(heard.ids()) >= 2)

        async def scraped() -> dict[str, float]:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                assert answer.status == 200
                return numbers(await answer.text())

        async def all_there() -> dict[str, float] | None:
            found = await scraped()
            return found if "relay_slots_used" in found else None

        found = await eventually(all_there)
        assert found is not None
        assert found['relay_requests_total{route="order_videos_text2video",status="200"}'] == 1
        assert found['relay_submits_total{code="0",outcome="accepted"}'] == 1
        assert found['relay_steps_total{status="succeed"}'] == 1
        assert found['relay_callbacks_total{outcome="recorded"}'] >= 1
        assert found['relay_attempts_total{outcome="delivered",response="2xx"}'] >= 2
        assert found['relay_batch_items_count{batch="ingest"}'] >= 1
        assert found["relay_silent_tasks"] == 0
        assert found["relay_partitions_ahead_seconds"] > 6 * 86_400
        assert found['relay_oldest_due_seconds{subscriptions="healthy"}'] < 60
        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            await judged(await answer.read())
        for name in ("readyz", "livez"):
            async with session.get(f"http://127.0.0.1:{port}/{name}") as answer:
                assert answer.status == 200


async def judged(exposition: bytes) -> None:
    """Check a scrape with Prometheus' own linter, if it is installed."""
    if promtool := shutil.which("promtool"):
        asked = await asyncio.create_subprocess_exec(
            promtool, "check", "metrics", stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        _, said = await asked.communicate(exposition)
        assert (asked.returncode, said) == (0, b"")


def numbers(text: str) -> dict[str, float]:
    return {
        name: float(number)
        for name, _, number in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    }


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
