"""Writers: waits for the transactions that may not have seen a change, without a lock on their way.

A statement that inserts into a table locks it (ROW EXCLUSIVE) before it takes its snapshot, until its transaction ends.
So once a change is committed and every transaction that then held that lock has ended, whoever did not see the change
has committed, and nobody else comes. CREATE INDEX CONCURRENTLY waits in the same way.
"""

import asyncio

from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Runner, Statement

MAX_WAIT = 5.0
"""Seconds; more than the statements of this service may take."""
_MIN_PAUSE = 0.001
_MAX_PAUSE = 0.1

_WRITERS = Statement(load_sql(__name__)["writers"])


async def wait_for_writers(runner: Runner, table: str, max_wait: float) -> bool:
    """Wait until every transaction that writes to `table` now has ended; False if one has not after `max_wait` s."""
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + max_wait, _MIN_PAUSE
    writers = await _writers(runner, table)
    while writers:
        if loop.time() > deadline:
            return False
        await asyncio.sleep(pause)
        pause = min(2 * pause, _MAX_PAUSE)
        writers &= await _writers(runner, table)
    return True


async def _writers(runner: Runner, table: str) -> set[str]:
    return {row[0] for row in await _WRITERS.rows(runner, relation=table)}
