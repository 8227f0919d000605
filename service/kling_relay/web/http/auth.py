"""Who asks: a Bearer token, opaque or a JWT signed with a key, becomes a caller; each key has its rate.

Keys are remembered for 4 s, so that revocation holds within 5 s on every process without a database read on each
request; what is unknown is remembered for 1 s. Codes are Kling's: 1001 no token, 1002 no good one, 1003 not yet valid,
1004 expired.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard
from uuid import UUID

import jwt

from kling_relay.core.errors import RateLimited, Unauthenticated
from kling_relay.core.key import MAX_CHARACTERS, MIN_SIGNING_CHARACTERS, Caller, digest, digests_equal
from kling_relay.store.access import client_keys, secrets
from kling_relay.store.access.client_keys import KeyRow
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.postgres.database import Database

REMEMBERED = 4.0
UNKNOWN_REMEMBERED = 1.0
MAX_REMEMBERED = 10_000
SKEW = 5.0
"""Seconds that a client's clock may differ from ours."""
_MAX_JWT = 4096


@dataclass(slots=True)
class _Bucket:
    """What is left of a key's rate, and when that was reckoned."""

    left: float
    at: float


class Authenticator:
    """Knows keys for a moment each; `rate` is requests a second per key, None without limit."""

    def __init__(
        self, database: Database, encryptor: Encryptor, *, rate: float | None = None, burst: int = 100
    ) -> None:
        self._database = database
        self._encryptor = encryptor
        self._rate = rate
        self._burst = burst
        self._clock = asyncio.get_running_loop().time
        self._known: OrderedDict[bytes | UUID, tuple[float, KeyRow | None]] = OrderedDict()
        self._buckets: OrderedDict[UUID, _Bucket] = OrderedDict()
        self._touched: dict[UUID, datetime] = {}

    async def admit(self, authorization: str | None, now: datetime) -> Caller:
        """Return who sends this header. Raises Unauthenticated with Kling's code, StoreUnavailableError."""
        token = _token(authorization)
        if token.count(".") == 2:
            row = await self._by_signature(token, now)
        elif len(token) <= MAX_CHARACTERS:
            row = await self._by_text(token)
        else:
            row = None
        if row is None or row.revoked_at is not None:
            raise Unauthenticated
        if row.expires_at is not None and row.expires_at <= now:
            raise Unauthenticated("This key has expired.", code=1004)
        await self._touch(row.id, now)
        return Caller(client=row.client, key=row.id, scopes=row.scopes, name=row.name)

    def take(self, key: UUID) -> dict[str, str]:
        """Take one request from the key's rate and return the RateLimit headers. Raises RateLimited."""
        if self._rate is None:
            return {}
        at = self._clock()
        bucket = self._buckets.pop(key, None) or _Bucket(self._burst, at)
        self._buckets[key] = bucket
        if len(self._buckets) > MAX_REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.left = min(self._burst, bucket.left + max(0.0, at - bucket.at) * self._rate)
        bucket.at = at
        if bucket.left < 1:
            raise RateLimited(retry_after=(1 - bucket.left) / self._rate)
        bucket.left -= 1
        return self.told(key)

    def told(self, key: UUID) -> dict[str, str]:
        """Return the RateLimit headers of a key as it stands (draft-ietf-httpapi-ratelimit-headers)."""
        if self._rate is None:
            return {}
        window = max(1, round(self._burst / self._rate))
        left = self._buckets[key].left if key in self._buckets else self._burst
        refill = (self._burst - left) / self._rate
        return {
            "RateLimit-Policy": f'"key";q={self._burst};w={window}',
            "RateLimit": f'"key";r={int(left)};t={max(0, round(refill))}',
        }

    async def _by_text(self, token: str) -> KeyRow | None:
        hashed = digest(token)
        row = await self._row(hashed)
        return row if row is not None and digests_equal(row.digest, hashed) else None

    async def _by_signature(self, token: str, now: datetime) -> KeyRow | None:
        """Return the key that signed this JWT; its times are judged only once the signature holds."""
        claims = _claims(token, None)
        try:
            identifier = UUID(str(claims.get("iss")))
        except ValueError:
            return None
        row = await self._row(identifier)
        if row is None:
            return None
        secret = secrets.decrypt_key(self._encryptor, row.id, row.secret)
        if len(secret.encode()) < MIN_SIGNING_CHARACTERS:
            raise Unauthenticated(f"A key of fewer than {MIN_SIGNING_CHARACTERS} bytes signs no JWT.")
        _judge_times(_claims(token, secret), now)
        return row

    async def _row(self, name: bytes | UUID) -> KeyRow | None:
        at = self._clock()
        known = self._known.get(name)
        if known is not None and known[0] > at:
            return known[1]
        row = await (
            client_keys.by_id(self._database, name)
            if isinstance(name, UUID)
            else client_keys.by_digest(self._database, name)
        )
        self._known[name] = (at + (UNKNOWN_REMEMBERED if row is None else REMEMBERED), row)
        self._known.move_to_end(name)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return row

    async def _touch(self, key: UUID, now: datetime) -> None:
        """Note the key's use, at most once a minute here (and by the statement's own condition everywhere)."""
        last = self._touched.get(key)
        if last is not None and now - last < client_keys.TOUCH_EVERY:
            return
        if len(self._touched) > MAX_REMEMBERED:
            self._touched.clear()
        self._touched[key] = now
        await client_keys.touch(self._database, [key], now)


def _token(authorization: str | None) -> str:
    if not authorization or not authorization.strip():
        raise Unauthenticated('No key was sent. Send it as "Authorization: Bearer <key>".', code=1001)
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    return token


def _claims(token: str, secret: str | None) -> dict[str, Any]:
    """Return a JWT's claims, verified where a secret is given; times are not judged here."""
    unjudged: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
    if len(token) > _MAX_JWT:
        raise Unauthenticated
    try:
        if secret is None:
            unjudged["verify_signature"] = False
            return jwt.decode(token, options=unjudged)
        return jwt.decode(token, secret, algorithms=["HS256"], options=unjudged)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Unauthenticated from None


def _judge_times(claims: dict[str, Any], now: datetime) -> None:
    at = now.timestamp()
    until, since = claims.get("exp"), claims.get("nbf", 0)
    if not _is_time(until) or not _is_time(since):
        raise Unauthenticated("The JWT needs exp (and may have nbf) as a number of seconds.")
    if since > at + SKEW:
        raise Unauthenticated("The JWT is not valid yet.", code=1003)
    if until <= at - SKEW:
        raise Unauthenticated("The JWT has expired.", code=1004)


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
