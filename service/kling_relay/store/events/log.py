"""The log of events, read in the order of the transactions that wrote them, so that a cursor never skips one.

A transaction that is still running may yet write events before those that are visible; so only what lies below the
oldest running one is served. A task's events are in the order of their sequence, because each step is written by a
transaction younger than the one before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    SmallInteger,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Row, Statement, columns_of, unnested
from kling_relay.store.postgres.transactions import OLDEST_TX, THIS_TX
from kling_relay.store.tables import events

WINDOW = 5_000
"""So many events are looked at for their types at once, so that rare ones hold no connection."""
_MAX_SEQUENCE = 2**15 - 1
_LAST = UUID(int=(1 << 128) - 1)


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the log: behind the event that it names."""

    tx: int
    subject: UUID
    sequence: int

    @property
    def text(self) -> str:
        return f"{self.tx}-{self.subject.hex}-{self.sequence}"


START = Cursor(0, UUID(int=0), 0)
"""Before the first event of all."""


def read_cursor(text: str) -> Cursor | None:
    """Return the cursor that a text names ("0" is the start), or None where it is none."""
    if text == "0":
        return START
    parts = text.split("-")
    if len(parts) != 3 or not (parts[0].isascii() and parts[0].isdigit() and parts[2].isascii() and parts[2].isdigit()):
        return None
    try:
        found = Cursor(int(parts[0]), UUID(parts[1]), int(parts[2]))
    except ValueError:
        return None
    return found if found.tx < 2**63 and found.sequence <= _MAX_SEQUENCE and found.text == text else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    """An event as the log has it; `body` is what format `standard` sends."""

    at: Cursor
    client: UUID
    type: str
    written_at: datetime
    body: bytes


@dataclass(frozen=True, slots=True)
class EventSlice:
    """Some events, oldest first; `after` is where to go on, None where the log ended.

    Where few events are of the types asked for, a slice may be short, even empty, and yet go on.
    """

    events: list[LoggedEvent]
    after: Cursor | None


EVENT_TX = f"{THIS_TX} + :tx_offset::bigint"
"""The number under which this transaction writes events, in SQL."""
HORIZON = f"{OLDEST_TX} + :tx_offset::bigint"
"""The number below which every transaction has ended, in SQL."""


def this_tx() -> ColumnElement[int]:
    """Return the number under which this transaction writes events."""
    return cast(cast(func.pg_current_xact_id(), Text), BigInteger) + bindparam("tx_offset", type_=BigInteger)


def head_tx() -> ColumnElement[int]:
    """Return the number below which every transaction has ended."""
    xmin = func.pg_snapshot_xmin(func.pg_current_snapshot())
    return cast(cast(xmin, Text), BigInteger) + bindparam("tx_offset", type_=BigInteger)


COLUMNS = (
    events.c.client,
    events.c.tx,
    events.c.subject,
    events.c.sequence,
    events.c.type,
    events.c.at,
    events.c.body,
)
_PLACE = tuple_(events.c.tx, events.c.subject, events.c.sequence)
_CLIENT = bindparam("client", type_=Uuid)
_MAX = bindparam("limit", type_=BigInteger)


def _behind() -> list[ColumnElement[bool]]:
    """Return what holds for a client's events behind a cursor that may be told."""
    given = tuple_(
        bindparam("tx", type_=BigInteger),
        bindparam("subject", type_=Uuid),
        bindparam("sequence", type_=SmallInteger),
    )
    return [events.c.client == _CLIENT, given < _PLACE, events.c.tx < head_tx()]


def _after(*more: ColumnElement[bool]) -> Statement:
    chosen = select(*COLUMNS).where(*_behind(), *more)
    return Statement(chosen.order_by(events.c.tx, events.c.subject, events.c.sequence).limit(_MAX))


def _after_of_types() -> Statement:
    """Look at a window of events, and return those of the types with the window's last one, where it was full.

    One statement, because an edge that was found a moment later could lie behind events that nobody looked at.
    """
    near = (
        select(events.c.tx, events.c.subject, events.c.sequence, events.c.type)
        .where(*_behind())
        .order_by(events.c.tx, events.c.subject, events.c.sequence)
        .limit(bindparam("window", type_=BigInteger))
        .cte("near")
    )
    order = (near.c.tx, near.c.subject, near.c.sequence)
    hits = (
        select(near)
        .where(near.c.type == any_(bindparam("types", type_=ARRAY(Text))))
        .order_by(*order)
        .limit(_MAX)
        .subquery("hits")
    )
    edge = (
        select(near)
        .order_by(*order)
        .offset(bindparam("window", type_=BigInteger) - literal_column("1"))
        .limit(literal_column("1"))
        .subquery("edge")
    )
    found = select(hits, literal_column("false").label("is_edge"))
    both = union_all(found, select(edge, literal_column("true"))).subquery("both")
    event = (
        select(events.c.client, events.c.at, events.c.body)
        .where(events.c.subject == both.c.subject, events.c.sequence == both.c.sequence)
        .lateral("event")
    )
    return Statement(
        select(both, event)
        .select_from(both.join(event, true()))
        .order_by(both.c.is_edge, both.c.tx, both.c.subject, both.c.sequence)
    )


def _after_many() -> Statement:
    place = unnested("place", client=Uuid, tx=BigInteger, subject=Uuid, sequence=SmallInteger)
    newer = (
        select(*COLUMNS)
        .where(
            events.c.client == place.c.client,
            tuple_(place.c.tx, place.c.subject, place.c.sequence) < _PLACE,
            events.c.tx < head_tx(),
        )
        .order_by(events.c.tx, events.c.subject, events.c.sequence)
        .limit(_MAX)
        .lateral("newer")
    )
    return Statement(select(newer).select_from(place).join(newer, true()))


_EVENT = Statement(
    select(*COLUMNS).where(
        events.c.subject == bindparam("subject", type_=Uuid),
        events.c.sequence == bindparam("sequence", type_=SmallInteger),
        events.c.client == _CLIENT,
    )
)
_TYPES = bindparam("types", type_=ARRAY(Text))
_AFTER = _after()
_AFTER_OF_TASK = _after(
    events.c.subject == bindparam("task", type_=Uuid), or_(_TYPES.is_(None), events.c.type == any_(_TYPES))
)
_AFTER_OF_TYPES = _after_of_types()
_AFTER_MANY = _after_many()
_HEAD = Statement(select(head_tx()))


async def event(database: Database, client: UUID, subject: UUID, sequence: int) -> LoggedEvent | None:
    """Return one event of the client's, or None."""
    row = await _EVENT.row(database.pool, client=client, subject=subject, sequence=sequence)
    return None if row is None else event_from_row(row)


async def after(
    database: Database,
    client: UUID,
    cursor: Cursor,
    limit: int,
    *,
    types: Sequence[str] | None = None,
    task: UUID | None = None,
) -> EventSlice:
    """Return up to `limit` events of the client behind `cursor`, of these types and of this task where given."""
    given: dict[str, Any] = {
        "client": client,
        "tx": cursor.tx,
        "subject": cursor.subject,
        "sequence": cursor.sequence,
        "limit": limit + 1,
        "tx_offset": database.tx_offset,
    }
    edge = None
    if task is not None:
        rows = await _AFTER_OF_TASK.rows(database.pool, task=task, types=types, **given)
    elif types is not None:
        rows = await _AFTER_OF_TYPES.rows(database.pool, types=types, window=WINDOW, **given)
        edge = event_from_row(rows.pop()).at if rows and rows[-1]["is_edge"] else None
    else:
        rows = await _AFTER.rows(database.pool, **given)
    found = [event_from_row(row) for row in rows[:limit]]
    return EventSlice(found, found[-1].at if len(rows) > limit else edge)


async def after_many(database: Database, places: Mapping[UUID, Cursor], limit: int) -> list[LoggedEvent]:
    """Return up to `limit` events of each client behind its cursor, each client's in order; one statement for all."""
    rows = [(client, at.tx, at.subject, at.sequence) for client, at in places.items()]
    arrays = columns_of("place", ["client", "tx", "subject", "sequence"], rows)
    found = await _AFTER_MANY.rows(database.pool, limit=limit, tx_offset=database.tx_offset, **arrays)
    return [event_from_row(row) for row in found]


async def head(database: Database) -> Cursor:
    """Return the log's end: what is not yet readable, or not yet written, lies behind it."""
    tx: int = await _HEAD.scalar(database.pool, tx_offset=database.tx_offset)
    return Cursor(tx - 1, _LAST, _MAX_SEQUENCE)


def event_from_row(row: Row) -> LoggedEvent:
    return LoggedEvent(
        at=Cursor(row["tx"], row["subject"], row["sequence"]),
        client=row["client"],
        type=row["type"],
        written_at=row["at"],
        body=row["body"],
    )
