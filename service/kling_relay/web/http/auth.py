"""Authentication: a Bearer token or X-API-KEY (a key, or a JWT signed with one) becomes a caller.

Keys are cached for 4 s: a revocation takes effect within 5 s in every process, and most requests need no database
read. Unknown keys are cached for 1 s. The codes are Kling's: 1001 no token, 1002 unknown key, 1003 JWT not valid yet,
1004 expired.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeGuard
from uuid import UUID

import jwt

from kling_relay.core.errors import Unauthenticated
from kling_relay.core.key import MAX_CHARACTERS, MIN_SIGNING_CHARACTERS, Caller, digest, digests_equal
from kling_relay.store.access import client_keys, secrets
from kling_relay.store.access.client_keys import KeyRow
from kling_relay.store.access.encryption import DecryptionError, Encryptor
from kling_relay.store.postgres.database import Database

CACHED_FOR = 4.0
UNKNOWN_CACHED_FOR = 1.0
MAX_CACHED = 10_000
MAX_CLOCK_SKEW = 5.0
"""Seconds that a client's clock may differ from ours."""
_MAX_JWT = 4096
_UNVERIFIABLE = (
    "No JWT of this key can be verified any more, because the signing key under which the service keeps it was removed."
    " Send the key itself, or sign with a new key."
)


class Authenticator:
    """Authenticates callers."""

    def __init__(self, database: Database, encryptor: Encryptor) -> None:
        self._database = database
        self._encryptor = encryptor
        self._clock = asyncio.get_running_loop().time
        self._cache: OrderedDict[bytes | UUID, tuple[float, KeyRow | None]] = OrderedDict()
        self._touched_at: dict[UUID, datetime] = {}

    async def authenticate(self, headers: Mapping[str, str], now: datetime) -> Caller:
        """Return the caller that a request's headers name.

        Raises Unauthenticated with Kling's code, StoreUnavailableError.
        """
        token = _token(headers)
        if token.count(".") == 2:
            row = await self._row_of_jwt(token, now)
        elif len(token) <= MAX_CHARACTERS:
            row = await self._row_of_key(token)
        else:
            row = None
        if row is None or row.revoked_at is not None:
            raise Unauthenticated
        if row.expires_at is not None and row.expires_at <= now:
            raise Unauthenticated("This key has expired.", code=1004)
        await self._touch(row.id, now)
        return Caller(client=row.client, key=row.id, scopes=row.scopes, name=row.name)

    async def _row_of_key(self, token: str) -> KeyRow | None:
        hashed = digest(token)
        row = await self._find(hashed)
        return row if row is not None and digests_equal(row.digest, hashed) else None

    async def _row_of_jwt(self, token: str, now: datetime) -> KeyRow | None:
        """Return the key that signed a JWT; the JWT's times are checked after its signature."""
        claims = _claims(token, None)
        try:
            identifier = UUID(str(claims.get("iss")))
        except ValueError:
            return None
        row = await self._find(identifier)
        if row is None:
            return None
        try:
            secret = secrets.decrypt_key(self._encryptor, row.id, row.secret)
        except DecryptionError:
            raise Unauthenticated(_UNVERIFIABLE) from None
        if len(secret.encode()) < MIN_SIGNING_CHARACTERS:
            raise Unauthenticated(f"A key must have at least {MIN_SIGNING_CHARACTERS} bytes to sign a JWT.")
        _check_times(_claims(token, secret), now)
        return row

    async def _find(self, name: bytes | UUID) -> KeyRow | None:
        """Return a key by its digest or id, from the cache or the database."""
        now = self._clock()
        entry = self._cache.get(name)
        if entry is not None and entry[0] > now:
            return entry[1]
        row = await (
            client_keys.by_id(self._database, name)
            if isinstance(name, UUID)
            else client_keys.by_digest(self._database, name)
        )
        self._cache[name] = (now + (UNKNOWN_CACHED_FOR if row is None else CACHED_FOR), row)
        self._cache.move_to_end(name)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return row

    async def _touch(self, key: UUID, now: datetime) -> None:
        """Record that a key was used, at most once a minute here (the statement has the same condition for all)."""
        touched_at = self._touched_at.get(key)
        if touched_at is not None and now - touched_at < client_keys.TOUCH_EVERY:
            return
        if len(self._touched_at) > MAX_CACHED:
            self._touched_at.clear()
        self._touched_at[key] = now
        await client_keys.touch(self._database, [key], now)


def _token(headers: Mapping[str, str]) -> str:
    """Return the key or JWT in Authorization, or else in X-API-KEY."""
    authorization = headers.get("Authorization", "").strip()
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer" and (token := token.strip()):
        return token
    if token := headers.get("X-API-KEY", "").strip():
        return token
    if not authorization:
        raise Unauthenticated(
            'No key was sent. Send it as "Authorization: Bearer <key>" or "X-API-KEY: <key>".', code=1001
        )
    raise Unauthenticated


def _claims(token: str, secret: str | None) -> dict[str, Any]:
    """Return a JWT's claims; the signature is verified if there is a secret, the times never."""
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
    if len(token) > _MAX_JWT:
        raise Unauthenticated
    try:
        if secret is None:
            options["verify_signature"] = False
            return jwt.decode(token, options=options)
        return jwt.decode(token, secret, algorithms=["HS256"], options=options)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Unauthenticated from None


def _check_times(claims: dict[str, Any], now: datetime) -> None:
    at = now.timestamp()
    expires_at, valid_from = claims.get("exp"), claims.get("nbf", 0)
    if not _is_time(expires_at) or not _is_time(valid_from):
        raise Unauthenticated("The JWT needs exp (and may have nbf) as a number of seconds.")
    if valid_from > at + MAX_CLOCK_SKEW:
        raise Unauthenticated("The JWT is not valid yet.", code=1003)
    if expires_at <= at - MAX_CLOCK_SKEW:
        raise Unauthenticated("The JWT has expired.", code=1004)


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
