"""Authorization: a Bearer key, or a JWT signed with an access key's secret; refused with Kling's codes 1000 to 1004."""

from datetime import datetime
from functools import lru_cache
from typing import Any

import jwt

from kling_relay.sandbox.errors import RefusalError
from kling_relay.sandbox.profile import Profile


def admit(authorization: str | None, profile: Profile, now: datetime) -> None:
    """Return if the Authorization header is valid, else raise RefusalError.

    Its code is 1001 for a missing header, 1002 malformed, 1000 unknown key or wrong signature, 1003 before `nbf`,
    1004 after `exp`.
    """
    if not authorization:
        raise RefusalError(1001)
    scheme, _, credential = authorization.partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential:
        raise RefusalError(1002)
    if credential in profile.keys:
        return
    if credential.count(".") != 2:
        raise RefusalError(1000)
    claims = _claims(credential, profile.access_keys)
    at = now.timestamp()
    if at < _time(claims, "nbf", 0):
        raise RefusalError(1003)
    if at >= _time(claims, "exp", None):
        raise RefusalError(1004)


@lru_cache(maxsize=1024)
def _claims(token: str, access_keys: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Return the claims of a validly signed token. Its times are checked by the caller, so that this can be cached."""
    try:
        unverified = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise RefusalError(1002) from None
    secret = dict(access_keys).get(str(unverified.get("iss")))
    if secret is None:
        raise RefusalError(1000)
    try:
        return jwt.decode(
            token,
            secret,
            algorithms=["HS256"],
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
    except jwt.InvalidTokenError:
        raise RefusalError(1000) from None


def _time(claims: dict[str, Any], name: str, default: float | None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusalError(1002, f"Authorization: the claim {name} is missing or not a number")

    return value
