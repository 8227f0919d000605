"""docs/client.md: its programs are run as they stand there, only address and key changed."""

import asyncio
import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.client import Relay
from service.sandbox.pictures import draw
from tests.support.service import KEY, running, sandboxed, subscriber
from tests.support.waiting import eventually

PAGE = (Path(__file__).parents[1] / "docs" / "client.md").read_text("utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_every_program_is_python(number: int) -> None:
    compile(PROGRAMS[number], f"docs/client.md, program {number}", "exec")


async def test_programs_that_order_and_list_do_so(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw("test", "1x1", "rabbit").save(tmp_path / "rabbit.png")
    monkeypatch.chdir(tmp_path)
    async with sandboxed() as (_, provider), running(database, provider) as service:
        for program in [one for one in PROGRAMS if "http://127.0.0.1:8080" in one]:
            ready = program.replace("http://127.0.0.1:8080", service.url).replace("kr-…", KEY)
            said = io.StringIO()
            with redirect_stdout(said):
                await asyncio.to_thread(exec, ready, {"__name__": "a program"})
            assert "/sandbox/results/" in said.getvalue()


async def test_the_hook_of_aiohttp_believes_only_what_is_signed(database: str) -> None:
    (program,) = [one for one in PROGRAMS if "from aiohttp import web" in one]
    async with (
        sandboxed() as (_, provider),
        subscriber() as other,
        running(database, provider) as service,
        Relay(service.url, KEY) as relay,
    ):
        made = await relay.subscribe(other.url)
        task = await relay.text_to_image("a rabbit")
        await eventually(lambda: other.heard)
    found: dict[str, Any] = {}
    exec(program.replace("whsec_…", made.secret or ""), found)

    async def answer(body: bytes) -> int:
        request = make_mocked_request("POST", "/hook", headers=other.heard[0].headers)
        request._read_bytes = body
        response: web.Response = await found["hook"](request)
        return response.status

    said = io.StringIO()
    with redirect_stdout(said):
        assert await answer(other.heard[0].raw) == 204
        assert await answer(other.heard[0].raw + b" ") == 401
    assert said.getvalue().split() == ["task.submitted", task.task_id]
