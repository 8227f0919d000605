"""What was ordered and charged, from the ledger alone: grouped by time, by what was ordered, by key or by client.

A group counts ledger entries in the time asked for. A task counts as ordered when it was reserved, and as succeeded or
failed when that was booked; one that succeeded after its deadline counts as both. The `reserve` entry says what was
ordered, so usage outlives the tasks.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Text, Uuid, and_, bindparam, cast, func, literal_column, select

from kling_relay.core.money import format_amount
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement
from kling_relay.store.tables import Time, clients, ledger

_reserve = ledger.alias("reserve")
"""The entry that says what was ordered."""
_IN_UTC = func.timezone(literal_column("'UTC'"), ledger.c.at)
GROUPINGS: dict[str, ColumnElement[str]] = {
    "day": func.to_char(_IN_UTC, literal_column("'YYYY-MM-DD'")),
    "month": func.to_char(_IN_UTC, literal_column("'YYYY-MM'")),
    "kind": _reserve.c.kind,
    "model": _reserve.c.model,
    "mode": _reserve.c.mode,
    "key": cast(ledger.c.key, Text),
    "client": clients.c.name,
    "currency": ledger.c.currency,
}
"""What usage can be grouped by."""
_OF_ORDER = frozenset({"kind", "model", "mode"})
COLUMNS = ("tasks", "succeeded", "failed", "reserved", "charged")


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageGroup:
    """The counts and amounts of one group; `by` has its value of each grouping, `reserved` is what is still open."""

    by: dict[str, str | None]
    currency: str
    tasks: int
    succeeded: int
    failed: int
    reserved: Decimal
    charged: Decimal


@cache
def _statement(by: tuple[str, ...], *, of_all: bool) -> Statement:
    groups = [GROUPINGS[name].label(name) for name in by]

    def count(entry: str) -> ColumnElement[int]:
        return func.count().filter(ledger.c.entry == literal_column(f"'{entry}'"))

    query = select(
        *groups,
        ledger.c.currency.label("unit"),
        count("reserve").label("tasks"),
        count("settle").label("succeeded"),
        count("release").label("failed"),
        func.sum(ledger.c.reserved).label("reserved"),
        func.sum(ledger.c.charged).label("charged"),
    ).where(ledger.c.at >= bindparam("since", type_=Time), ledger.c.at < bindparam("until", type_=Time))
    if not of_all:
        query = query.where(ledger.c.client == bindparam("client", type_=Uuid))
    source: FromClause = ledger
    if _OF_ORDER & set(by):
        same_task = and_(_reserve.c.task == ledger.c.task, _reserve.c.entry == literal_column("'reserve'"))
        source = source.outerjoin(_reserve, same_task)
    if "client" in by:
        source = source.outerjoin(clients, clients.c.id == ledger.c.client)
    query = query.select_from(source)
    positions: list[ColumnElement[Any]] = [literal_column(str(number)) for number in range(1, len(groups) + 2)]
    return Statement(query.group_by(*positions).order_by(*positions))


async def usage(
    database: Database, client: UUID | None, by: Sequence[str], since: datetime, until: datetime
) -> list[UsageGroup]:
    """Return the usage of a client, or of all clients (None), in [since, until), grouped by names of GROUPINGS."""
    names = tuple(dict.fromkeys(by))
    arguments: dict[str, Any] = {"since": since, "until": until}
    if client is not None:
        arguments["client"] = client
    rows = await _statement(names, of_all=client is None).rows(database.reports, **arguments)
    return [
        UsageGroup(
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


def to_json(group: UsageGroup) -> dict[str, Any]:
    """Return a group's currency, counts and amounts as JSON; amounts are text."""
    return {
        "currency": group.currency,
        "tasks": group.tasks,
        "succeeded": group.succeeded,
        "failed": group.failed,
        "reserved": format_amount(group.reserved),
        "charged": format_amount(group.charged),
    }


def to_csv(groups: Sequence[UsageGroup], by: Sequence[str]) -> str:
    """Return the groups as CSV (RFC 4180) with a header; text that a spreadsheet would evaluate gets a `'` in front."""
    text = io.StringIO()
    writer = csv.writer(text)
    names = [name for name in dict.fromkeys(by) if name != "currency"]
    writer.writerow([*names, "currency", *COLUMNS])
    for group in groups:
        values = to_json(group)
        texts = [_inert(group.by[name] or "") for name in names]
        writer.writerow([*texts, _inert(group.currency), *(values[name] for name in COLUMNS)])
    return text.getvalue()


def _inert(text: str) -> str:
    return f"'{text}" if text[:1] in set("=+-@\t\r") else text
