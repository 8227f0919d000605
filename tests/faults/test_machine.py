"""The state machine on the real store: callbacks in any order, repeated, racing, lost, and the clock in between.

Whatever happens, a task is where some order of what was heard leads, its events are gapless and never repeat, each
has its delivery, and its account sums to nothing but a charge.
"""

import asyncio
import json
import random
from collections.abc import Coroutine
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from kling_relay.core.event import BodyFormat
from kling_relay.core.ids import RANDOM_BITS, new_id
from kling_relay.core.subscription import Ordering, SubscriptionOptions
from kling_relay.core.task import CLIENT_STATUS, FINAL, MOVES, Signal, SignalKind, Status
from kling_relay.flows.ingest import Ingest, Observation
from kling_relay.store.deliveries import subscriptions
from kling_relay.store.deliveries.subscriptions import Subscription
from kling_relay.store.embedded.server import Server
from kling_relay.store.postgres.database import Database, connect
from kling_relay.store.tasks import record as orders
from kling_relay.store.tasks.record import NewTask
from tests.support.postgres import fresh_database

CLIENT = UUID(int=7)
PROVIDER = [
    SignalKind.SUBMITTED,
    SignalKind.PROCESSING,
    SignalKind.INCOMPLETE,
    SignalKind.SUCCEED,
    SignalKind.FAILED,
]
VIDEO = {"videos": [{"id": "v", "url": "https://cdn.example.com/v.mp4", "duration": "5.1"}]}
SHOWN = {
    Status.SUBMITTED: "task.submitted",
    Status.PROCESSING: "task.processing",
    Status.SUCCEED: "task.succeed",
    Status.RESULT_MISSING: "task.succeed",
    Status.FAILED: "task.failed",
    Status.EXPIRED: "task.failed",
}


def fresh() -> UUID:
    return new_id(datetime.now(UTC), random.getrandbits(RANDOM_BITS))


def signal(kind: SignalKind) -> Signal:
    return Signal(kind=kind, result=VIDEO if kind is SignalKind.SUCCEED else None, provider_task_id="p")


def reached(status: Status, kind: list[SignalKind]) -> set[Status]:
    """Return the states that a task may have after these signals in any order, each at least once."""
    found, seen = set(), set()
    waiting = [(status, frozenset(kind))]
    while waiting:
        at, left = waiting.pop()
        if (at, left) in seen:
            continue
        seen.add((at, left))
        if not left:
            found.add(at)
        waiting.extend((MOVES[at].get(one, at), left - {one}) for one in set(kind))
    return found


class Hammered(RuleBasedStateMachine):
    """Each example has its own tasks in one database. All examples share the event loop and the pools."""

    runner: asyncio.Runner
    database: Database
    tasks: Bundle[UUID] = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.may_be: dict[UUID, set[Status]] = {}
        self.one = Ingest(self.database, wakeups=[], poll_after=60)
        self.other = Ingest(self.database, wakeups=[], poll_after=60)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @rule(target=tasks)
    def order(self) -> UUID:
        task = fresh()
        self.do(orders.record(self.database, [record(task)], 60))
        self.may_be[task] = {Status.RECORDED}
        return task

    @rule(task=tasks, kind=st.sampled_from(PROVIDER), copies=st.integers(1, 5))
    def called_back(self, task: UUID, kind: SignalKind, copies: int) -> None:
        self._apply(task, [kind] * copies, "callback")

    @rule(task=tasks, kind=st.lists(st.sampled_from(PROVIDER), min_size=2, max_size=8))
    def called_back_at_once(self, task: UUID, kind: list[SignalKind]) -> None:
        self._apply(task, kind, "callback")

    @rule(task=tasks)
    def given_up(self, task: UUID) -> None:
        self._apply(task, [SignalKind.EXPIRED], "clock")

    @rule(task=tasks)
    def polled_often_enough_without_a_file(self, task: UUID) -> None:
        self._apply(task, [SignalKind.RESULT_MISSING], "query")

    @rule(task=tasks, kind=st.sampled_from(PROVIDER))
    def polled_for_the_last_time_while_called_back(self, task: UUID, kind: SignalKind) -> None:
        self._apply(task, [SignalKind.RESULT_MISSING, kind], "query")

    @rule(task=tasks, kind=st.sampled_from(PROVIDER))
    def answered_while_called_back(self, task: UUID, kind: SignalKind) -> None:
        self._apply(task, [SignalKind.SUBMITTED, kind], "submit")

    def _apply(self, task: UUID, kind: list[SignalKind], source: str) -> None:
        async def all_at_once() -> None:
            await asyncio.gather(
                *(
                    (self.one, self.other)[place % 2].apply(
                        Observation(task=task, signal=signal(each), source=source, at=datetime.now(UTC), body=b"{}")
                    )
                    for place, each in enumerate(kind)
                )
            )

        self.do(all_at_once())
        self.may_be[task] = {after for before in self.may_be[task] for after in reached(before, kind)}
        self.do(self._check(task))

    async def _check(self, task: UUID) -> None:
        pool = self.database.pool
        row = await pool.fetchrow("SELECT status, result_missing, sequence FROM tasks WHERE id = $1", task)
        assert row is not None
        assert row["status"] == "succeed" or not row["result_missing"]
        status = Status.RESULT_MISSING if row["result_missing"] else Status(row["status"])
        assert status in self.may_be[task]
        self.may_be[task] = {status}
        events = await pool.fetch("SELECT sequence, type, body FROM events WHERE subject = $1 ORDER BY sequence", task)
        assert [event["sequence"] for event in events] == list(range(1, row["sequence"] + 1))
        if events:
            assert events[-1]["type"] == SHOWN[status]
        contents = [json.loads(event["body"])["data"] for event in events]
        kinds = [
            (event["type"], "result_missing" in content)
            for event, content in zip(events, contents, strict=True)
            if event["type"] != "task.failed"
        ]
        assert len(set(kinds)) == len(kinds)
        for content in contents:  # a step to succeed has the result, or says that it is missing
            if content["task_status"] == "succeed":
                assert content["task_result"] == ({} if content.get("result_missing") else VIDEO)
        due = await pool.fetchval("SELECT count(*) FROM pending_deliveries WHERE subject = $1", task)
        assert due == len(events)
        account = await pool.fetchrow("SELECT sum(reserved), sum(charged) FROM ledger WHERE task = $1", task)
        assert account is not None
        reserved, charged = account
        assert reserved == (Decimal(0) if status in FINAL else Decimal(2))
        assert charged == (Decimal(2) if CLIENT_STATUS[status] == "succeed" else Decimal(0))
        left = await pool.fetchval("SELECT count(*) FROM submissions WHERE task = $1", task)
        assert left == int(status not in FINAL)

    @invariant()
    def known(self) -> None:
        assert all(self.may_be.values())


def record(task: UUID) -> NewTask:
    return NewTask(
        id=task,
        client=CLIENT,
        key=CLIENT,
        created_at=datetime.now(UTC),
        kind="text_to_video",
        model="kling-v1",
        mode="std",
        duration="5",
        units=1,
        quote=Decimal(2),
        currency="unit",
        prices="test",
        external_task_id=None,
        hook=None,
        trace=None,
        fields="{}",
        payload=b"{}",
    )


async def _subscribe(database: Database) -> None:
    now = datetime.now(UTC)
    options = SubscriptionOptions(
        url="https://x/",
        events=("*",),
        description="",
        format=BodyFormat.STANDARD,
        ordering=Ordering.NONE,
        max_in_flight=1,
    )
    new = Subscription(id=fresh(), client=CLIENT, options=options, secrets=b"s", created_at=now, updated_at=now)
    assert await subscriptions.create(database, new)


@pytest.mark.long
def test_signals_in_any_order_leave_a_correct_record(postgres: Server, is_long: bool) -> None:
    with asyncio.Runner() as runner:
        making = fresh_database(postgres)
        url = runner.run(making.__aenter__())
        opening = connect(url)
        database = runner.run(opening.__aenter__())
        try:
            runner.run(_subscribe(database))
            Hammered.runner, Hammered.database = runner, database
            bounds = settings(settings(), max_examples=500 if is_long else 12, stateful_step_count=20)
            run_state_machine_as_test(Hammered, settings=bounds)
        finally:
            runner.run(opening.__aexit__(None, None, None))
            runner.run(making.__aexit__(None, None, None))
