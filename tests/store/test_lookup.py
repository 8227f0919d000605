"""Look-ups go by their index, whatever else is in the tables, and touch one partition where an id is given."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from kling_relay.core.ids import lower_bound
from kling_relay.store.deliveries import listing, redelivery
from kling_relay.store.deliveries.delivery_filter import DeliveryFilter
from kling_relay.store.events import log
from kling_relay.store.postgres.statement import Statement
from kling_relay.store.tasks import listing as tasks_listing
from kling_relay.store.tasks import lookup
from kling_relay.web.http.context import RequestLimits
from tests.support.relay import ApiServer, serve_api

_LAST = UUID(int=(1 << 128) - 1)


@pytest.fixture
async def api(database: str) -> Any:
    async with serve_api(database) as served:
        yield served


async def plan(api: ApiServer, statement: Statement, **given: Any) -> list[dict[str, Any]]:
    """Return every node of the plan that ran, under the settings that the service's connections have."""
    explained = await api.database.pool.fetchval(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}", *statement.arguments(given)
    )
    return list(_nodes(json.loads(explained)[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if node["Actual Loops"]:
        yield node
    for inner in node.get("Plans", []):
        yield from _nodes(inner)


def relations(nodes: list[dict[str, Any]]) -> set[str]:
    return {node["Relation Name"] for node in nodes if "Relation Name" in node}


def is_indexed(nodes: list[dict[str, Any]]) -> bool:
    return not any(node["Node Type"] == "Seq Scan" and node["Actual Rows"] > 0 for node in nodes)


async def test_a_look_up_by_id_touches_one_partition_of_each_table(api: ApiServer) -> None:
    task = UUID(await api.order())
    partitions = await api.database.pool.fetchval(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'tasks'::regclass"
    )
    assert partitions > 1
    nodes = await plan(api, lookup._BY_ID, id=task, client=api.client)
    assert sorted(name.split("_")[0] for name in relations(nodes)) == ["events", "tasks"]
    assert is_indexed(nodes)
    detail = relations(await plan(api, lookup._DETAILS, id=task, client=api.client))
    assert len([name for name in detail if name.startswith(("tasks", "events"))]) == 2


async def test_a_look_up_by_external_id_touches_one_partition(api: ApiServer) -> None:
    await api.order(external_task_id="mine")
    nodes = await plan(api, lookup._BY_EXTERNAL_ID, client=api.client, key="e:mine")
    assert len([name for name in relations(nodes) if name.startswith(("tasks", "events"))]) == 2
    assert is_indexed(nodes)


async def test_lists_and_the_log_are_read_by_index(api: ApiServer) -> None:
    for number in range(3):
        await api.succeed(await api.order(f"number {number}"))
    low = lower_bound(api.context.now()).int - (1 << 100)
    given = {"client": api.client, "since": UUID(int=low), "before": _LAST, "limit": 2}
    assert is_indexed(await plan(api, tasks_listing._LIST, **given))
    given |= {"window": 100, "statuses": ["succeed"], "kinds": None, "text": None}
    assert is_indexed(await plan(api, tasks_listing._LIST_MATCHING, **given))
    start = {"tx": 0, "subject": UUID(int=0), "sequence": 0, "tx_offset": 0, "limit": 10}
    assert is_indexed(await plan(api, log._AFTER, client=api.client, **start))
    types = {"types": ["task.succeed"], "window": 100}
    assert is_indexed(await plan(api, log._AFTER_OF_TYPES, client=api.client, **types, **start))
    place = {f"cursor_{name}": [value] for name, value in {"client": api.client, **start}.items()}
    del place["cursor_tx_offset"], place["cursor_limit"]
    assert is_indexed(await plan(api, log._AFTER_MANY, tx_offset=0, limit=10, **place))


async def test_one_subscriptions_deliveries_are_listed_without_reading_anothers_backlog(api: ApiServer) -> None:
    big, small = [(await api.post("/v1/subscriptions", {"url": "https://93.184.215.14/"}))[1]["id"] for _ in range(2)]
    await api.order()
    await api.database.pool.execute(
        "INSERT INTO pending_deliveries SELECT gen_random_uuid(), 1, $1, get_byte(uuid_send($1), 15), 1, 'infinity' "
        "FROM generate_series(1, 20000)",
        UUID(big),
    )
    nodes = await plan(
        api,
        listing._LIST,
        mine_id=[UUID(small)],
        subject=_LAST,
        sequence=32767,
        before=_LAST,
        low=UUID(int=0),
        only=None,
        pending=True,
        exhausted=True,
        delivered=False,
        limit=10,
    )
    read = sum(
        node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        for node in nodes
        if node.get("Relation Name") == "pending_deliveries"
    )
    assert read == 1


async def test_the_next_page_begins_at_the_end_of_the_window(api: ApiServer) -> None:
    rabbit = await api.order("rabbit")
    for number in range(4):
        await api.order(f"number {number}")
    rabbits, after, tasks = tasks_listing.TaskFilter(text="rabbit"), None, []
    for _ in range(5):
        page = await tasks_listing.list_tasks(api.database, api.client, rabbits, after, 10, window=2)
        tasks += [str(task.id) for task in page.tasks]
        after = page.after
        if after is None:
            break
    assert (tasks, after) == ([rabbit], None)


async def test_rare_events_are_found_behind_many_others(database: str) -> None:
    async with serve_api(database, RequestLimits(event_window=2)) as api:
        done = [await api.order(f"number {number}") for number in range(7)]
        for task in (done[1], done[5]):
            await api.succeed(task)
        subjects: list[str] = []
        cursor: log.Cursor | None = log.START
        turns = 0
        while cursor is not None:
            page = await log.after(api.database, api.client, cursor, 1, types=["task.succeed"], window=2)
            subjects += [str(event.at.subject) for event in page.events]
            cursor, turns = page.after, turns + 1
        assert subjects == [done[1], done[5]]
        assert turns > 3
        await api.wait_until_readable()
        _, first = await api.get("/v1/events?type=task.succeed&limit=10")
        assert [event["data"]["task_id"] for event in first["data"]] == [done[1]]
        _, rest = await api.get(f"/v1/events?type=task.succeed&limit=10&after={first['next_cursor']}")
        assert [event["data"]["task_id"] for event in rest["data"]] == [done[5]]


async def test_hooks_of_older_orders_are_found_behind_the_window(api: ApiServer) -> None:
    tasks = [await api.order(f"{n}", notify_hook=f"https://93.184.215.14/{n}") for n in range(7)]
    subjects: list[str] = []
    before = None
    while True:
        page = await listing.list_deliveries(api.database, api.client, DeliveryFilter(), before, 3, window=2)
        subjects += [str(delivery.subject) for delivery in page.deliveries]
        before = page.after
        if before is None:
            break
    assert subjects == tasks[::-1]


def test_a_cursor_is_parsed_as_it_was_written() -> None:
    cursor = log.Cursor(7, UUID(int=5), 3)
    assert log.read_cursor(cursor.text) == cursor
    assert log.read_cursor("0") == log.START
    for text in ("", "7", "7-x-3", f"-7-{UUID(int=5).hex}-3", f"7-{UUID(int=5)}-3", f"٧-{UUID(int=5).hex}-3"):
        assert log.read_cursor(text) is None


def test_the_batch_of_a_replay_is_bounded() -> None:
    assert redelivery._BATCH <= 5000
