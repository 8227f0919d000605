"""docs/guides: every command and program is run exactly as printed, except for address, port and key."""

import ast
import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from kling_relay.sandbox import Profile
from tests.support.paths import ROOT
from tests.support.relay import add_key
from tests.support.service import Relay, running, sandboxed

GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
BLOCK = re.compile(r"(?:`([\w.]+)`:\n\n)?```(\w+)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code, and the file name that the page gives it."""

    file: str
    language: str
    text: str


def blocks(name: str) -> list[Block]:
    page = (ROOT / "docs" / "guides" / f"{name}.md").read_text("utf-8")
    return [Block(*found) for found in BLOCK.findall(page)]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def followed(name: str, directory: Path, changes: Mapping[str, str], **environment: str) -> str:
    """Run a guide's blocks in one shell and return its output; every process that it started is ended."""
    found = blocks(name)

    def changed(text: str) -> str:
        for old, new in changes.items():
            text = text.replace(old, new)
        return text

    for block in found:
        if block.file:
            (directory / block.file).write_text(changed(block.text), encoding="utf-8")
    script = "set -eu -o pipefail\n" + "\n".join(changed(block.text) for block in found if block.language == "sh")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    plain = {key: text for key, text in os.environ.items() if not key.startswith("RELAY_")}
    # into a file: a process that the guide leaves running would hold a pipe open
    with (directory / "said.txt").open("wb") as output:
        shell = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            script,
            cwd=directory,
            env={**plain, "PATH": path, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                status = await shell.wait()
        except TimeoutError:
            status = -1
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)
    said = (directory / "said.txt").read_text("utf-8")
    assert status == 0, said
    return said


async def with_key(relay: Relay) -> str:
    """Return a key as `kling-relay keys create` makes them."""
    return await add_key(relay.parts.database, relay.parts.encryptor, "guides")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_programs_compile_and_links_lead_somewhere(guide: Path) -> None:
    for block in blocks(guide.stem):
        if block.language == "python":
            compile(block.text, f"{guide.name}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if block.language == "json":
            json.loads(block.text)
    for link in LINK.findall(guide.read_text("utf-8")):
        assert (guide.parent / link).exists(), link


async def test_from_polling_to_webhooks(database: str, tmp_path: Path) -> None:
    async with sandboxed() as (_, url), running(database, url, retry_schedule="0.5s,0.5s,0.5s,0.5s,1s,2s") as relay:
        key, port = await with_key(relay), str(free_port())
        changes = {"http://127.0.0.1:8080": relay.url, "kr-…": key, "3000": port}
        said = await followed("from-polling-to-webhooks", tmp_path, changes)
        assert re.search("polled: [0-9a-f-]{36} is done", said)
        assert "waited: succeed {'videos'" in said
        heard = (tmp_path / "heard.txt").read_text()
        assert "task.succeed" in heard
        assert "/sandbox/results/" in heard


async def test_point_your_client_here(database: str, tmp_path: Path) -> None:
    async with sandboxed() as (_, url), running(database, url) as relay:
        key = await with_key(relay)
        changes = {"http://127.0.0.1:8080": relay.url, "kr-…": key}
        said = await followed("point-your-client-here", tmp_path, changes)
        answers = [json.loads(line) for line in said.splitlines()]
        assert [(each["code"], each["request_id"] == each["data"]["task_id"]) for each in answers] == [(0, True)] * 3
        (program,) = [block.text for block in blocks("point-your-client-here") if block.language == "python"]
        signed = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program.replace("http://127.0.0.1:8080", relay.url),
            env={**os.environ, "RELAY_KEY": key},
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await signed.communicate()
        assert len(json.loads(printed)["data"]) == 3


async def test_write_a_subscriber(database: str, tmp_path: Path) -> None:
    async with sandboxed(Profile(seconds=(0.0, 0.01), doubling=0.5)) as (_, url), running(database, url) as relay:
        key, port = await with_key(relay), str(free_port())
        said = await followed(
            "write-a-subscriber", tmp_path, {"3000": port}, RELAY_URL=relay.url, RELAY_KEY=key, COLUMNS="200"
        )
        assert (tmp_path / "work.txt").read_text().count("downloading the results of") == 1, said


async def test_develop_offline(tmp_path: Path) -> None:
    said = await followed("develop-offline", tmp_path, {"8180": str(free_port())})
    assert "it failed, as requested" in said
    assert "too dark" in said
    assert "refused by moderation" in said
    assert said.rstrip().endswith((".png", ".jpg"))
    profile = re.search(
        r'RELAY_SANDBOX_PROFILE="([^"]+)"', (GUIDES[0].parent / "develop-offline.md").read_text("utf-8")
    )
    assert profile
    pairs = [tuple(option.split("=", 1)) for option in profile[1].split()]
    assert Profile().with_options([(name, value) for name, value in pairs]).doubling == 0.2
