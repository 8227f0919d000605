"""Client keys from the operator's side: made, listed, revoked, and the bootstrap key ensured."""

from datetime import datetime

from service.app import sources
from service.core import key as key_core
from service.core import signature
from service.core.key import ALL_SCOPES, Scope
from service.store import keys, secrets
from service.store.database import Database
from service.store.keys import KeyRow, NewKey
from service.store.seal import Sealer

BOOTSTRAP = "bootstrap"


async def create(
    database: Database,
    sealer: Sealer,
    name: str,
    *,
    client: str | None = None,
    scopes: frozenset[Scope] = ALL_SCOPES,
    expires_at: datetime | None = None,
) -> str:
    """Make a key and return its text, which is kept nowhere in the clear; its client is `name` where none is said."""
    text = key_core.make(sources.new_id(sources.now()), sources.bits(key_core.CHANCE_BITS))
    await _write(database, sealer, text, name, client or name, scopes, expires_at)
    return text


async def ensure(database: Database, sealer: Sealer, text: str) -> None:
    """Make sure that the bootstrap key is there, with all scopes."""
    if await keys.by_digest(database, key_core.digest(text)) is None:
        await _write(database, sealer, text, BOOTSTRAP, BOOTSTRAP, ALL_SCOPES, None)


async def everyone(database: Database) -> list[KeyRow]:
    """Return all keys."""
    return await keys.everyone(database)


async def revoke(database: Database, name: str) -> int:
    """Revoke the keys of this name or id, and return how many were."""
    return len(await keys.revoke(database, name, sources.now()))


async def _write(
    database: Database,
    sealer: Sealer,
    text: str,
    name: str,
    client: str,
    scopes: frozenset[Scope],
    expires_at: datetime | None,
) -> None:
    now = sources.now()
    identifier, client_id = key_core.id_of(text), sources.new_id(now)
    hook_secret = signature.new_secret(sources.bits(256).to_bytes(32, "big"))
    await keys.create(
        database,
        NewKey(
            id=identifier,
            name=name,
            digest=key_core.digest(text),
            secret=secrets.seal_key(sealer, identifier, text),
            scopes=scopes,
            created_at=now,
            expires_at=expires_at,
            client_id=client_id,
            client_name=client,
            hook_secret=secrets.seal_hook_secret(sealer, client_id, hook_secret),
        ),
    )
