"""The event log, read in the order of the transactions that wrote it, so that a cursor never skips an event.

A transaction that still runs may yet write events that come before visible ones, so only events below the oldest
running transaction (the horizon) are served. A task's events are in the order of their sequence, because each step is
written by a younger transaction than the step before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from kling_relay.core.ids import MAX_ID, MIN_ID
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Row, Statement, columns_of
from kling_relay.store.postgres.tx_numbers import OLDEST_TX, THIS_TX

WINDOW = 5_000
"""Events that a search for some types looks at in one statement, so that rare types do not hold a connection."""
_MAX_SEQUENCE = 2**15 - 1


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the log: just after the event that it names."""

    tx: int
    subject: UUID
    sequence: int

    @property
    def text(self) -> str:
        return f"{self.tx}-{self.subject.hex}-{self.sequence}"


START = Cursor(0, MIN_ID, 0)
"""Before the first event of all."""


def read_cursor(text: str) -> Cursor | None:
    """Return the cursor that a text names ("0" is the start), or None if it is malformed."""
    if text == "0":
        return START
    parts = text.split("-")
    if len(parts) != 3 or not (parts[0].isascii() and parts[0].isdigit() and parts[2].isascii() and parts[2].isdigit()):
        return None
    try:
        cursor = Cursor(int(parts[0]), UUID(parts[1]), int(parts[2]))
    except ValueError:
        return None
    return cursor if cursor.tx < 2**63 and cursor.sequence <= _MAX_SEQUENCE and cursor.text == text else None


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
    """Some events, oldest first; `after` is where to go on, None at the end of the log.

    If few events are of the types asked for, a slice may be short or even empty, and yet go on.
    """

    events: list[LoggedEvent]
    after: Cursor | None


EVENT_TX = f"{THIS_TX} + :tx_offset::bigint"
"""The number under which this transaction writes events, in SQL."""
HORIZON = f"{OLDEST_TX} + :tx_offset::bigint"
"""The number below which every transaction has ended, in SQL."""

COLUMNS = "client, tx, subject, sequence, type, at, body"
"""The columns of an event that `event_from_row` needs."""
_AFTER_CURSOR = (
    "client = :client::uuid AND (:tx::bigint, :subject::uuid, :sequence::smallint) < (tx, subject, sequence) "
    f"AND tx < {HORIZON}"
)
_SQL = load_sql(__name__, event=COLUMNS, after_cursor=_AFTER_CURSOR, horizon=HORIZON)
_EVENT = Statement(_SQL["get_event"])
_AFTER = Statement(_SQL["list_after"])
_AFTER_OF_TASK = Statement(_SQL["list_after_of_task"])
_AFTER_OF_TYPES = Statement(_SQL["list_after_of_types"])
_AFTER_MANY = Statement(_SQL["list_after_many"])
_HORIZON = Statement(_SQL["read_horizon"])


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
    window: int = WINDOW,
) -> EventSlice:
    """Return up to `limit` events of the client after `cursor`; if given, only those of these types or this task."""
    arguments: dict[str, Any] = {
        "client": client,
        "tx": cursor.tx,
        "subject": cursor.subject,
        "sequence": cursor.sequence,
        "limit": limit + 1,
        "tx_offset": database.tx_offset,
    }
    window_end = None
    if task is not None:
        rows = await _AFTER_OF_TASK.rows(database.reports, task=task, types=types, **arguments)
    elif types is not None:
        rows = await _AFTER_OF_TYPES.rows(database.reports, types=types, window=window, **arguments)
        window_end = event_from_row(rows.pop()).at if rows and rows[-1]["is_end"] else None
    else:
        rows = await _AFTER.rows(database.reports, **arguments)
    events = [event_from_row(row) for row in rows[:limit]]
    return EventSlice(events, events[-1].at if len(rows) > limit else window_end)


async def after_many(database: Database, cursors: Mapping[UUID, Cursor], limit: int) -> list[LoggedEvent]:
    """Return up to `limit` events of each client after its cursor, each client's in order; one statement for all."""
    arrays = columns_of(
        "cursor",
        ["client", "tx", "subject", "sequence"],
        [(client, cursor.tx, cursor.subject, cursor.sequence) for client, cursor in cursors.items()],
    )
    rows = await _AFTER_MANY.rows(database.pool, limit=limit, tx_offset=database.tx_offset, **arrays)
    return [event_from_row(row) for row in rows]


async def head(database: Database) -> Cursor:
    """Return the log's end: whatever cannot be read yet, or is not written yet, comes after it."""
    tx: int = await _HORIZON.scalar(database.pool, tx_offset=database.tx_offset)
    return Cursor(tx - 1, MAX_ID, _MAX_SEQUENCE)


def event_from_row(row: Row) -> LoggedEvent:
    """Return the event of a row with `COLUMNS`."""
    return LoggedEvent(
        at=Cursor(row["tx"], row["subject"], row["sequence"]),
        client=row["client"],
        type=row["type"],
        written_at=row["at"],
        body=row["body"],
    )
