"""Who may come in: keys, JWTs, scopes, rates, and what is said to those who may not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from kling_relay.core.key import Scope, key_id
from kling_relay.store.access import client_keys
from kling_relay.web.http.context import Limits
from tests.support.relay import House, house
from tests.support.waiting import eventually


def signed(key: str, secret: str | None = None, **claims: Any) -> str:
    now = datetime.now(UTC)
    usual = {"iss": str(key_id(key)), "exp": now + timedelta(minutes=30), "nbf": now - timedelta(seconds=5)}
    return jwt.encode({**usual, **claims}, secret or key, algorithm="HS256")


async def test_a_jwt_signed_with_a_key_is_as_good_as_the_key(home: House) -> None:
    status, said = await home.post("/v1/videos/text2video", {"prompt": "a"}, signed(home.key))
    assert (status, said["code"]) == (200, 0)


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": 1}, 1004),
        ({"nbf": 4_000_000_000}, 1003),
        ({"iss": "nobody"}, 1002),
        ({"exp": None}, 1002),
        ({"exp": "soon"}, 1002),
    ],
)
async def test_a_jwt_out_of_its_time_is_refused_with_klings_code(home: House, claims: Any, code: int) -> None:
    status, said = await home.get("/kling/v1/videos/text2video", signed(home.key, **claims))
    assert (status, said["code"]) == (401, code)


async def test_a_jwt_of_another_secret_or_method_is_refused(home: House) -> None:
    unsigned = jwt.encode({"iss": str(key_id(home.key)), "exp": 4_000_000_000}, "", algorithm="none")
    for token in (signed(home.key, secret="x" * 40), unsigned, "a.b.c", ".."):
        status, said = await home.get("/kling/v1/videos/text2video", token)
        assert (status, said["code"]) == (401, 1002)


async def test_a_request_without_a_key_is_refused(home: House) -> None:
    status, said, headers = await home.full("GET", "/v1/tasks", "")
    assert (status, said["code"], headers["WWW-Authenticate"]) == (401, 1001, "Bearer")
    assert headers["Content-Type"] == "application/problem+json"
    for authorization in ("Basic abc", "Bearer", "nonsense", "Bearer " + "x" * 5000, "Bearer é"):
        status, said = await home.call("GET", "/v1/tasks", "", headers={"Authorization": authorization})
        assert (status, said["code"]) == (401, 1002)


@pytest.mark.parametrize(
    ("scope", "good", "bad"),
    [
        (Scope.SUBMIT, ("POST", "/kling/v1/videos/text2video"), ("GET", "/v1/tasks")),
        (Scope.READ, ("GET", "/v1/tasks"), ("POST", "/kling/v1/videos/text2video")),
        (Scope.READ, ("GET", "/v1/subscriptions"), ("POST", "/v1/subscriptions")),
        (Scope.ADMIN, ("GET", "/v1/hook-secret"), None),
        (Scope.ADMIN, ("POST", "/kling/v1/videos/text2video"), None),
    ],
)
async def test_a_key_may_do_what_its_scopes_say(
    home: House, scope: Scope, good: tuple[str, str], bad: tuple[str, str] | None
) -> None:
    key = await home.key_of("scoped", [scope])
    assert (await home.call(*good, key, json={"prompt": "a"}))[0] == 200
    if bad is not None:
        status, said = await home.call(*bad, key, json={"prompt": "a"})
        assert (status, said["code"]) == (403, 1103)


async def test_a_revoked_key_is_refused_within_five_seconds_of_use(home: House) -> None:
    key = await home.key_of("leaving")
    assert (await home.get("/v1/tasks", key))[0] == 200
    assert len(await client_keys.revoke(home.database, "leaving", datetime.now(UTC))) == 1

    async def is_out() -> bool:
        return (await home.get("/v1/tasks", key))[0] == 401

    assert await eventually(is_out, within=5)


async def test_an_expired_key_is_refused(home: House) -> None:
    key = await home.key_of("old", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    status, said = await home.get("/v1/tasks", key)
    assert (status, said["code"]) == (401, 1004)


async def test_the_last_use_of_a_key_is_noted(home: House) -> None:
    await home.get("/v1/tasks")
    row = await client_keys.by_id(home.database, key_id(home.key))
    assert row is not None
    assert row.last_used_at is not None


async def test_a_key_beyond_its_rate_waits_and_others_do_not(database: str) -> None:
    async with house(database, Limits(rate=0.5, burst=2)) as home:
        first = await home.full("GET", "/v1/tasks")
        await home.get("/v1/tasks")
        status, said, headers = await home.full("GET", "/v1/tasks")
        assert first[2]["RateLimit-Policy"] == '"key";q=2;w=4'
        assert first[2]["RateLimit"].startswith('"key";r=1;')
        assert (status, said["code"]) == (429, 1302)
        assert int(headers["Retry-After"]) >= 1
        assert headers["RateLimit"].startswith('"key";r=0;')
        assert (await home.get("/v1/tasks", await home.key_of("other")))[0] == 200


async def test_the_table_of_keys_holds_no_secret(home: House) -> None:
    for row in await client_keys.list_keys(home.database):
        assert home.key not in repr(row)
        assert home.key.encode() not in row.secret


async def test_answers_are_kept_by_nobody_and_tell_nothing_of_what_made_them(home: House) -> None:
    _, _, headers = await home.full("GET", "/v1/tasks")
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert headers["Server"] == "kling-relay"
