"""Orders being recorded: task, submission and reservation in one statement, before the provider hears of anything.

Orders that carry a word to be repeatable by (an Idempotency-Key, an external_task_id) take it first, in the same
transaction: of two at once one waits for the other and then finds its task.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Interval,
    LargeBinary,
    Numeric,
    SmallInteger,
    Text,
    Uuid,
    any_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from kling_relay.core.ledger import on_record
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import (
    CollisionError,
    Columns,
    Connection,
    Runner,
    Statement,
    columns_of,
    unnested,
)
from kling_relay.store.tables import Time, idempotency_keys, ledger, submissions, tasks


class NewTask(NamedTuple):
    """A checked and priced order, ready to be recorded as a task; its members are the columns of the batch, in turn."""

    id: UUID
    client: UUID
    key: UUID
    created_at: datetime
    kind: str
    model: str
    mode: str | None
    duration: str | None
    units: int
    quote: Decimal
    currency: str
    prices: str
    external_task_id: str | None
    hook: UUID | None
    trace: str | None
    fields: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedKey:
    """These words were used before: for which task, and by an order of which fingerprint."""

    task: UUID
    fingerprint: bytes


_TASK: Columns = {
    "id": Uuid,
    "client": Uuid,
    "key": Uuid,
    "created_at": Time,
    "kind": Text,
    "model": Text,
    "mode": Text,
    "duration": Text,
    "units": SmallInteger,
    "quote": Numeric,
    "currency": Text,
    "prices": Text,
    "external_task_id": Text,
    "hook": Uuid,
    "trace": Text,
    "fields": Text,
}
_ENTRY: Columns = {"entry": Text, "reserved": Numeric, "charged": Numeric}
_ROW: Columns = {**_TASK, "payload": LargeBinary, **_ENTRY}


def _record() -> Statement:
    new = unnested("new", **_ROW)
    recorded = (
        insert(tasks)
        .from_select(
            [*_TASK, "status", "sequence", "updated_at"],
            select(
                *(new.c[key] for key in _TASK),
                literal_column("'recorded'"),
                literal_column("0"),
                new.c.created_at,
            ),
        )
        .cte("recorded")
    )
    reserved = (
        insert(ledger)
        .from_select(
            [
                "task",
                "entry",
                "client",
                "key",
                "at",
                "reserved",
                "charged",
                "currency",
                "kind",
                "model",
                "mode",
            ],
            select(
                new.c.id,
                new.c.entry,
                new.c.client,
                new.c.key,
                new.c.created_at,
                new.c.reserved,
                new.c.charged,
                new.c.currency,
                new.c.kind,
                new.c.model,
                new.c.mode,
            ),
        )
        .cte("reserved")
    )
    due = func.now() + bindparam("due_in", type_=Interval)
    return Statement(
        insert(submissions)
        .from_select(
            ["task", "client", "state", "units", "due_at", "kind", "payload"],
            select(new.c.id, new.c.client, literal_column("'recorded'"), new.c.units, due, new.c.kind, new.c.payload),
        )
        .add_cte(recorded, reserved)
    )


_RECORD = _record()


async def record(database: Database, records: Sequence[NewTask], due_in: float) -> None:
    """Record these orders in one transaction; who sends them has `due_in` seconds before another process does."""
    await record_on(database.ingest, records, due_in)  # one statement is a transaction


async def record_on(runner: Runner, records: Sequence[NewTask], due_in: float) -> None:
    """Record these orders in the transaction that `runner` is in."""
    rows = [(*task, *on_record(task.quote)[: len(_ENTRY)]) for task in records]
    await _RECORD.run(runner, due_in=timedelta(seconds=due_in), **columns_of("new", list(_ROW), rows))


_made = unnested("made", id=Uuid)
_RECORDED = Statement(select(func.count()).select_from(_made.join(tasks, tasks.c.id == _made.c.id)))


async def are_recorded(database: Database, ids: Sequence[UUID]) -> bool:
    """Return whether all of these tasks are there."""
    return bool(await _RECORDED.scalar(database.ingest, made_id=list(ids)) == len(ids))


_TURNS = 5
_CLAIMED: Columns = {"key": Text, "task": Uuid, "fingerprint": LargeBinary}
_words = unnested("words", **_CLAIMED)


async def reserve_keys(
    connection: Connection, client: UUID, words: Sequence[str], task: UUID, fingerprint: bytes
) -> list[UsedKey]:
    """Take these words for `task`; return what they were taken by before, nothing where they were free.

    Where something is returned the transaction must be rolled back: some of the words may now be taken. A word that
    is given back between two looks is tried again; CollisionError where that goes on.
    """
    taken, claims = 0, dict.fromkeys(words, UsedKey(task=task, fingerprint=fingerprint))
    for _ in range(_TURNS):
        taken += await _claim(connection, client, claims)
        if taken == len(words):
            return []
        made = await used_keys(connection, client, words)
        if found := [each for each in made.values() if each.task != task]:
            return found
    raise CollisionError("words come and go")


_FREE = Statement(
    delete(idempotency_keys).where(
        idempotency_keys.c.client == bindparam("client", type_=Uuid),
        idempotency_keys.c.key == any_(bindparam("words", type_=ARRAY(Text))),
        idempotency_keys.c.task == bindparam("task", type_=Uuid),
    )
)


_CLAIM = Statement(
    upsert(idempotency_keys)
    .from_select(
        ["client", "key", "task", "fingerprint"],
        select(bindparam("client", type_=Uuid), _words.c.key, _words.c.task, _words.c.fingerprint),
    )
    .on_conflict_do_nothing()
)
_MADE = Statement(
    select(idempotency_keys.c.key, idempotency_keys.c.task, idempotency_keys.c.fingerprint).where(
        idempotency_keys.c.client == bindparam("client", type_=Uuid),
        idempotency_keys.c.key == any_(bindparam("words", type_=ARRAY(Text))),
    )
)


async def used_keys(connection: Connection, client: UUID, words: Iterable[str]) -> dict[str, UsedKey]:
    """Return which of these words were taken, and by what."""
    rows = await _MADE.rows(connection, client=client, words=[*words])
    return {row["key"]: UsedKey(task=row["task"], fingerprint=row["fingerprint"]) for row in rows}


async def claim_keys(connection: Connection, client: UUID, claims: Mapping[str, UsedKey]) -> None:
    """Take these words, each for its task; CollisionError where one was taken meanwhile, and nothing holds then."""
    if claims and await _claim(connection, client, claims) < len(claims):
        raise CollisionError("a word was taken meanwhile")


async def _claim(connection: Connection, client: UUID, claims: Mapping[str, UsedKey]) -> int:
    """Take those of these words that are free, each for its task; return how many."""
    rows = [(word, claims[word].task, claims[word].fingerprint) for word in sorted(claims)]
    return await _CLAIM.run(connection, client=client, **columns_of("words", list(_CLAIMED), rows))


async def release_keys(database: Database, client: UUID, words: Sequence[str], task: UUID) -> None:
    """Give back the words of a task that the provider refused."""
    await _FREE.run(database.pool, client=client, words=list(words), task=task)
