"""Turns of reports: nobody has them all, those who have few go first, and waiting ends."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from kling_relay.core.errors import RateLimited, ReportTooLong, Unavailable
from kling_relay.core.key import Caller
from kling_relay.store.postgres.statement import StoreSlowError
from kling_relay.web.http.reports import MAX_WAITING_OF_KEY, MIN_REST, ReportTurns
from tests.support.waiting import eventually

SIZE = 3
SECONDS = 20.0


def caller(client: int, key: int = 1) -> Caller:
    return Caller(client=UUID(int=client), key=UUID(int=1000 * client + key), scopes=frozenset(), name="")


class Reports:
    """Reports that run until they are ended; `running` has their names in the order in which they got their turns."""

    def __init__(self, size: int = SIZE, seconds: float = SECONDS) -> None:
        self.turns = ReportTurns(size, seconds)
        self.running: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def start(self, name: str, who: Caller) -> None:
        self._ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._run(name, who))
        await settled()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self.tasks[name]
        await settled()

    async def _run(self, name: str, who: Caller) -> None:
        async with self.turns.turn(who):
            self.running.append(name)
            await self._ends[name].wait()
        self.running.remove(name)


async def settled() -> None:
    """Let everything run that can run now."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_key_has_one_turn_at_a_time() -> None:
    reports = Reports()
    await reports.start("first", caller(1))
    await reports.start("second", caller(1))
    assert reports.running == ["first"]
    await reports.end("first")
    assert reports.running == ["second"]
    await reports.end("second")


async def test_a_client_leaves_a_turn_to_others() -> None:
    reports = Reports()
    for key in range(5):
        await reports.start(f"greedy {key}", caller(1, key))
    assert len(reports.running) == SIZE - 1
    await reports.start("other", caller(2))
    assert reports.running[-1] == "other"
    for name in ("greedy 0", "greedy 1", "greedy 2", "greedy 3", "greedy 4", "other"):
        await reports.end(name)
    assert not reports.turns._waiting


async def test_a_single_connection_serves_everybody_in_turn() -> None:
    reports = Reports(size=1)
    await reports.start("a", caller(1))
    await reports.start("b", caller(1, 2))
    await reports.start("c", caller(2))
    order = []
    for _ in range(3):
        (running,) = reports.running
        order.append(running)
        await reports.end(running)
    assert order == ["a", "b", "c"]


async def test_the_client_with_the_fewest_turns_is_next() -> None:
    reports = Reports(size=4)
    for key in range(4):
        await reports.start(f"greedy {key}", caller(1, key))
    await reports.start("second", caller(2))
    assert reports.running == ["greedy 0", "greedy 1", "greedy 2", "second"]
    await reports.start("greedy 5", caller(1, 5))
    await reports.start("third", caller(3))
    await reports.end("greedy 0")
    assert reports.running[-1] == "third", "though it came last"


async def test_keys_of_a_client_take_turns() -> None:
    reports = Reports(size=1)
    await reports.start("now", caller(2))
    for number in range(3):
        await reports.start(f"many {number}", caller(1, 1))
    await reports.start("one", caller(1, 2))
    order = []
    for _ in range(5):
        (running,) = reports.running
        order.append(running)
        await reports.end(running)
    assert order == ["now", "many 0", "one", "many 1", "many 2"]


async def test_reports_that_wait_for_a_key_are_bounded() -> None:
    reports = Reports()
    for number in range(MAX_WAITING_OF_KEY + 1):
        await reports.start(str(number), caller(1))
    with pytest.raises(RateLimited):
        async with reports.turns.turn(caller(1)):
            pass
    for task in reports.tasks.values():
        task.cancel()
    await asyncio.wait(reports.tasks.values())
    assert not reports.turns._waiting


@pytest.mark.parametrize(
    ("who", "refusal"), [(caller(1, 1), RateLimited), (caller(1, 3), RateLimited), (caller(3), Unavailable)]
)
async def test_the_wait_for_a_turn_ends_with_a_reason(who: Caller, refusal: type[Exception]) -> None:
    """A key that has a turn, and a client that has its share, are asked to wait; others could not be served."""
    reports = Reports(seconds=0.02)
    for name, running in (("a", caller(1, 1)), ("b", caller(1, 2)), ("c", caller(2))):
        await reports.start(name, running)
    with pytest.raises(refusal):
        async with reports.turns.turn(who):
            pass
    assert reports.turns._waiting_count == 0
    for name in ("a", "b", "c"):
        await reports.end(name)


async def test_a_report_that_gives_up_while_it_gets_its_turn_passes_it_on() -> None:
    reports = Reports()
    async with reports.turns.turn(caller(1)):
        await reports.start("second", caller(1))
        await reports.start("third", caller(1))
    reports.tasks["second"].cancel()  # it has its turn, but does not run yet
    await eventually(lambda: reports.running == ["third"])
    await reports.end("third")
    async with AsyncExitStack() as stack:
        for client in range(SIZE):
            await asyncio.wait_for(stack.enter_async_context(reports.turns.turn(caller(client))), 1)


@pytest.mark.long
async def test_a_key_rests_after_a_long_report_while_others_have_its_connection() -> None:
    reports = Reports(size=1)
    clock = asyncio.get_running_loop().time
    await reports.start("long", caller(1))
    started_at = clock()
    await eventually(lambda: clock() > started_at + 2 * MIN_REST)
    await reports.start("again", caller(1))
    await reports.start("other", caller(2))
    await reports.end("long")
    assert reports.running == ["other"]
    await reports.end("other")
    assert reports.running == []
    await eventually(lambda: reports.running == ["again"])
    await reports.end("again")


async def failing(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: asyncio.Event().wait(), ReportTooLong),
        (lambda: failing(StoreSlowError("canceling statement due to statement timeout")), ReportTooLong),
        (lambda: failing(TimeoutError("of something else")), TimeoutError),
    ],
)
async def test_a_report_beyond_its_time_is_told_from_other_failures(
    work: Callable[[], "asyncio.Future[None]"], expected: type[Exception]
) -> None:
    turns = ReportTurns(1, 0.01)
    with pytest.raises(expected):
        async with turns.report(caller(1)):
            await work()
    async with turns.report(caller(2)):
        pass
