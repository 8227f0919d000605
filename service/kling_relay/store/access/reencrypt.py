"""Re-encryption: after a new signing key came first, bring every stored secret under it.

Hooks have no secret of their own, and most subscriptions no headers: rows without one are not read, however many.

Each row is changed by compare-and-set, so it can run beside a working service, be stopped, and be run again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Column, ColumnElement, LargeBinary, Table, Uuid, bindparam, func, select, update
from sqlalchemy.types import Integer

from kling_relay.store import tables
from kling_relay.store.access import subscription_headers
from kling_relay.store.access.encryption import DecryptionError, Encryptor
from kling_relay.store.access.secrets import associated_data
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement

PAGE = 500
"""Rows read at once."""


@dataclass(slots=True, kw_only=True)
class ReencryptionCounts:
    """How many secrets were already under the newest key, were brought under it, and could not be decrypted."""

    current: int = 0
    reencrypted: int = 0
    undecryptable: int = 0
    outdated: int = 0
    """Under an older key, or an older release's plaintext; counted by `survey` only."""


_NEW = bindparam("new", type_=LargeBinary)


class _SecretColumn:
    """One kind of secret: `page` reads rows in order of id, `change` is a compare-and-set on one row."""

    def __init__(
        self, name: str, table: Table, stored_column: ColumnElement[bytes], changes: Mapping[str, ColumnElement[Any]]
    ) -> None:
        self.name = name
        self.page = Statement(
            select(table.c.id, stored_column.label("stored"))
            .where(table.c.id > bindparam("after", type_=Uuid), func.length(stored_column) > 0)
            .order_by(table.c.id)
            .limit(bindparam("limit", type_=Integer))
        )
        self.change = Statement(
            update(table)
            .values(**changes)
            .where(table.c.id == bindparam("row_id", type_=Uuid), stored_column == bindparam("old", type_=LargeBinary))
        )


def _column(column: Column[bytes]) -> _SecretColumn:
    return _SecretColumn(f"{column.table.name}.{column.name}", column.table, column, {column.name: _NEW})


_COLUMNS = (
    _column(tables.clients.c.hook_secret),
    _column(tables.keys.c.secret),
    _column(tables.subscriptions.c.secrets),
    _SecretColumn(
        subscription_headers.COLUMN,
        tables.subscriptions,
        subscription_headers.STORED,
        {"encrypted_headers": _NEW, "headers": subscription_headers.NO_PLAINTEXT},
    ),
)


async def reencrypt(database: Database, encryptor: Encryptor) -> ReencryptionCounts:
    """Bring every secret under the newest key; count those that cannot be decrypted, and leave them alone."""
    return await _walk(database, encryptor, change=True, limit=None)


async def survey(database: Database, encryptor: Encryptor, limit: int) -> ReencryptionCounts:
    """Count up to about `limit` secrets of each kind, and change nothing."""
    return await _walk(database, encryptor, change=False, limit=limit)


async def _walk(database: Database, encryptor: Encryptor, *, change: bool, limit: int | None) -> ReencryptionCounts:
    counts = ReencryptionCounts()
    for column in _COLUMNS:
        after, read = UUID(int=0), 0
        while rows := await column.page.rows(database.pool, after=after, limit=PAGE):
            for row in rows:
                await _visit(database, encryptor, column, row["id"], row["stored"], counts, change=change)
            after, read = rows[-1]["id"], read + len(rows)
            if limit is not None and read >= limit:
                break
    return counts


async def _visit(
    database: Database,
    encryptor: Encryptor,
    column: _SecretColumn,
    row: UUID,
    stored_bytes: bytes,
    counts: ReencryptionCounts,
    *,
    change: bool,
) -> None:
    try:
        plaintext = (
            stored_bytes
            if subscription_headers.is_plaintext(stored_bytes)
            else encryptor.decrypt(stored_bytes, associated_data(column.name, row))
        )
    except DecryptionError:
        counts.undecryptable += 1
        return
    if not encryptor.is_outdated(stored_bytes):
        counts.current += 1
    elif not change:
        counts.outdated += 1
    else:
        ciphertext = encryptor.encrypt(plaintext, associated_data(column.name, row))
        # if somebody changed the row meanwhile, it is under the newest key already and this updates nothing
        counts.reencrypted += await column.change.run(database.pool, row_id=row, old=stored_bytes, new=ciphertext)
