"""Secrets stand nowhere in the clear: in no line of a log at its most talkative, no answer, no metric, no repr, and in
no row of a dump, so that a stolen dump signs nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg

from kling_relay.app import keys
from kling_relay.core.key import Scope
from kling_relay.sandbox import Profile, Sandbox
from tests.faults.client import Client
from tests.faults.process import Part, reserved_port, started
from tests.support.service import KEY, SIGNING, running, sandboxed, settings_for, subscriber
from tests.support.waiting import eventually

WEBHOOK = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
PROVIDER = "hk-planted-provider-key-0123456789"
HEADER = "planted-token-that-lets-us-in-at-the-subscriber"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A service that has used all its features, and the secrets that it was given or has created."""

    secrets: set[str]
    log: Path
    metrics: str
    sandbox: Sandbox


@asynccontextmanager
async def planted(database: str, log: Path) -> AsyncIterator[Planted]:
    profile = Profile(seconds=(0.0, 0.01), keys=(PROVIDER,), secret=WEBHOOK)
    with reserved_port() as held, reserved_port() as metrics:
        port, metrics_port = held.getsockname()[1], metrics.getsockname()[1]
        async with (
            sandboxed(profile) as (sandbox, provider),
            subscriber([500, 410]) as heard,
            aiohttp.ClientSession() as session,
        ):
            settings = {
                "port": str(port),
                "metrics_port": str(metrics_port),
                "provider_key": PROVIDER,
                "provider_webhook_secret": WEBHOOK,
                "log_level": "debug",
                "provider_timeout": "0.5s",
            }
            part = Part(role="up", database=database, provider=provider, settings=settings, log=log)
            async with started(part):
                client = Client(f"http://127.0.0.1:{port}", session)
                secrets = {KEY, SIGNING, PROVIDER, WEBHOOK, *await _lived(client, heard.url)}
                secrets |= {urlsplit(task.order.hook).path.rsplit("/", 1)[-1] for task in sandbox.tasks.values()}
                async with session.get(f"http://127.0.0.1:{metrics_port}/metrics") as page:
                    shown = await page.text()
                assert "relay" in shown
                yield Planted(secrets=secrets, log=log, metrics=shown, sandbox=sandbox)


async def _lived(client: Client, url: str) -> set[str]:
    """Order, fail, subscribe, rotate and forge; return all secrets that this created."""
    headers = {"Authorization": f"Bearer {HEADER}", "X-Team": HEADER}
    _, made = await _said(client, "POST", "/v1/subscriptions", json={"url": url, "events": ["*"], "headers": headers})
    _, rotated = await _said(client, "POST", f"/v1/subscriptions/{made['id']}/rotate-secret", json={})
    _, hooks = await _said(client, "GET", "/v1/hook-secret")
    for prompt in ("a rabbit", "a rabbit [fail]", "a rabbit [1301]", "a rabbit [1101]", "a rabbit [reset:accepted]"):
        ordered = {"prompt": prompt, "notify_hook": url}
        await _said(client, "POST", "/kling/v1/videos/text2video", json=ordered)
    task = await client.insist("another", "another rabbit", notify_hook=url)
    await client.final(task)
    wrong = Client(client.url, client.session, "kr-a-wrong-key-that-was-planted-0123456789")
    assert (await _said(wrong, "GET", "/v1/tasks"))[0] == 401
    forged = "forged-token-that-was-planted-00"
    assert (await _said(client, "POST", f"/callbacks/{task}/{forged}", json={}))[0] == 404
    await eventually(lambda: client.got("/v1/deliveries"))
    return {HEADER, made["secret"], rotated["secret"], hooks["secret"], wrong.key, forged}


async def _said(client: Client, method: str, path: str, **request: Any) -> tuple[int, Any]:
    said = await client.call(method, path, **request)
    assert said is not None
    return said


async def test_no_secret_is_in_a_log_or_among_the_metrics(database: str, tmp_path: Path) -> None:
    async with planted(database, tmp_path / "log") as service:
        lines = service.log.read_text()
        assert lines.count("\n") > 20
        assert len(service.secrets) > 10
        for secret in service.secrets:
            assert secret not in lines, next(line for line in lines.splitlines() if secret in line)
            assert secret not in service.metrics


async def test_a_dump_holds_no_secret_in_the_clear(database: str, tmp_path: Path) -> None:
    async with planted(database, tmp_path / "log") as service:
        dump = await _dump(database)
        assert "another rabbit" in dump
        for secret in service.secrets:
            for form in (secret, secret.removeprefix("whsec_"), secret.encode().hex()):
                assert form not in dump, form[:12]


async def test_no_error_and_no_repr_shows_a_secret(database: str) -> None:
    settings = settings_for(database, "http://127.0.0.1:1", provider_key=PROVIDER, provider_webhook_secret=WEBHOOK)
    async with sandboxed() as (_, provider), running(database, provider, provider_webhook_secret=WEBHOOK) as relay:
        made = await relay.subscribe("http://127.0.0.1:65535/")
        told = repr(
            (settings, relay.settings, relay.parts, relay.parts.context, relay.parts.submit, relay.parts.worker)
        )
        key = await keys.create_key(
            relay.parts.database, relay.parts.encryptor, "another", scopes=frozenset({Scope.READ})
        )
        told += repr(await keys.list_keys(relay.parts.database))
        for path in ("/v1/tasks/x", "/v1/subscriptions/x", f"/callbacks/{made['id']}/x", "/nowhere"):
            told += str(await relay.call("POST", path, json={"secret": 1}))
        for secret in (KEY, SIGNING, PROVIDER, WEBHOOK, made["secret"], key):
            assert secret not in told


async def _dump(database: str) -> str:
    connection = await asyncpg.connect(database)
    try:
        tables = await connection.fetch("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200")
        rows = [await connection.fetch(f'SELECT t::text FROM "{table["relname"]}" t') for table in tables]
        return "\n".join(row[0] for each in rows for row in each)
    finally:
        await connection.close()
