"""Raises the event log's transaction offset after a restore, so that event numbers keep rising.

The event log is ordered by the number of the writing transaction plus `database_info.tx_offset`. A new cluster starts
at low numbers, so new events would sort before restored ones, and readers whose cursor is past the backup would miss
them. So the offset is raised so that the next event gets the next multiple of OFFSET_STEP above all known numbers.

A ledger entry carries the transaction number without the offset; it tells only whether older transactions may still
add entries. Restored entries are final, so their number becomes 0, and the checkpoints are deleted.
"""

from typing import TYPE_CHECKING

from kling_relay.store.postgres.database import Database, connect_once
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Runner, Statement, translated
from kling_relay.store.postgres.tx_numbers import NEXT_TX
from kling_relay.store.schema.migrate import MAX_WAIT, MigrationError, locked_connection, retry_while_busy

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

OFFSET_STEP = 2**40
"""More transactions than are made between a backup and its use: at 100,000 a second, four months."""

_SQL = load_sql(__name__, next_tx=NEXT_TX)
_TX_NUMBERS = Statement(_SQL["tx_numbers"])
_SERVICE_CONNECTIONS = Statement(_SQL["service_connections"])
_SET_TX_OFFSET = Statement(_SQL["set_tx_offset"])
_MARK_ENTRIES_FINAL = Statement(_SQL["mark_entries_final"])
_DELETE_CHECKPOINTS = Statement(_SQL["delete_checkpoints"])


async def raise_tx_offset(database_url: str, *, restored: bool = False, max_wait: float = MAX_WAIT) -> bool:
    """Raise the offset if log or ledger have higher numbers than this cluster, or if `restored`; return whether it did.

    Raises MigrationError if processes of this service are connected: they would go on with the old offset.
    """
    if not restored and not await _is_too_low(database_url):
        return False

    async def attempt(seconds_left: float) -> bool:
        async with locked_connection(database_url, seconds_left) as connection:
            return await _raise(connection, restored=restored)

    return await retry_while_busy(attempt, max_wait)


async def _raise(connection: "AsyncConnection", *, restored: bool) -> bool:
    numbers = (await connection.exec_driver_sql(_TX_NUMBERS.sql)).one()
    if not restored and numbers.max_event_number < numbers.next_number and numbers.max_entry_tx < numbers.next_tx:
        return False
    await _refuse_if_connected(connection)
    next_number = (max(numbers.max_event_number, numbers.next_number) // OFFSET_STEP + 1) * OFFSET_STEP
    await connection.exec_driver_sql(_SET_TX_OFFSET.sql, (next_number,))
    await connection.exec_driver_sql(_MARK_ENTRIES_FINAL.sql, (numbers.next_tx,))
    await connection.exec_driver_sql(_DELETE_CHECKPOINTS.sql)
    await connection.commit()
    return True


async def is_offset_too_low(database: Database) -> bool:
    """Return whether log or ledger have higher numbers than this cluster; the newest events are then not shown."""
    return await _has_higher_numbers(database.pool)


async def _is_too_low(database_url: str) -> bool:
    with translated():
        connection = await connect_once(database_url)
    try:
        return await _has_higher_numbers(connection)
    finally:
        await connection.close()


async def _has_higher_numbers(runner: Runner) -> bool:
    row = await _TX_NUMBERS.row(runner)
    assert row is not None  # a SELECT without FROM is always one row
    return bool(row["max_event_number"] >= row["next_number"] or row["max_entry_tx"] >= row["next_tx"])


async def _refuse_if_connected(connection: "AsyncConnection") -> None:
    count = (await connection.exec_driver_sql(_SERVICE_CONNECTIONS.sql)).scalar_one()
    if count:
        raise MigrationError(
            f"The database was restored, but processes of kling-relay hold {count} connections to it and would go on "
            "with the old event numbers. Stop them all, then run `kling-relay migrate` again."
        )
