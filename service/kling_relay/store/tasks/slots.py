"""Slots: how many tasks are in flight at the provider, counted exactly under one lock.

A submission holds its units from the state `sending` until its row is deleted with the final step. Orders wait as
`recorded`. The next order is the oldest of the client that has the fewest tasks in flight and in line before it; of
several such clients, the one that was served longest ago.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Row, Statement, transaction

MAX_AT_ONCE = 50
"""Submissions admitted in one transaction."""
SMALL = 64 * 1024
"""Payloads of at most this many bytes are returned with a claim; a larger one is read when it is sent."""

_SQL = load_sql(__name__)
_LOCK = Statement(_SQL["lock"])
_COUNT_USED = Statement(_SQL["count_used"])
_NEXT = Statement(_SQL["list_next"])
_CLAIM = Statement(_SQL["claim"])
_NOTE_SERVED = Statement(_SQL["note_served"])


async def admit(
    database: Database, slots: int, due_in: float, claim_id: UUID, has_room: Callable[[UUID, int], bool]
) -> Sequence[Row]:
    """Claim what fits into the free slots, in turn; return task, kind, attempt, payload if small, and trace of each.

    The caller sends them. If it dies before, they come due in `due_in` seconds. An order larger than all slots together
    counts as all of them. The first order that does not fit, or for whose payload `has_room` is false (given the task
    and the bytes), ends the turn, so that none is overtaken for ever.
    """
    async with transaction(database.pool) as connection:
        await _LOCK.run(connection)
        free = slots - await _COUNT_USED.scalar(connection)
        admitted, clients = [], set()
        for row in await _NEXT.rows(connection, limit=min(free, MAX_AT_ONCE)) if free > 0 else []:
            units = min(row["units"], slots)
            if units > free or not has_room(row["task"], row["payload_bytes"]):
                break
            free -= units
            admitted.append(row["task"])
            clients.add(row["client"])
        if not admitted:
            return []
        await _NOTE_SERVED.run(connection, clients=sorted(clients))
        return await _CLAIM.rows(
            connection, ids=admitted, due_in=timedelta(seconds=due_in), claim_id=claim_id, small=SMALL
        )


async def used(database: Database) -> int:
    """Return how many slots are held now."""
    return int(await _COUNT_USED.scalar(database.pool))
