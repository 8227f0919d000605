"""What was ordered and charged, from the ledger: grouped by time, by what was ordered, or by key.

A group's counts are of ledger entries in the time asked for: a task counts as ordered when it was reserved, and as
succeeded or failed when that was booked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, Uuid, bindparam, cast, func, literal_column, select

from service.store.database import Database
from service.store.schema import Time, ledger, tasks
from service.store.statement import Statement

_IN_UTC = func.timezone(literal_column("'UTC'"), ledger.c.at)
BY: dict[str, ColumnElement[str]] = {
    "day": func.to_char(_IN_UTC, literal_column("'YYYY-MM-DD'")),
    "month": func.to_char(_IN_UTC, literal_column("'YYYY-MM'")),
    "kind": tasks.c.kind,
    "model": tasks.c.model,
    "mode": tasks.c.mode,
    "key": cast(ledger.c.key, Text),
    "currency": ledger.c.currency,
}
"""What usage can be grouped by."""
_OF_TASK = frozenset({"kind", "model", "mode"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One group; `reserved` is what is still open of what was reserved in it."""

    by: dict[str, str | None]
    currency: str
    tasks: int
    succeeded: int
    failed: int
    reserved: Decimal
    charged: Decimal


@cache
def _statement(by: tuple[str, ...]) -> Statement:
    groups = [BY[name].label(name) for name in by]

    def entries(word: str) -> ColumnElement[int]:
        return func.count().filter(ledger.c.entry == literal_column(f"'{word}'"))

    chosen = select(
        *groups,
        ledger.c.currency.label("unit"),
        entries("reserve").label("tasks"),
        entries("settle").label("succeeded"),
        entries("release").label("failed"),
        func.sum(ledger.c.reserved).label("reserved"),
        func.sum(ledger.c.charged).label("charged"),
    ).where(
        ledger.c.client == bindparam("client", type_=Uuid),
        ledger.c.at >= bindparam("since", type_=Time),
        ledger.c.at < bindparam("until", type_=Time),
    )
    if _OF_TASK & set(by):
        chosen = chosen.select_from(ledger).outerjoin(tasks, tasks.c.id == ledger.c.task)
    keys: list[ColumnElement[Any]] = [literal_column(str(place)) for place in range(1, len(groups) + 2)]
    return Statement(chosen.group_by(*keys).order_by(*keys))


async def usage(database: Database, client: UUID, by: Sequence[str], since: datetime, until: datetime) -> list[Line]:
    """Return a client's usage in [since, until), grouped by names of `BY`."""
    names = tuple(dict.fromkeys(by))
    rows = await _statement(names).rows(database.pool, client=client, since=since, until=until)
    return [
        Line(
            by={name: row[name] for name in names},
            currency=row["unit"],
            tasks=row["tasks"],
            succeeded=row["succeeded"],
            failed=row["failed"],
            reserved=row["reserved"],
            charged=row["charged"],
        )
        for row in rows
    ]
