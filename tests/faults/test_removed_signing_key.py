"""A signing key was removed while secrets were still under it: 401 and a sentence where one is needed, never 500."""

import re
from datetime import UTC, datetime
from typing import Any

import aiohttp
import asyncpg
import jwt
import pytest

from tests.support.api_document import ROUTES
from tests.support.service import KEY, Relay, running, sandboxed, subscriber
from tests.support.waiting import eventually

NEW = "another-signing-key-0123456789abcdef0123456789abcdef"


async def signed(database: str) -> str:
    """Return a JWT that is signed with the tests' key."""
    connection = await asyncpg.connect(database)
    try:
        key_id = str(await connection.fetchval("SELECT id FROM keys"))
    finally:
        await connection.close()
    return jwt.encode({"iss": key_id, "exp": int(datetime.now(UTC).timestamp()) + 600}, KEY, "HS256")


async def call(relay: Relay, key: str, method: str, path: str, **request: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        return await Relay(
            url=relay.url, settings=relay.settings, parts=relay.parts, client=session, stop=relay.stop
        ).call(method, path, **request)


@pytest.mark.parametrize("path", ["/v1/tasks", "/kling/v1/videos/text2video"])
async def test_a_jwt_that_cannot_be_verified_any_more_is_answered_401_with_the_reason(database: str, path: str) -> None:
    async with sandboxed() as (_, provider):
        async with running(database, provider) as relay:
            token = await signed(database)
            assert (await call(relay, token, "GET", path))[0] == 200
        async with running(database, provider, signing_keys=NEW) as relay:
            status, body = await call(relay, token, "GET", path)
            assert (status, body["code"]) == (401, 1002)
            said = body.get("detail") or body["message"]
            assert "signing key" in said
            assert "Send the key itself" in said
            assert (await relay.call("GET", path))[0] == 200  # with the key itself


async def test_a_hook_secret_that_cannot_be_read_any_more_is_answered_401_until_it_is_rotated(database: str) -> None:
    async with sandboxed() as (_, provider), subscriber() as hook:
        async with running(database, provider) as relay:
            await relay.call("GET", "/v1/hook-secret")
        async with running(database, provider, signing_keys=NEW) as relay:
            status, body = await relay.call("GET", "/v1/hook-secret")
            assert (status, body["code"]) == (401, 1002)
            assert "/v1/hook-secret/rotate" in body["detail"]
            task = await relay.submit(notify_hook=hook.url)
            await relay.final(task)
            status, rotated = await relay.call("POST", "/v1/hook-secret/rotate", json={})
            assert status == 200
            assert await relay.call("GET", "/v1/hook-secret") == (200, rotated)
            await eventually(lambda: hook.heard)
            hook.heard[0].verified(rotated["secret"])


async def test_nothing_else_is_answered_5xx_after_a_signing_key_was_removed(database: str) -> None:
    async with sandboxed() as (_, provider), subscriber() as other:
        async with running(database, provider) as relay:
            created = await relay.subscribe(other.url, headers={"X-Token": "secret"})
            task = await relay.submit(notify_hook=other.url)
        async with running(database, provider, signing_keys=NEW) as relay:
            parameters = {"subscription": created["id"], "task": task}
            statuses = {}
            for route in ROUTES:
                needs = set(re.findall(r"{(\w+)}", route.path))
                if route.method == "GET" and needs <= parameters.keys() and "stream" not in route.path:
                    statuses[route.name] = (await relay.call("GET", route.path.format(**parameters)))[0]
            subscription = f"/v1/subscriptions/{created['id']}"
            for method, path in (("PATCH", subscription), ("POST", f"{subscription}/pause"), ("DELETE", subscription)):
                statuses[f"{method} {path}"] = (await relay.call(method, path, json={}))[0]
    assert len(statuses) > 10
    assert {name: status for name, status in statuses.items() if status >= 500} == {}
