"""Partitions: created ahead, opened one at a time by ids and batches of ids, dropped once all in them is finished."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from kling_relay.core.event import TaskIdentity, make_task_event
from kling_relay.core.ids import creation_time, lower_bound, new_id
from kling_relay.core.ledger import on_step
from kling_relay.core.task import Signal, SignalKind, Status, Task, advance
from kling_relay.store.postgres.statement import Statement, columns_of, first_of
from kling_relay.store.schema import partitions
from kling_relay.store.tables import PARTITIONED
from kling_relay.store.tasks import lookup, steps
from tests.support.outbox import Outbox, fresh_id, outbox
from tests.support.plans import plan

RETENTION = timedelta(days=90)
NOW = datetime.now(UTC)


@pytest.fixture
async def box(database: str) -> AsyncIterator[Outbox]:
    async with outbox(database) as opened:
        yield opened


async def names(box: Outbox, parent: str) -> list[str]:
    return [each.name(parent) for each in await partitions.ranges(box.connection, parent)]


async def record(box: Outbox, ids: Sequence[UUID], at: datetime, status: str) -> None:
    """Add tasks with these ids and nothing else."""
    await box.connection.execute(
        "INSERT INTO tasks (id, client, status, sequence, created_at, updated_at, kind, model, units, quote, currency,"
        " prices, fields) SELECT id, $2, $3, 1, $4, $4, 'text2video', 'm', 1, 1, 'unit', 'p', '{}'"
        " FROM unnest($1::uuid[]) id",
        *(ids, box.client, status, at),
    )


async def task(box: Outbox, at: datetime, status: str = "succeed") -> UUID:
    """Add a task of the time `at` with an event and an attempt."""
    made = new_id(at, 7)
    await record(box, [made], at, status)
    await box.connection.execute(
        "INSERT INTO events (subject, sequence, client, tx, at, type, body) VALUES ($1, 1, $2, 1, $3, 'task.x', '{}')",
        *(made, box.client, at),
    )
    await box.connection.execute(
        "INSERT INTO attempts (subscription, subject, sequence, attempt, at, latency, outcome)"
        " VALUES ($1, $2, 1, 1, $3, 0, 'delivered')",
        *(fresh_id(), made, at),
    )
    return made


async def counts(box: Outbox) -> list[int]:
    return [
        await box.connection.fetchval(f"SELECT count(*) FROM {parent}") for parent in ("tasks", "events", "attempts")
    ]


async def past(box: Outbox, days: int) -> datetime:
    """Create partitions as of `days` days ago, and return a time inside the first of them."""
    then = NOW - timedelta(days=days)
    for parent in PARTITIONED:
        first = (await partitions.ranges(box.connection, parent))[0].start
        for each in partitions.missing_ranges([], then, timedelta(days=3)):
            if each.end <= first:
                await partitions._create(box.connection, parent, each)
    return then


async def test_partitions_cover_now_and_a_week_ahead_in_every_table(box: Outbox) -> None:
    for parent in PARTITIONED:
        there = await partitions.ranges(box.connection, parent)
        assert there[0].start <= NOW
        assert there[-1].end >= NOW + partitions.CREATE_AHEAD
        assert all(one.end == following.start for one, following in pairwise(there))
    assert await partitions.create_missing(box.connection, NOW, RETENTION) == 0
    assert await partitions.create_missing(box.connection, NOW + timedelta(days=5), RETENTION) > 0


@pytest.mark.parametrize("span", [timedelta(days=1), timedelta(days=3)])
def test_a_gap_between_partitions_is_filled_and_nothing_else(span: timedelta) -> None:
    whole = list(partitions.missing_ranges([], NOW, span))
    assert list(partitions.missing_ranges(whole, NOW, span)) == []
    for missing in range(len(whole)):
        rest = whole[:missing] + whole[missing + 1 :]
        gap = whole[missing : missing + 1] if missing else []  # what is before the first one was dropped
        assert list(partitions.missing_ranges(rest, NOW, span)) == gap
    later = NOW + timedelta(days=14)
    created = list(partitions.missing_ranges(whole, later, span))
    assert created[0].start <= later - span
    assert all(one.end == following.start for one, following in pairwise(created))
    assert created[-1].end >= later + partitions.CREATE_AHEAD


def test_a_gap_left_by_another_width_is_filled_without_an_overlap() -> None:
    whole = list(partitions.missing_ranges([], NOW, timedelta(days=1)))
    gap = whole[1:3]
    assert list(partitions.missing_ranges(whole[:1] + whole[3:], NOW, timedelta(days=3))) == [
        partitions.PartitionRange(start=gap[0].start, end=gap[-1].end)
    ]


async def test_a_detached_partition_of_today_comes_back_with_its_rows(box: Outbox) -> None:
    made = await task(box, NOW)
    (today,) = [each for each in await partitions.ranges(box.connection) if each.start <= NOW < each.end]
    await box.connection.execute(f"ALTER TABLE tasks DETACH PARTITION {today.name('tasks')}")
    assert await partitions.create_missing(box.connection, NOW, RETENTION) == 1
    assert await box.connection.fetchval("SELECT id FROM tasks") == made


async def test_a_row_without_a_partition_is_an_error(box: Outbox) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await task(box, NOW + timedelta(days=400))


async def test_only_partitions_older_than_the_retention_are_dropped(box: Outbox) -> None:
    old = await past(box, 120)
    await task(box, old)
    kept = await task(box, NOW)
    assert await counts(box) == [2, 2, 2]
    dropped = await partitions.drop_old(box.connection, NOW, RETENTION)
    assert {name.split("_")[0] for name in dropped} == set(PARTITIONED)
    assert await counts(box) == [1, 1, 1]
    assert await box.connection.fetchval("SELECT id FROM tasks") == kept
    assert await partitions.drop_old(box.connection, NOW, RETENTION) == []


async def test_an_unfinished_task_keeps_its_partition(box: Outbox) -> None:
    old = await past(box, 120)
    unfinished = await task(box, old, "submitted")
    await box.connection.execute(
        "INSERT INTO submissions (task, client, state, units, due_at, kind) VALUES ($1, $2, 'accepted', 1, now(), 'k')",
        *(unfinished, box.client),
    )
    await partitions.drop_old(box.connection, NOW, RETENTION)  # the empty one before it may go
    assert await counts(box) == [1, 1, 1]
    await box.connection.execute("DELETE FROM submissions")
    await box.due(unfinished, 1, await box.subscribe("http://a.example/"))
    assert await partitions.drop_old(box.connection, NOW, RETENTION) == []
    await box.connection.execute("UPDATE pending_deliveries SET due_at = 'infinity'")
    assert await partitions.drop_old(box.connection, NOW, RETENTION)
    assert await box.pending() == 0


async def test_a_partitions_name_says_its_bounds(box: Outbox) -> None:
    for name, each in zip(await names(box, "tasks"), await partitions.ranges(box.connection), strict=True):
        bounds = await box.connection.fetchval(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = $1", name
        )
        assert str(lower_bound(each.start)) in bounds
        assert str(lower_bound(each.end)) in bounds
        assert creation_time(lower_bound(each.start)) == each.start


async def explained(box: Outbox, statement: Statement, *, only_run: bool = True, **given: Any) -> set[str]:
    """Return the relations that a statement read on an ingest connection; its writes are rolled back.

    Without `only_run`, also those that it only opened.
    """
    return {
        node["Relation Name"]
        for node in await plan(box.database.ingest, statement, **given)
        if "Relation Name" in node and node["Node Type"] != "ModifyTable" and (node["Actual Loops"] or not only_run)
    }


async def test_a_batch_of_callbacks_touches_the_partitions_of_its_tasks_alone(box: Outbox) -> None:
    assert len(await partitions.ranges(box.connection)) > 2
    made = await task(box, NOW, "submitted")
    identity = TaskIdentity(id=made, client=box.client, kind="text2video", external_task_id=None, created_at=NOW)
    before = Task(id=made, status=Status.SUBMITTED, sequence=1, updated_at=NOW)
    step = advance(before, Signal(kind=SignalKind.SUCCEED, result={}), NOW)
    assert step is not None
    event = make_task_event(identity, step.task, step.signal)
    read = await explained(box, steps._READ, task_id=[made], **first_of([made]))
    assert {name for name in read if name.startswith("tasks")} == {
        each.name("tasks") for each in await partitions.ranges(box.connection) if each.start <= NOW < each.end
    }
    move = steps.move(before, step, event, on_step(before.status, step.task.status, Decimal(1), "1"))
    written: dict[str, Any] = {
        "tx_offset": 0,
        "ask_in": timedelta(seconds=60),
        **first_of([made]),
        **columns_of("move", steps.Move._fields, [move]),
        **columns_of("callback", steps.RawCallback._fields, []),
        **columns_of("acceptance", steps.Acceptance._fields, []),
    }
    touched = await explained(box, steps._WRITE, **written)
    assert len([name for name in touched if name.startswith("tasks")]) == 1, touched


async def test_a_batch_of_callbacks_opens_no_partition_of_the_past(box: Outbox) -> None:
    await past(box, 90)
    made = await task(box, NOW, "submitted")
    ranges = await partitions.ranges(box.connection)
    ours = {each.name("tasks") for each in ranges if each.end > NOW}
    assert 0 < len(ours) < len(ranges)
    nothing: dict[str, Any] = {f"{name}_{key}": [] for name, keys in _BATCHES.items() for key in keys}
    some = {**nothing, "tx_offset": 0, "ask_in": timedelta(seconds=60)}
    for ids, expected in (([made], ours), ([], set())):
        read = await explained(box, steps._READ, only_run=False, task_id=ids, **first_of(ids))
        written = await explained(box, steps._WRITE, only_run=False, **some, **first_of(ids))
        for opened in (read, written):
            assert {name for name in opened if name.startswith("tasks")} == expected


@pytest.mark.parametrize("statement", [steps._READ, lookup._BY_IDS])
async def test_a_batch_reads_its_own_tasks_and_not_the_range_between_them(box: Outbox, statement: Statement) -> None:
    ids = [new_id(NOW + timedelta(seconds=number), 7) for number in range(5000)]
    await record(box, ids, NOW, "submitted")
    await box.connection.execute("ANALYZE tasks")
    asked: dict[str, Any] = {"task_id": [ids[0], ids[-1]], **first_of(ids)}
    if statement is lookup._BY_IDS:
        asked |= {"task_place": [0, 1], "task_client": [box.client, box.client]}
    ran = await plan(box.database.ingest, statement, **asked)
    nodes = [node for node in ran if "tasks" in node.get("Relation Name", "")]
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in nodes) == 2, nodes


_BATCHES = {"move": steps.Move._fields, "callback": steps.RawCallback._fields, "acceptance": steps.Acceptance._fields}


async def test_a_batch_of_look_ups_touches_the_partitions_of_its_tasks_alone(box: Outbox) -> None:
    made = await task(box, NOW, "submitted")
    asked = {"task_place": [0], "task_id": [made], "task_client": [box.client], **first_of([made])}
    await past(box, 90)
    touched = await explained(box, lookup._BY_IDS, **asked)
    opened = await explained(box, lookup._BY_IDS, only_run=False, **asked)
    ranges = await partitions.ranges(box.connection)
    for table in ("tasks", "events"):
        assert len([name for name in touched if name.startswith(table)]) == 1, touched
        assert {name for name in opened if name.startswith(table)} == {
            each.name(table) for each in ranges if each.end > NOW
        }


async def test_a_batch_of_look_ups_returns_each_clients_own_tasks_alone(box: Outbox) -> None:
    made = await task(box, NOW, "submitted")
    asked = [(made, box.client), (fresh_id(), box.client), (made, fresh_id()), (made, box.client)]
    found = await lookup.by_ids(box.database, [task for task, _ in asked], [client for _, client in asked])
    assert [row and row["id"] for row in found] == [made, None, None, made]
