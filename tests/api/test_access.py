"""Authentication: keys, JWTs, scopes, rates, and the errors of each."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from kling_relay.core.key import Scope, key_id
from kling_relay.store.access import client_keys
from kling_relay.web.http.context import RequestLimits
from tests.support.relay import ApiServer, serve_api
from tests.support.waiting import eventually


def signed(key: str, secret: str | None = None, **claims: Any) -> str:
    now = datetime.now(UTC)
    defaults = {"iss": str(key_id(key)), "exp": now + timedelta(minutes=30), "nbf": now - timedelta(seconds=5)}
    return jwt.encode({**defaults, **claims}, secret or key, algorithm="HS256")


async def test_a_jwt_signed_with_a_key_authenticates_like_the_key(api: ApiServer) -> None:
    status, body = await api.post("/v1/videos/text2video", {"prompt": "a"}, signed(api.key))
    assert (status, body["code"]) == (200, 0)


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
async def test_a_jwt_with_wrong_claims_is_refused_with_klings_code(api: ApiServer, claims: Any, code: int) -> None:
    status, body = await api.get("/kling/v1/videos/text2video", signed(api.key, **claims))
    assert (status, body["code"]) == (401, code)


async def test_a_jwt_with_another_secret_or_algorithm_is_refused(api: ApiServer) -> None:
    unsigned = jwt.encode({"iss": str(key_id(api.key)), "exp": 4_000_000_000}, "", algorithm="none")
    for token in (signed(api.key, secret="x" * 40), unsigned, "a.b.c", ".."):
        status, body = await api.get("/kling/v1/videos/text2video", token)
        assert (status, body["code"]) == (401, 1002)


async def test_a_request_without_a_key_is_refused(api: ApiServer) -> None:
    status, body, headers = await api.call_with_headers("GET", "/v1/tasks", "")
    assert (status, body["code"], headers["WWW-Authenticate"]) == (401, 1001, "Bearer")
    assert headers["Content-Type"] == "application/problem+json"
    for authorization in ("Basic abc", "Bearer", "nonsense", "Bearer " + "x" * 5000, "Bearer é"):
        status, body = await api.call("GET", "/v1/tasks", "", headers={"Authorization": authorization})
        assert (status, body["code"]) == (401, 1002)


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
async def test_a_key_can_do_only_what_its_scopes_allow(
    api: ApiServer, scope: Scope, good: tuple[str, str], bad: tuple[str, str] | None
) -> None:
    key = await api.create_key("scoped", [scope])
    assert (await api.call(*good, key, json={"prompt": "a"}))[0] == 200
    if bad is not None:
        status, body = await api.call(*bad, key, json={"prompt": "a"})
        assert (status, body["code"]) == (403, 1103)


@pytest.mark.long
async def test_a_revoked_key_is_refused_within_five_seconds_of_use(api: ApiServer) -> None:
    key = await api.create_key("leaving")
    assert (await api.get("/v1/tasks", key))[0] == 200
    assert len(await client_keys.revoke(api.database, "leaving", datetime.now(UTC))) == 1

    async def is_out() -> bool:
        return (await api.get("/v1/tasks", key))[0] == 401

    assert await eventually(is_out, within=5)


async def test_an_expired_key_is_refused(api: ApiServer) -> None:
    key = await api.create_key("old", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    status, body = await api.get("/v1/tasks", key)
    assert (status, body["code"]) == (401, 1004)


async def test_the_last_use_of_a_key_is_recorded(api: ApiServer) -> None:
    await api.get("/v1/tasks")
    row = await client_keys.by_id(api.database, key_id(api.key))
    assert row is not None
    assert row.last_used_at is not None


async def test_a_key_beyond_its_rate_is_refused_while_other_keys_are_not(database: str) -> None:
    async with serve_api(database, RequestLimits(rate=0.5, burst=2)) as api:
        first = await api.call_with_headers("GET", "/v1/tasks")
        await api.get("/v1/tasks")
        status, body, headers = await api.call_with_headers("GET", "/v1/tasks")
        assert first[2]["RateLimit-Policy"] == '"key";q=2;w=4'
        assert first[2]["RateLimit"].startswith('"key";r=1;')
        assert (status, body["code"]) == (429, 1302)
        assert int(headers["Retry-After"]) >= 1
        assert headers["RateLimit"].startswith('"key";r=0;')
        assert (await api.get("/v1/tasks", await api.create_key("other")))[0] == 200


async def test_the_table_of_keys_holds_no_secret(api: ApiServer) -> None:
    for row in await client_keys.list_keys(api.database):
        assert api.key not in repr(row)
        assert api.key.encode() not in row.secret


async def test_responses_are_not_cached_and_do_not_name_the_software_beneath(api: ApiServer) -> None:
    _, _, headers = await api.call_with_headers("GET", "/v1/tasks")
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert headers["Server"] == "kling-relay"


async def test_a_key_in_x_api_key_authenticates_like_a_bearer(api: ApiServer) -> None:
    for path in ("/v1/tasks", "/kling/v1/videos/text2video", "/proxy/kling/v1/videos/text2video"):
        for token in (api.key, signed(api.key)):
            assert (await api.call("GET", path, "", headers={"X-API-KEY": token}))[0] == 200
            assert (await api.call("GET", path, "", headers={"x-api-key": f" {token} "}))[0] == 200
    both = {"Authorization": "Basic YTpi", "X-API-KEY": api.key}  # the first is for a proxy in front
    assert (await api.call("GET", "/v1/tasks", "", headers=both))[0] == 200
    for wrong, code in (({"X-API-KEY": "nonsense"}, 1002), ({"X-API-KEY": " "}, 1001)):
        status, body = await api.call("GET", "/v1/tasks", "", headers=wrong)
        assert (status, body["code"]) == (401, code)
    wrong = {"Authorization": "Bearer nonsense", "X-API-KEY": api.key}
    assert (await api.call("GET", "/v1/tasks", "", headers=wrong))[0] == 401


async def test_pages_of_other_origins_may_send_x_api_key(api: ApiServer) -> None:
    for path in ("/kling/v1/videos/text2video", "/v1/tasks"):
        _, _, headers = await api.call_with_headers("OPTIONS", path, "")
        assert "X-API-KEY" in headers["Access-Control-Allow-Headers"]
        assert "Relay-Unknown-Fields" in headers["Access-Control-Expose-Headers"]
