"""A client with very many hooks: lists, the fan-out and housekeeping touch only what they need."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from kling_relay.core.event import TaskIdentity, make_task_event
from kling_relay.core.ids import MAX_ID, new_id
from kling_relay.core.task import Signal, SignalKind, Status, Task, advance
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.access.reencrypt import survey
from kling_relay.store.deliveries import delivery_filter, subscriptions, unsubscribe
from kling_relay.store.deliveries.delivery_filter import DeliveryFilter
from kling_relay.store.deliveries.listing import list_deliveries
from kling_relay.store.postgres.statement import Statement, columns_of, first_of
from kling_relay.store.tasks import steps
from tests.support.outbox import Outbox, fresh_id, outbox
from tests.support.plans import plan

HOOKS = 10_000
NOW = datetime.now(UTC)


@pytest.fixture
async def box(database: str) -> AsyncIterator[Outbox]:
    """A client with HOOKS hooks and one subscription; another client has as many hooks."""
    async with outbox(database) as opened:
        await opened.connection.execute(
            "INSERT INTO subscriptions (id, client, hook, url, events, format, ordering, max_in_flight, secrets,"
            " created_at, updated_at, last_used_at) SELECT gen_random_uuid(), client, true, 'https://a.example/' || n,"
            " '{*}', 'kling', 'none', 10, '', now(), now(), now() - n * interval '1 s'"
            " FROM unnest($1::uuid[]) AS client, generate_series(1, $2) AS n",
            *([opened.client, fresh_id()], HOOKS),
        )
        await opened.subscribe("https://a.example/subscription")
        await opened.connection.execute("ANALYZE subscriptions")
        yield opened


async def read(box: Outbox, statement: Statement, **given: Any) -> tuple[set[str], int]:
    """Return the indexes by which a statement read subscriptions, and the number of rows that it looked at."""
    nodes = [
        node
        for node in await plan(box.database.pool, statement, **given)
        if node.get("Relation Name") == "subscriptions" and node["Node Type"] != "ModifyTable"
    ]
    rows = sum((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in nodes)
    return {node.get("Index Name", node["Node Type"]) for node in nodes}, rows


async def hooks_of(box: Outbox, count: int) -> list[UUID]:
    rows = await box.connection.fetch(
        "SELECT id FROM subscriptions WHERE client = $1 AND hook ORDER BY id LIMIT $2", box.client, count
    )
    return [row["id"] for row in rows]


async def test_a_list_of_subscriptions_reads_no_hooks(box: Outbox) -> None:
    for before in (MAX_ID, fresh_id()):
        indexes, rows = await read(box, subscriptions._LIST, client=box.client, before=before, limit=51)
        assert (indexes, rows) == ({"ix_subscriptions_client_id"}, 1)
    assert len(await subscriptions.page(box.database, box.client, None, 50)) == 1


async def test_a_step_reads_its_clients_subscriptions_and_its_own_hook(box: Outbox) -> None:
    (hook,) = await hooks_of(box, 1)
    task = fresh_id()
    await box.connection.execute(
        "INSERT INTO tasks (id, client, status, sequence, created_at, updated_at, kind, model, units, quote, currency,"
        " prices, fields, hook) VALUES ($1, $2, 'submitted', 1, $3, $3, 'text2video', 'm', 1, 1, 'u', 'p', '{}', $4)",
        *(task, box.client, NOW, hook),
    )
    identity = TaskIdentity(id=task, client=box.client, kind="text2video", external_task_id=None, created_at=NOW)
    before = Task(id=task, status=Status.SUBMITTED, sequence=1, updated_at=NOW)
    step = advance(before, Signal(kind=SignalKind.SUCCEED, result={}), NOW)
    assert step is not None
    move = steps.move(before, step, make_task_event(identity, step.task, step.signal), None)
    indexes, rows = await read(
        box,
        steps._WRITE,
        tx_offset=0,
        ask_in=timedelta(seconds=60),
        **first_of([task]),
        **columns_of("move", steps.Move._fields, [move]),
        **columns_of("callback", steps.RawCallback._fields, []),
        **columns_of("acceptance", steps.Acceptance._fields, []),
    )
    assert (indexes, rows) == ({"ix_subscriptions_client_id", "subscriptions_pkey"}, 2), indexes


async def test_a_list_of_pending_deliveries_reads_the_hooks_that_have_some(box: Outbox) -> None:
    hooks = await hooks_of(box, 5)
    subjects = await box.events(1, *hooks[:3]) + await box.events(1, *hooks[3:])
    indexes, rows = await read(box, delivery_filter._WITH_PENDING_HOOKS, client=box.client, subject=MAX_ID, window=100)
    assert (indexes, rows) == ({"ix_subscriptions_client_id", "subscriptions_pkey"}, 6), indexes
    listing = await list_deliveries(box.database, box.client, DeliveryFilter(status="pending"), None, 50)
    assert {row.subscription for row in listing.deliveries} == set(hooks)
    assert [row.subject for row in listing.deliveries] == [subjects[1]] * 2 + [subjects[0]] * 3
    assert listing.after is None


@pytest.mark.parametrize("status", ["pending", "exhausted"])
async def test_pages_of_many_hooks_miss_and_repeat_nothing(box: Outbox, status: str) -> None:
    hooks = await hooks_of(box, 4)
    (own,) = await subscriptions.page(box.database, box.client, None, 1)
    (other,) = [row["id"] for row in await box.connection.fetch(
        "SELECT id FROM subscriptions WHERE client <> $1 LIMIT 1", box.client
    )]  # fmt: skip
    for number in range(30):
        subject = new_id(NOW - timedelta(seconds=number), number)
        await box.due(subject, 1, other if number % 3 else hooks[number % 4], own.id)
        await box.due(subject, 2, hooks[number % 4])
    if status == "exhausted":
        await box.connection.execute("UPDATE pending_deliveries SET due_at = 'infinity'")
    keys, after = [], None
    while True:
        listing = await list_deliveries(
            box.database, box.client, DeliveryFilter(status=status), after, 4, pending_window=7
        )
        keys += [(row.subject, row.sequence, row.subscription) for row in listing.deliveries]
        after = listing.after
        if after is None:
            break
    rows = await box.connection.fetch(
        "SELECT subject, sequence, subscription FROM pending_deliveries WHERE subscription <> $1"
        " ORDER BY subject DESC, sequence DESC, subscription DESC",
        other,
    )
    assert keys == [tuple(row) for row in rows]
    assert len(keys) == 70


async def test_a_few_hooks_are_all_looked_at(box: Outbox) -> None:
    client = fresh_id()
    for number in range(3):
        await subscriptions.ensure_hook(box.connection, client, f"https://b.example/{number}", NOW)
    ids, _, is_end = await delivery_filter.subscriptions_to_list(
        box.database.reports, client, DeliveryFilter(status="pending"), MAX_ID, pending_window=1
    )
    assert (len(ids), is_end) == (3, True)


async def test_the_doctors_check_of_secrets_is_not_used_up_by_hooks_without_any(box: Outbox) -> None:
    counts = await survey(box.database, Encryptor([b"a key of 32 bytes, or of any more"]), 100)
    assert counts.undecryptable == 1  # the subscription's


async def test_hooks_are_found_by_their_last_use(box: Outbox) -> None:
    unused_since = datetime.now(UTC) - timedelta(seconds=HOOKS - 10)
    indexes, rows = await read(box, unsubscribe._CLOSE_UNUSED_HOOKS, now=NOW, unused_since=unused_since, limit=1000)
    assert "ix_subscriptions_hook_use" in indexes
    assert rows < 100
