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
    or_,
    select,
    true,
    tuple_,
)

from service.store.database import Database
from service.store.schema import callbacks, events, tasks
from service.store.statement import Row, Statement, columns_of, unnested

_MOST_SEQUENCE = 2**15 - 1
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
    return found if found.tx < 2**63 and found.sequence <= _MOST_SEQUENCE and found.text == text else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event as the log has it; `body` is what format `standard` sends."""

    at: Cursor
    client: UUID
    type: str
    written_at: datetime
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the provider said of a task, as it came."""

    received_at: datetime
    source: str
    outcome: str
    body: bytes


def this_tx() -> ColumnElement[int]:
    """Return the number under which this transaction writes events."""
    return cast(cast(func.pg_current_xact_id(), Text), BigInteger) + bindparam("tx_offset", type_=BigInteger)


def head_tx() -> ColumnElement[int]:
    """Return the number below which every transaction has ended."""
    xmin = func.pg_snapshot_xmin(func.pg_current_snapshot())
    return cast(cast(xmin, Text), BigInteger) + bindparam("tx_offset", type_=BigInteger)


_COLUMNS = (
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
_MOST = bindparam("most", type_=BigInteger)


def _after(*, of_task: bool) -> Statement:
    given = tuple_(
        bindparam("tx", type_=BigInteger),
        bindparam("subject", type_=Uuid),
        bindparam("sequence", type_=SmallInteger),
    )
    types = bindparam("types", type_=ARRAY(Text))
    chosen = select(*_COLUMNS).where(
        events.c.client == _CLIENT,
        given < _PLACE,
        events.c.tx < head_tx(),
        or_(types.is_(None), events.c.type == any_(types)),
    )
    if of_task:
        chosen = chosen.where(events.c.subject == bindparam("task", type_=Uuid))
    return Statement(chosen.order_by(events.c.tx, events.c.subject, events.c.sequence).limit(_MOST))


def _after_many() -> Statement:
    place = unnested("place", client=Uuid, tx=BigInteger, subject=Uuid, sequence=SmallInteger)
    news = (
        select(*_COLUMNS)
        .where(
            events.c.client == place.c.client,
            tuple_(place.c.tx, place.c.subject, place.c.sequence) < _PLACE,
            events.c.tx < head_tx(),
        )
        .order_by(events.c.tx, events.c.subject, events.c.sequence)
        .limit(_MOST)
        .lateral("news")
    )
    return Statement(select(news).select_from(place).join(news, true()))


_HISTORY = Statement(
    select(*_COLUMNS)
    .where(events.c.subject == bindparam("task", type_=Uuid), events.c.client == _CLIENT)
    .order_by(events.c.sequence)
)
_CALLBACKS = Statement(
    select(callbacks.c.received_at, callbacks.c.source, callbacks.c.outcome, callbacks.c.body)
    .select_from(tasks)
    .join(callbacks, callbacks.c.task == bindparam("task", type_=Uuid))
    .where(tasks.c.id == bindparam("task", type_=Uuid), tasks.c.client == _CLIENT)
    .order_by(callbacks.c.received_at)
    .limit(_MOST)
)
_EVENT = Statement(
    select(*_COLUMNS).where(
        events.c.subject == bindparam("subject", type_=Uuid),
        events.c.sequence == bindparam("sequence", type_=SmallInteger),
        events.c.client == _CLIENT,
    )
)
_AFTER = _after(of_task=False)
_AFTER_OF_TASK = _after(of_task=True)
_AFTER_MANY = _after_many()
_HEAD = Statement(select(head_tx()))


async def history(database: Database, client: UUID, task: UUID) -> list[Told]:
    """Return every event of the client's task, in order; of another's, none."""
    return [_told(row) for row in await _HISTORY.rows(database.pool, client=client, task=task)]


async def event(database: Database, client: UUID, subject: UUID, sequence: int) -> Told | None:
    """Return one event of the client's, or None."""
    row = await _EVENT.row(database.pool, client=client, subject=subject, sequence=sequence)
    return None if row is None else _told(row)


async def said(database: Database, client: UUID, task: UUID, most: int) -> list[Said]:
    """Return what the provider said of the client's task, oldest first."""
    return [Said(**row) for row in await _CALLBACKS.rows(database.pool, client=client, task=task, most=most)]


async def after(
    database: Database,
    client: UUID,
    cursor: Cursor,
    most: int,
    *,
    types: Sequence[str] | None = None,
    task: UUID | None = None,
) -> list[Told]:
    """Return up to `most` events of the client behind `cursor`, of these types and of this task where given."""
    given: dict[str, Any] = {
        "client": client,
        "tx": cursor.tx,
        "subject": cursor.subject,
        "sequence": cursor.sequence,
        "types": types,
        "most": most,
        "tx_offset": database.tx_offset,
    }
    if task is None:
        rows = await _AFTER.rows(database.pool, **given)
    else:
        rows = await _AFTER_OF_TASK.rows(database.pool, task=task, **given)
    return [_told(row) for row in rows]


async def after_many(database: Database, places: Mapping[UUID, Cursor], most: int) -> list[Told]:
    """Return up to `most` events of each client behind its cursor, each client's in order; one statement for all."""
    rows = [(client, at.tx, at.subject, at.sequence) for client, at in places.items()]
    arrays = columns_of("place", ["client", "tx", "subject", "sequence"], rows)
    found = await _AFTER_MANY.rows(database.pool, most=most, tx_offset=database.tx_offset, **arrays)
    return [_told(row) for row in found]


async def head(database: Database) -> Cursor:
    """Return the log's end: what is not yet readable, or not yet written, lies behind it."""
    tx: int = await _HEAD.scalar(database.pool, tx_offset=database.tx_offset)
    return Cursor(tx - 1, _LAST, _MOST_SEQUENCE)


def _told(row: Row) -> Told:
    return Told(
        at=Cursor(row["tx"], row["subject"], row["sequence"]),
        client=row["client"],
        type=row["type"],
        written_at=row["at"],
        body=row["body"],
    )
