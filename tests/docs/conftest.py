"""The stage on which documents are run: a service with a finished task, a separate sandbox, a subscriber."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from kling_relay.app import keys
from kling_relay.sandbox import Sandbox
from kling_relay.sandbox.images import draw
from kling_relay.store.embedded.server import Server
from tests.support.postgres import fresh_database
from tests.support.service import KEY, SIGNING, Relay, Subscriber, running, sandboxed, subscriber

UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b")

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the blocks of documents are run. `task` and `sandbox_task` are finished videos."""

    relay: Relay
    database: str
    sandbox: Sandbox
    sandbox_url: str
    provider_url: str
    hook: Subscriber
    task: str
    sandbox_task: str

    def set_in(self, text: str) -> str:
        """Replace the addresses, keys and ids in a block by those of this stage."""
        text = text.replace("http://127.0.0.1:8080", self.relay.url).replace("http://localhost:8080", self.relay.url)
        text = text.replace("http://127.0.0.1:8090", self.sandbox_url)
        for elsewhere in ("http://127.0.0.1:9000/hook", "http://localhost:3000/hook", "https://example.com/hook"):
            text = text.replace(elsewhere, self.hook.url)
        text = text.replace("your-key", KEY).replace("kr-…", KEY).replace("whsec_…", SECRET)
        text = text.replace(".venv/bin/", "")
        own = self.sandbox_task if self.sandbox_url in text else self.task
        return UUID.sub(lambda found: found[0] if found[0].startswith("0000") else own, text.replace("TASK_ID", own))

    async def run(self, script: str, directory: Path) -> str:
        """Run a bash script as a reader would, and return its output. Fails if one of its commands does."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
        environment |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
            "RELAY_URL": self.relay.url,
            "RELAY_PUBLIC_URL": self.relay.url,
            "RELAY_KEY": KEY,
            "RELAY_DATABASE_URL": self.database,
            "RELAY_SIGNING_KEYS": SIGNING,
            "RELAY_PROVIDER_URL": self.provider_url,
            "RELAY_PROVIDER_KEY": "hk-sandbox",
            "RELAY_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", script),
            cwd=directory,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
        )
        try:
            async with asyncio.timeout(60):
                said, _ = await shell.communicate()
        finally:
            if shell.returncode is None:
                shell.kill()
                await shell.wait()
        assert shell.returncode == 0, f"{script}\n{said.decode()}"
        return said.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(postgres: Server) -> AsyncIterator[Stage]:
    async with (
        fresh_database(postgres) as database,
        sandboxed() as (_, provider),
        sandboxed(seed=2) as (sandbox, sandbox_url),
        subscriber() as hook,
        running(database, provider) as relay,
    ):
        for name in ("my-backend", "my-key"):
            await keys.create_key(relay.parts.database, relay.parts.encryptor, name)
        task = await relay.submit("a spaceship under way", external_task_id="my-task")
        await relay.final(task)
        body = {"prompt": "a spaceship"}
        authorization = {"Authorization": "Bearer hk-sandbox"}
        async with relay.client.post(
            f"{sandbox_url}/kling/v1/videos/text2video", json=body, headers=authorization
        ) as answer:
            sandbox_task = (await answer.json())["data"]["task_id"]
        yield Stage(
            relay=relay,
            database=database,
            sandbox=sandbox,
            sandbox_url=sandbox_url,
            provider_url=provider,
            hook=hook,
            task=task,
            sandbox_task=sandbox_task,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the picture that documents use."""
    place = tmp_path_factory.mktemp("reader")
    draw("test", "1x1", "rabbit").save(place / "rabbit.png")
    return place
