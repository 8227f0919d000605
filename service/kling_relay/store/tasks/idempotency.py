"""Idempotency keys: they let a repeated order find the first order's task instead of creating a second.

A key is an Idempotency-Key (`i:…`) or an external_task_id (`e:…`). An order reserves its keys first, in the
transaction that records it: of two equal orders at once, one waits for the other and then finds its task.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import CollisionError, Connection, Statement, columns_of

_TURNS = 5

_SQL = load_sql(__name__)
_RESERVE = Statement(_SQL["reserve"])
_FIND_USED = Statement(_SQL["find_used"])
_RELEASE = Statement(_SQL["release"])


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedKey:
    """The task that a key belongs to, and the fingerprint of its order."""

    task: UUID
    fingerprint: bytes


async def reserve_keys(
    connection: Connection, client: UUID, keys: Sequence[str], task: UUID, fingerprint: bytes
) -> list[UsedKey]:
    """Reserve these keys for `task`; return what they belonged to before, nothing if all were free.

    If something is returned, the transaction must be rolled back: some of the keys may now be reserved. A key that is
    released between the insert and the look-up is tried again. Raises CollisionError if that goes on.
    """
    reserved_count, new_keys = 0, dict.fromkeys(keys, UsedKey(task=task, fingerprint=fingerprint))
    for _ in range(_TURNS):
        reserved_count += await _reserve(connection, client, new_keys)
        if reserved_count == len(keys):
            return []
        taken_keys = await used_keys(connection, client, keys)
        if foreign_keys := [key for key in taken_keys.values() if key.task != task]:
            return foreign_keys
    raise CollisionError("the keys kept being reserved and released by other orders")


async def used_keys(connection: Connection, client: UUID, keys: Iterable[str]) -> dict[str, UsedKey]:
    """Return those of these keys that are reserved, and the task of each."""
    rows = await _FIND_USED.rows(connection, client=client, keys=[*keys])
    return {row["key"]: UsedKey(task=row["task"], fingerprint=row["fingerprint"]) for row in rows}


async def reserve_keys_of_many(connection: Connection, client: UUID, keys: Mapping[str, UsedKey]) -> None:
    """Reserve these keys, each for its task.

    Raises CollisionError if another order reserved one meanwhile; then the transaction must be rolled back.
    """
    if keys and await _reserve(connection, client, keys) < len(keys):
        raise CollisionError("another order reserved a key meanwhile")


async def _reserve(connection: Connection, client: UUID, keys: Mapping[str, UsedKey]) -> int:
    """Reserve those of these keys that are free, each for its task; return how many."""
    rows = [(key, keys[key].task, keys[key].fingerprint) for key in sorted(keys)]
    return await _RESERVE.run(connection, client=client, **columns_of("new", ["key", "task", "fingerprint"], rows))


async def release_keys(database: Database, client: UUID, keys: Sequence[str], task: UUID) -> None:
    """Release the keys of a task that the provider refused."""
    await _RELEASE.run(database.pool, client=client, keys=list(keys), task=task)
