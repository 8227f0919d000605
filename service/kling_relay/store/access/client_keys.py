"""Clients and their keys: a digest to look a key up by, and its ciphertext, because JWTs are verified with it.

A client is created with its first key, together with the secret that signs its hooks. Keys are revoked, never deleted,
so that tasks and the ledger can always name the key that ordered them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from kling_relay.core.key import Scope
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Row, Statement

TOUCH_EVERY = timedelta(minutes=1)
"""A key's last use is written at most this often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key as it is stored; `secret` is its ciphertext."""

    id: UUID
    client: UUID
    client_name: str
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    digest: bytes = field(repr=False)
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key to create; `client_id` and `hook_secret` are used if the client is new. Both secrets are ciphertexts."""

    id: UUID
    name: str
    digest: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    client_id: UUID
    client_name: str
    hook_secret: bytes = field(repr=False)


_SQL = load_sql(__name__)
_INSERT_CLIENT = Statement(_SQL["insert_client"])
_INSERT_KEY = Statement(_SQL["insert_key"])
_KEY_BY_DIGEST = Statement(_SQL["key_by_digest"])
_KEY_BY_ID = Statement(_SQL["key_by_id"])
_LIST_KEYS = Statement(_SQL["list_keys"])
_REVOKE = Statement(_SQL["revoke"])
_TOUCH = Statement(_SQL["touch"])
_HOOK_SECRET = Statement(_SQL["hook_secret"])
_SET_HOOK_SECRET = Statement(_SQL["set_hook_secret"])


async def create(database: Database, key: NewKey) -> UUID:
    """Write a key, and its client unless one of that name exists; return the client's id."""
    client: UUID = await _INSERT_CLIENT.scalar(
        database.pool, id=key.client_id, name=key.client_name, hook_secret=key.hook_secret, created_at=key.created_at
    )
    await _INSERT_KEY.run(
        database.pool,
        id=key.id,
        client=client,
        name=key.name,
        digest=key.digest,
        secret=key.secret,
        scopes=sorted(key.scopes),
        created_at=key.created_at,
        expires_at=key.expires_at,
    )
    return client


async def by_digest(database: Database, digest: bytes) -> KeyRow | None:
    """Return the key with this digest, even if it is revoked or expired."""
    row = await _KEY_BY_DIGEST.row(database.pool, digest=digest)
    return None if row is None else _read(row)


async def by_id(database: Database, identifier: UUID) -> KeyRow | None:
    """Return the key with this id, even if it is revoked or expired."""
    row = await _KEY_BY_ID.row(database.pool, id=identifier)
    return None if row is None else _read(row)


async def list_keys(database: Database) -> list[KeyRow]:
    """Return every key of every client, oldest first."""
    return [_read(row) for row in await _LIST_KEYS.rows(database.pool)]


async def revoke(database: Database, name: str, now: datetime) -> list[UUID]:
    """Revoke the key with this id, or every key of this name, and return their ids; they stop working within 5 s."""
    try:
        identifier = UUID(name)
    except ValueError:
        identifier = None
    rows = await _REVOKE.rows(database.pool, id=identifier, name=name, at=now)
    return [row["id"] for row in rows]


async def touch(database: Database, ids: Sequence[UUID], now: datetime) -> None:
    """Write `last_used_at` of these keys, unless it was written less than TOUCH_EVERY ago."""
    await _TOUCH.run(database.pool, ids=ids, at=now, every=TOUCH_EVERY)


async def hook_secret(database: Database, client: UUID) -> bytes | None:
    """Return the ciphertext of the secret that signs a client's hooks; None if there is no such client."""
    ciphertext: bytes | None = await _HOOK_SECRET.scalar(database.pool, client=client)
    return ciphertext


async def set_hook_secret(database: Database, client: UUID, ciphertext: bytes) -> bool:
    """Replace the ciphertext of the secret that signs a client's hooks; return whether the client exists."""
    return await _SET_HOOK_SECRET.run(database.pool, client=client, ciphertext=ciphertext) == 1


def _read(row: Row) -> KeyRow:
    known_scopes = frozenset(Scope)
    return KeyRow(**{**row, "scopes": frozenset(Scope(word) for word in row["scopes"] if word in known_scopes)})
