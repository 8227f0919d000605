"""Look-ups of single tasks: all that wait go into one statement, as callbacks do, without a timer.

Clients that poll ask thousands of times for what changes twice. Alone each look-up costs a round trip and a plan;
together they cost one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from kling_relay.flows.coalesce import Coalescer
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import read_id
from kling_relay.store.tasks import lookup
from kling_relay.store.tasks.lookup import TaskView


class _Query:
    """One look-up. Each is a key of its own, so that many may look up one task at once."""

    __slots__ = ("client", "task")

    def __init__(self, client: UUID, task: UUID) -> None:
        self.client = client
        self.task = task


@dataclass(frozen=True, eq=False)
class TaskLookup:
    """Finds a client's own tasks."""

    database: Database

    @cached_property
    def _by_id(self) -> Coalescer[_Query, TaskView | None]:
        return Coalescer(self._find_all, lambda query: query)

    async def __call__(self, client: UUID, name: str) -> TaskView | None:
        """Return the client's task with this id or, if there is none, with this external_task_id.

        Raises OverloadedError, StoreUnavailableError.
        """
        try:
            identifier = read_id(name)
        except ValueError:
            task = None
        else:
            task = await self._by_id(_Query(client, identifier))
        return task or await lookup.by_external_id(self.database, client, name)

    async def _find_all(self, queries: Sequence[_Query]) -> list[TaskView | None]:
        tasks, clients = [query.task for query in queries], [query.client for query in queries]
        rows = await lookup.by_ids(self.database, tasks, clients)
        return [None if row is None else lookup.task_view(row) for row in rows]
