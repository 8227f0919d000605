"""Look-ups of one task: those that are in hand together go into one statement, as callbacks do, and wait for no timer.

Clients that poll ask thousands of times for what changes twice. Alone each would cost a round trip and a plan of its
own; together they cost one.
"""

from collections.abc import Sequence
from uuid import UUID

from kling_relay.flows.coalesce import Coalescer
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import read_id
from kling_relay.store.tasks import lookup
from kling_relay.store.tasks.lookup import TaskView


class _Asked:
    """One who asks; each is a key of its own, so that many may ask for one task at once."""

    __slots__ = ("client", "task")

    def __init__(self, client: UUID, task: UUID) -> None:
        self.client = client
        self.task = task


class TaskLookup:
    """The flow; a client finds its own tasks only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ask: Coalescer[_Asked, TaskView | None] = Coalescer(self._ask_all, lambda asked: asked)

    async def __call__(self, client: UUID, name: str) -> TaskView | None:
        """Return the client's task of this task id or, where it is none, of this external_task_id.

        Raises OverloadedError, StoreUnavailableError.
        """
        try:
            task = read_id(name)
        except ValueError:
            found = None
        else:
            found = await self._ask(_Asked(client, task))
        return found or await lookup.by_external_id(self._database, client, name)

    async def _ask_all(self, asked: Sequence[_Asked]) -> list[TaskView | None]:
        found = await lookup.by_ids(self._database, [each.task for each in asked], [each.client for each in asked])
        return [None if row is None else lookup.task_view(row) for row in found]
