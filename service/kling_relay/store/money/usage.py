"""What was ordered and charged, from the ledger alone: grouped by time, by what was ordered, by key or by client.

A group's counts are of ledger entries in the time asked for: a task counts as ordered when it was reserved, and as
succeeded or failed when that was booked (one that succeeded after it was given up, as both). What was ordered stands
in each task's reserve, so that usage outlives the tasks.
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

from kling_relay.core.money import plain
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement
from kling_relay.store.tables import Time, clients, ledger

_reserve = ledger.alias("reserve")
"""The entry that says what was ordered."""
_IN_UTC = func.timezone(literal_column("'UTC'"), ledger.c.at)
BY: dict[str, ColumnElement[str]] = {
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
def _statement(by: tuple[str, ...], *, of_all: bool) -> Statement:
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
    ).where(ledger.c.at >= bindparam("since", type_=Time), ledger.c.at < bindparam("until", type_=Time))
    if not of_all:
        chosen = chosen.where(ledger.c.client == bindparam("client", type_=Uuid))
    source: FromClause = ledger
    if _OF_ORDER & set(by):
        is_its = and_(_reserve.c.task == ledger.c.task, _reserve.c.entry == literal_column("'reserve'"))
        source = source.outerjoin(_reserve, is_its)
    if "client" in by:
        source = source.outerjoin(clients, clients.c.id == ledger.c.client)
    chosen = chosen.select_from(source)
    keys: list[ColumnElement[Any]] = [literal_column(str(place)) for place in range(1, len(groups) + 2)]
    return Statement(chosen.group_by(*keys).order_by(*keys))


async def usage(
    database: Database, client: UUID | None, by: Sequence[str], since: datetime, until: datetime
) -> list[Line]:
    """Return the usage of a client, or of all of them (None), in [since, until), grouped by names of `BY`."""
    names = tuple(dict.fromkeys(by))
    given: dict[str, Any] = {"since": since, "until": until}
    if client is None:
        rows = await _statement(names, of_all=True).rows(database.pool, **given)
    else:
        rows = await _statement(names, of_all=False).rows(database.pool, **given, client=client)
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


FIGURES = ("tasks", "succeeded", "failed", "reserved", "charged")


def figures(line: Line) -> dict[str, Any]:
    """Return a line's figures as JSON; amounts are text."""
    return {
        "currency": line.currency,
        "tasks": line.tasks,
        "succeeded": line.succeeded,
        "failed": line.failed,
        "reserved": plain(line.reserved),
        "charged": plain(line.charged),
    }


def sheet(lines: Sequence[Line], by: Sequence[str]) -> str:
    """Return the lines as CSV (RFC 4180), with a head; a text that a spreadsheet would reckon with is quoted by '."""
    names = list(dict.fromkeys(by))
    written = io.StringIO()
    rows = csv.writer(written)
    groups = [name for name in names if name != "currency"]
    rows.writerow([*groups, "currency", *FIGURES])
    for line in lines:
        shown = figures(line)
        texts = [_inert(line.by[name] or "") for name in groups]
        rows.writerow([*texts, _inert(line.currency), *(shown[name] for name in FIGURES)])
    return written.getvalue()


def _inert(text: str) -> str:
    return f"'{text}" if text[:1] in set("=+-@\t\r") else text
