"""Every block in a document is run, or listed here with the reason why not; a new block that is neither fails.

bash runs shell blocks against a running service. JSON has exactly the fields of a live answer. Python is run.
"""

import ast
import asyncio
import inspect
import io
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import redirect_stdout
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kling_relay.cli.program import NAME
from kling_relay.sandbox import Profile, Sandbox
from tests.docs.conftest import Stage
from tests.docs.pages import Block, blocks
from tests.support.service import Subscriber, subscriber
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHELLS = ("sh", "shell", "bash", "console", "")
PROGRAMS = (f"{NAME} ", "curl ", "make ", "kubectl ", "pg_restore ", "export ", "python")
"""Beginnings of blocks without a language that are shell."""
LOOKED_AT = {"text": "not a program", "ini": "of other programs", "mermaid": "made by docs/generate.py"}
"""Languages of blocks that are not run, and the reason."""
NOT_RUN = {
    f"{NAME} up": "stays up; every test of the whole service starts it",
    f"{NAME} demo": "stays up; tests/cli/test_demo.py runs it",
    f"{NAME} sandbox": "stays up; tests/cli/test_cli_alone.py runs it",
    f"{NAME} events --follow": "goes on until Ctrl-C; tests/cli/test_cli.py follows",
    f"{NAME} listen": "goes on until Ctrl-C; tests/cli/test_cli.py listens",
    f"{NAME} doctor": "judges a deployment, which this is not; it has tests of its own",
    f"{NAME} migrate --restored": "is for a restored database; tests/operations/test_restore.py",
    f'eval "$({NAME} completion zsh': "is for zsh; tests/cli/test_cli_alone.py",
    f"{NAME} completion fish": "writes into the home directory; tests/cli/test_cli_alone.py",
    "make ": "a gate, or starts everything; tests/docs/test_links_and_names.py checks that the target exists",
    "pg_restore": "overwrites a database; tests/operations/test_restore.py restores one",
    "kubectl ": "needs a cluster",
    "helm ": "needs a cluster; tests/operations/test_chart.py renders the chart",
    "systemctl ": "changes the machine",
    "install -": "changes the machine",
    "kling-relay-admin ": "needs the units of systemd; tests/operations/test_deploy.py runs it",
    "cp -r deploy/": "changes the machine",
    "python3.11 -m venv": "changes the machine",
    "/opt/kling-relay/": "changes the machine",
}
"""Beginnings of commands that are not run, and the reason."""
SHOWN = {
    "  console": "what `make run` prints; tests/cli/test_demo.py reads it",
    " client ": "a diagram",
    "             order": "a picture",
    "client's span": "a picture",
    "service/": "a list of directories",
    "restore_command": "settings of PostgreSQL",
}
"""Beginnings of blocks that are not programs, and what they are."""
PYTHON_ELSEWHERE = {
    "docs/client.md": "tests/docs/test_client_page.py runs its programs",
    "docs/sandbox.md": "below, with an order where it has dots",
    "CONTRIBUTING.md": "a pattern of a test, with dots in it",
}
JSON_ELSEWHERE = {
    "docs/money.md": "the event of a budget; tests/flows/money/test_budgets.py",
    "docs/observability.md": "a line of the log; tests/unit/test_logs.py",
}
GIVES_UP = ("-m 5 ", "-m 1 ")
"""The sandbox never answers this one. A second shows it as well as five; curl then exits with 28."""


def is_usage(block: Block) -> bool:
    """Whether a block is the usage line of a command, which is generated from it."""
    return block.page == "docs/cli.md" and block.text.startswith(NAME) and block.text.count("\n") == 1


def is_shell(block: Block) -> bool:
    """Whether a block is commands: it has a language, or begins like a command."""
    return bool(block.language) or (block.text.startswith(PROGRAMS) and not is_usage(block))


SHELL = [block for block in blocks(*SHELLS) if is_shell(block)]
JSON = [block for block in blocks("json") if block.page not in JSON_ELSEWHERE]
PYTHON = [block for block in blocks("python") if block.page not in PYTHON_ELSEWHERE]


def named(block: Block) -> str:
    return block.name


async def test_every_block_is_of_a_kind_that_is_looked_at() -> None:
    known = {*SHELLS, "json", "python", "yaml", "sql", *LOOKED_AT}
    assert [block.name for block in blocks() if block.language not in known] == []
    unsaid = [block for block in blocks("") if not is_shell(block) and not is_usage(block)]
    assert [block.name for block in unsaid if not block.text.startswith(tuple(SHOWN))] == []
    assert len(SHELL) >= 8


@pytest.mark.parametrize("block", SHELL, ids=named)
async def test_commands_do_what_they_are_there_for(stage: Stage, directory: Path, block: Block) -> None:
    commands = [each for each in block.commands if not any(each.lstrip().startswith(start) for start in NOT_RUN)]
    if not commands:
        return
    script = ""
    for command in commands:
        ready = stage.set_in(command)
        if "timeout-after-accept]" in ready:
            ready = f"{ready.replace(*GIVES_UP)} || [ $? = 28 ]"
        script += ready + "\n"
    said = await stage.run(script, directory)
    for line in said.splitlines():
        if line.startswith('{"code"'):
            answer, _ = json.JSONDecoder().raw_decode(line)
            assert answer["code"] == 0 or "/callbacks/0" in script, line


def members(value: Any) -> Any:
    """Return the fields of a JSON object and those of its `data`; for a list, those of its first item."""
    if isinstance(value, list):
        return [members(value[0])] if value else []
    if not isinstance(value, dict):
        return None
    return {name: members(item) if name == "data" else None for name, item in value.items()}


def has_heard_the_end(one: Subscriber, task: str) -> bool:
    return any(task in each.raw.decode() and b'"succeed"' in each.raw for each in one.heard)


async def live(stage: Stage) -> list[Any]:
    """Return one example of each answer and delivery that documents may show."""
    relay = stage.relay
    order = {"prompt": "a rabbit"}
    _, created = await relay.call("POST", "/kling/v1/images/generations", json=order)
    _, queried = await relay.call("GET", f"/kling/v1/videos/text2video/{stage.task}")
    _, refused = await relay.call("POST", "/kling/v1/images/generations", json={})
    _, missing = await relay.call("GET", "/v1/tasks/none")
    _, page = await relay.call("GET", "/v1/tasks?limit=1")
    _, task = await relay.call("GET", f"/v1/tasks/{stage.task}")
    answers = [created, queried, refused, missing, page, task]
    async with subscriber() as one:
        for form in ("standard", "kling", "cloudevents"):
            made = await relay.subscribe(one.url, format=form)
            told = await relay.submit()
            await relay.final(told)
            await eventually(partial(has_heard_the_end, one, told))
            await relay.call("DELETE", f"/v1/subscriptions/{made['id']}")
            answers += [made, {name: value for name, value in made.items() if name != "secret"}]
            _, plain = await relay.call("GET", f"/kling/v1/videos/text2video/{told}")
            answers.append(plain)
        answers += [each.json for each in one.heard]
    _, secret = await relay.call("GET", "/v1/hook-secret")
    _, deliveries = await relay.call("GET", "/v1/deliveries?limit=1")
    _, events = await relay.call("GET", "/v1/events?limit=1")
    return [*answers, secret, deliveries, events]


async def test_json_has_the_members_that_live_answers_have(stage: Stage) -> None:
    shapes = [members(each) for each in await live(stage)]
    assert JSON
    for block in JSON:
        found = members(json.loads(block.text))
        assert found in shapes, f"{block.name}: {found}"


@pytest.mark.parametrize("page", JSON_ELSEWHERE)
async def test_json_of_other_kinds_is_json_all_the_same(page: str) -> None:
    found = [block for block in blocks("json") if block.page == page]
    assert found
    for block in found:
        whole = block.text if block.text.count("\n{") == 0 else f"[{block.text.strip().replace(chr(10), ',')}]"
        assert json.loads(whole), block.name


async def test_programs_run(stage: Stage) -> None:
    for block in PYTHON:
        source = stage.set_in(block.text)
        assert "run_app(" not in source or "__main__" in source, f"{block.name} serves as soon as it is read"
        program = compile(source, block.name, "exec")
        with redirect_stdout(io.StringIO()):
            await asyncio.to_thread(exec, program, {"__name__": "a program"})


async def test_the_sandbox_in_a_test_is_as_its_page_has_it(stage: Stage) -> None:
    (block,) = [each for each in blocks("python") if each.page == "docs/sandbox.md"]
    assert block.text.count("\n...\n") == 1
    source = block.text.replace("\n...\n", "\nawait order(url)\n")

    async def order(url: str) -> None:
        body = {"prompt": "a rabbit", "external_task_id": "my-1", "notify_hook": stage.hook.url}
        headers = {"Authorization": "Bearer hk-sandbox"}
        async with stage.relay.client.post(f"{url}/kling/v1/videos/text2video", json=body, headers=headers) as answer:
            assert answer.status == 200

    names = {
        "Sandbox": Sandbox,
        "Profile": Profile,
        "datetime": datetime,
        "UTC": UTC,
        "random": random,
        "order": order,
    }
    program = compile(source, block.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    acting: Callable[[], Awaitable[None]] = eval(program, names)  # a module that awaits is a coroutine
    assert inspect.isawaitable(acting)
    await acting


async def test_sql_outside_the_runbook_is_understood_by_the_database(stage: Stage) -> None:
    connection = await asyncpg.connect(stage.database)
    try:
        for block in [each for each in blocks("sql") if each.page != "docs/runbook.md"]:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(block.text)
            await transaction.rollback()
    finally:
        await connection.close()
