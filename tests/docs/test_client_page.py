"""docs/client.md: its programs are run exactly as printed, except for address, key and secret. Its hooks for aiohttp,
FastAPI and Flask run on their own servers and get deliveries of the running service.
"""

import asyncio
import io
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from aiohttp import web
from werkzeug.serving import make_server

from kling_relay.client import Relay
from kling_relay.sandbox.images import draw
from tests.support.paths import ROOT
from tests.support.service import KEY, running, sandboxed
from tests.support.waiting import eventually

PAGE = (ROOT / "docs" / "client.md").read_text("utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_every_program_compiles(number: int) -> None:
    compile(PROGRAMS[number], f"docs/client.md, program {number}", "exec")


async def test_programs_that_order_and_list_do_so(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw("test", "1x1", "rabbit").save(tmp_path / "rabbit.png")
    monkeypatch.chdir(tmp_path)
    async with sandboxed() as (_, provider), running(database, provider) as service:
        for program in [text for text in PROGRAMS if "http://127.0.0.1:8080" in text]:
            ready = program.replace("http://127.0.0.1:8080", service.url).replace("kr-…", KEY)
            output = io.StringIO()
            with redirect_stdout(output):
                await asyncio.to_thread(exec, ready, {"__name__": "a program"})
            assert "/sandbox/results/" in output.getvalue()


@asynccontextmanager
async def by_aiohttp(module: dict[str, Any]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/hook", module["hook"])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def by_fastapi(module: dict[str, Any]) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(module["app"], log_config=None, lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.ensure_future(server._serve([listening]))  # `serve` would take the signals over
        try:
            await eventually(lambda: server.started)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def by_flask(module: dict[str, Any]) -> AsyncIterator[str]:
    server = make_server("127.0.0.1", 0, module["app"], threaded=True)
    serving = asyncio.ensure_future(asyncio.to_thread(server.serve_forever, 0.05))
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook"
    finally:
        server.shutdown()
        await serving
        server.server_close()


Serve = Callable[[dict[str, Any]], AbstractAsyncContextManager[str]]
FRAMEWORKS: dict[str, tuple[str, Serve]] = {
    "aiohttp": ("from aiohttp import web", by_aiohttp),
    "FastAPI": ("from fastapi import", by_fastapi),
    "Flask": ("from flask import", by_flask),
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.long
async def test_a_hook_accepts_real_deliveries_and_refuses_a_forged_one(
    database: str, framework: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mark, serve = FRAMEWORKS[framework]
    (program,) = [text for text in PROGRAMS if mark in text]
    module: dict[str, Any] = {"__name__": "hook"}
    exec(program, module)
    async with (
        sandboxed() as (_, provider),
        running(database, provider) as service,
        serve(module) as url,
        Relay(service.url, KEY) as relay,
    ):
        module["SECRET"] = (await relay.subscribe(url)).secret
        task = await relay.text_to_image("a rabbit")
        await relay.wait(task.task_id, within=20)

        async def is_delivered() -> bool:
            return {delivery.status async for delivery in relay.deliveries()} == {"delivered"}

        await eventually(is_delivered)
        assert [delivery.attempt_count async for delivery in relay.deliveries()] == [1, 1, 1]
        async with service.client.post(url, json={"type": "task.succeed", "data": {"task_id": "forged"}}) as answer:
            assert answer.status == 401
    output = capsys.readouterr().out
    assert sorted(output.split()) == sorted(
        word for step in ("submitted", "processing", "succeed") for word in (f"task.{step}", task.task_id)
    )
