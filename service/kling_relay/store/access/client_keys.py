"""Clients and their keys: a digest to look a key up by, and its ciphertext, because JWTs are verified with it.

A client is created with its first key, together with the secret that signs its hooks. Keys are revoked, never deleted,
so that tasks and the ledger can always name the key that ordered them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ARRAY, Interval, Text, Uuid, any_, bindparam, cast, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from kling_relay.core.key import Scope
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Row, Statement
from kling_relay.store.tables import Time, clients, keys

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


def _insert_client() -> Statement:
    made = insert(clients).values(
        id=bindparam("client_id", type_=Uuid),
        name=bindparam("client_name", type_=Text),
        hook_secret=bindparam("hook_secret"),
        created_at=bindparam("at", type_=Time),
    )
    # the update changes nothing; it makes RETURNING give the id of an existing row
    return Statement(
        made.on_conflict_do_update(index_elements=[clients.c.name], set_={"name": made.excluded.name}).returning(
            clients.c.id
        )
    )


def _insert_key() -> Statement:
    made = insert(keys).values(
        id=bindparam("key_id", type_=Uuid),
        client=bindparam("of_client", type_=Uuid),
        name=bindparam("key_name", type_=Text),
        digest=bindparam("key_digest"),
        secret=bindparam("key_secret"),
        scopes=bindparam("key_scopes", type_=ARRAY(Text)),
        created_at=bindparam("at", type_=Time),
        expires_at=bindparam("until", type_=Time),
    )
    # only the bootstrap key can exist already; with another text it is the operator's new choice
    return Statement(
        made.on_conflict_do_update(
            index_elements=[keys.c.id], set_={"digest": made.excluded.digest, "secret": made.excluded.secret}
        ).returning(keys.c.id)
    )


_CLIENT = _insert_client()
_KEY = _insert_key()
_ROWS = select(
    keys.c.id,
    keys.c.client,
    clients.c.name.label("client_name"),
    keys.c.name,
    keys.c.scopes,
    keys.c.created_at,
    keys.c.expires_at,
    keys.c.last_used_at,
    keys.c.revoked_at,
    keys.c.digest,
    keys.c.secret,
).join(clients, clients.c.id == keys.c.client)
_BY_DIGEST = Statement(_ROWS.where(keys.c.digest == bindparam("digest")))
_BY_ID = Statement(_ROWS.where(keys.c.id == bindparam("id", type_=Uuid)))
_LIST = Statement(_ROWS.order_by(keys.c.created_at, keys.c.id))
_REVOKE = Statement(
    update(keys)
    .values(revoked_at=bindparam("at", type_=Time))
    .where(
        or_(keys.c.id == bindparam("key_id", type_=Uuid), keys.c.name == bindparam("key_name", type_=Text)),
        keys.c.revoked_at.is_(None),
    )
    .returning(keys.c.id)
)
_TOUCH = Statement(
    update(keys)
    .values(last_used_at=bindparam("at", type_=Time))
    .where(
        keys.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))),
        or_(
            keys.c.last_used_at.is_(None),
            keys.c.last_used_at < bindparam("at", type_=Time) - cast(bindparam("every"), Interval),
        ),
    )
)
_HOOK_SECRET = Statement(select(clients.c.hook_secret).where(clients.c.id == bindparam("client", type_=Uuid)))
_SET_HOOK_SECRET = Statement(
    update(clients).values(hook_secret=bindparam("ciphertext")).where(clients.c.id == bindparam("client", type_=Uuid))
)


async def create(database: Database, key: NewKey) -> UUID:
    """Write a key, and its client unless one of that name exists; return the client's id."""
    client: UUID = await _CLIENT.scalar(
        database.pool,
        client_id=key.client_id,
        client_name=key.client_name,
        hook_secret=key.hook_secret,
        at=key.created_at,
    )
    await _KEY.run(
        database.pool,
        key_id=key.id,
        of_client=client,
        key_name=key.name,
        key_digest=key.digest,
        key_secret=key.secret,
        key_scopes=sorted(key.scopes),
        at=key.created_at,
        until=key.expires_at,
    )
    return client


async def by_digest(database: Database, digest: bytes) -> KeyRow | None:
    """Return the key with this digest, even if it is revoked or expired."""
    row = await _BY_DIGEST.row(database.pool, digest=digest)
    return None if row is None else _read(row)


async def by_id(database: Database, identifier: UUID) -> KeyRow | None:
    """Return the key with this id, even if it is revoked or expired."""
    row = await _BY_ID.row(database.pool, id=identifier)
    return None if row is None else _read(row)


async def list_keys(database: Database) -> list[KeyRow]:
    """Return every key of every client, oldest first."""
    return [_read(row) for row in await _LIST.rows(database.pool)]


async def revoke(database: Database, name: str, now: datetime) -> list[UUID]:
    """Revoke the key with this id, or every key of this name, and return their ids; they stop working within 5 s."""
    try:
        identifier = UUID(name)
    except ValueError:
        identifier = None
    rows = await _REVOKE.rows(database.pool, key_id=identifier, key_name=name, at=now)
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
    known = frozenset(Scope)
    return KeyRow(**{**row, "scopes": frozenset(Scope(word) for word in row["scopes"] if word in known)})
