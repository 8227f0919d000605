"""Sealing anew: after a new key came in front of the old ones, every secret at rest is brought under it.

Row by row and by compare-and-set, so it runs beside a working service and can be stopped and run again at any time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Column, ColumnElement, LargeBinary, Table, Uuid, bindparam, select, update
from sqlalchemy.types import Integer

from kling_relay.store import tables
from kling_relay.store.access import headers
from kling_relay.store.access.encryption import Sealer, SealError
from kling_relay.store.access.secrets import context
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement

PAGE = 500
"""Rows that are read at once."""


@dataclass(slots=True, kw_only=True)
class Seals:
    """What was found: secrets under the newest key, brought under it just now, and such as no key opens."""

    current: int = 0
    renewed: int = 0
    lost: int = 0
    stale: int = 0
    """Under an older key still, or in the clear as an older release left it: those that were only looked at."""


_ANEW = bindparam("anew", type_=LargeBinary)


class _Sealed:
    """One kind of secret: how it is read on from an id, and changed unless somebody else did."""

    def __init__(
        self, name: str, table: Table, kept: ColumnElement[bytes], changed: Mapping[str, ColumnElement[Any]]
    ) -> None:
        self.name = name
        self.page = Statement(
            select(table.c.id, kept.label("sealed"))
            .where(table.c.id > bindparam("last", type_=Uuid))
            .order_by(table.c.id)
            .limit(bindparam("limit", type_=Integer))
        )
        self.change = Statement(
            update(table)
            .values(**changed)
            .where(table.c.id == bindparam("of", type_=Uuid), kept == bindparam("sealed", type_=LargeBinary))
        )


def _column(column: Column[bytes]) -> _Sealed:
    return _Sealed(f"{column.table.name}.{column.name}", column.table, column, {column.name: _ANEW})


_COLUMNS = (
    _column(tables.clients.c.hook_secret),
    _column(tables.keys.c.secret),
    _column(tables.subscriptions.c.secrets),
    _Sealed(
        headers.NAME,
        tables.subscriptions,
        headers.KEPT,
        {"sealed_headers": _ANEW, "headers": headers.NONE_IN_CLEAR},
    ),
)


async def reseal(database: Database, sealer: Sealer) -> Seals:
    """Bring every secret under the newest key; what no key opens is counted and left alone."""
    return await _walk(database, sealer, change=True, limit=None)


async def survey(database: Database, sealer: Sealer, limit: int) -> Seals:
    """Look at up to `limit` secrets of each kind and change nothing."""
    return await _walk(database, sealer, change=False, limit=limit)


async def _walk(database: Database, sealer: Sealer, *, change: bool, limit: int | None) -> Seals:
    found = Seals()
    for column in _COLUMNS:
        last, seen = UUID(int=0), 0
        while rows := await column.page.rows(database.pool, last=last, limit=PAGE):
            for row in rows:
                await _one(database, sealer, column, row["id"], row["sealed"], found, change=change)
            last, seen = rows[-1]["id"], seen + len(rows)
            if limit is not None and seen >= limit:
                break
    return found


async def _one(
    database: Database, sealer: Sealer, column: _Sealed, row: UUID, sealed: bytes, found: Seals, *, change: bool
) -> None:
    if not sealed:  # a hook of an order has no secret of its own, and few subscriptions have headers
        return
    try:
        plain = sealed if headers.is_clear(sealed) else sealer.open(sealed, context(column.name, row))
    except SealError:
        found.lost += 1
        return
    if not sealer.is_stale(sealed):
        found.current += 1
    elif not change:
        found.stale += 1
    else:
        anew = sealer.seal(plain, context(column.name, row))
        # where it was changed meanwhile, by a rotation or by another reseal, it is under a key given now
        found.renewed += await column.change.run(database.pool, of=row, sealed=sealed, anew=anew)
