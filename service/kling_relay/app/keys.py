"""Client keys for operators: create, list and revoke them, and ensure the bootstrap key."""

from datetime import datetime

from kling_relay.app import clock
from kling_relay.core import key as key_core
from kling_relay.core import signature
from kling_relay.core.key import ALL_SCOPES, Scope
from kling_relay.store.access import client_keys, secrets
from kling_relay.store.access.client_keys import KeyRow, NewKey
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.postgres.database import Database, current_time

BOOTSTRAP = "bootstrap"


async def create_key(
    database: Database,
    encryptor: Encryptor,
    name: str,
    *,
    client: str | None = None,
    scopes: frozenset[Scope] = ALL_SCOPES,
    expires_at: datetime | None = None,
) -> str:
    """Create a key and return its text, which is stored only encrypted. `client` defaults to `name`."""
    text = key_core.make_key(clock.new_id(clock.now()), clock.random_bits(key_core.SECRET_BITS))
    await _write(database, encryptor, text, name, client or name, scopes, expires_at)
    return text


async def ensure_bootstrap_key(database: Database, encryptor: Encryptor, text: str) -> None:
    """Create the bootstrap key with all scopes, unless it exists."""
    if await client_keys.by_digest(database, key_core.digest(text)) is None:
        await _write(database, encryptor, text, BOOTSTRAP, BOOTSTRAP, ALL_SCOPES, None)


async def list_keys(database: Database) -> list[KeyRow]:
    """Return all keys."""
    return await client_keys.list_keys(database)


async def revoke_keys(database: Database, name: str) -> int:
    """Revoke the keys with this name or id, and return their number."""
    return len(await client_keys.revoke(database, name, await current_time(database.pool)))


async def _write(
    database: Database,
    encryptor: Encryptor,
    text: str,
    name: str,
    client: str,
    scopes: frozenset[Scope],
    expires_at: datetime | None,
) -> None:
    now = await current_time(database.pool)
    identifier, client_id = key_core.key_id(text), clock.new_id(now)
    hook_secret = signature.new_secret(clock.random_bits(256).to_bytes(32, "big"))
    await client_keys.create(
        database,
        NewKey(
            id=identifier,
            name=name,
            digest=key_core.digest(text),
            secret=secrets.encrypt_key(encryptor, identifier, text),
            scopes=scopes,
            created_at=now,
            expires_at=expires_at,
            client_id=client_id,
            client_name=client,
            hook_secret=secrets.encrypt_hook_secret(encryptor, client_id, hook_secret),
        ),
    )
