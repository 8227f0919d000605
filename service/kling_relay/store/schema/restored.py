"""Epochs: the numbers of events keep rising although a restored database may count its transactions from the start.

The log is ordered by the number of the writing transaction plus `database_info.tx_offset`. A new cluster begins with
low numbers: what was restored would lie ahead of everything, and readers who were told of what the backup does not hold
would wait for numbers to come again. So a new epoch begins at the next multiple of EPOCH above all of them.

The ledger's entries carry the number alone, which only tells what is over from what is under way: those from before
the restore are over, so theirs becomes 0, and the sums that were closed below such a number begin anew.
"""

from sqlalchemy import BigInteger, ColumnElement, Text, cast, column, delete, func, select, table, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement
from kling_relay.store.schema.migrate import PATIENCE, MigrationError, locked_connection, patiently
from kling_relay.store.tables import clients, database_info, events, ledger, ledger_checkpoints

EPOCH = 2**40
"""More transactions than are made between a backup and its use: four months of a hundred thousand a second."""

_OURS = "kling-relay %"
_activity = table("pg_stat_activity", column("datname", Text), column("application_name", Text))


def _next_transaction() -> ColumnElement[int]:
    """Return in SQL the cluster's own number of its next transaction."""
    return cast(cast(func.pg_snapshot_xmax(func.pg_current_snapshot()), Text), BigInteger)


def _next_number() -> ColumnElement[int]:
    """Return in SQL the number that the next transaction would write under."""
    return _next_transaction() + select(database_info.c.tx_offset).scalar_subquery()


_newest_of_client = (
    select(events.c.tx).where(events.c.client == clients.c.id).order_by(events.c.tx.desc()).limit(1).lateral("newest")
)
_newest_entry = (
    select(ledger.c.tx).where(ledger.c.client == clients.c.id).order_by(ledger.c.tx.desc()).limit(1).lateral("entry")
)
_LOOK = select(
    _next_number().label("next"),
    _next_transaction().label("transaction"),
    select(func.coalesce(func.max(_newest_entry.c.tx), 0))
    .select_from(clients.join(_newest_entry, true()))
    .scalar_subquery()
    .label("entry"),
    # by client, because that is how the log is indexed
    select(func.coalesce(func.max(_newest_of_client.c.tx), 0))
    .select_from(clients.join(_newest_of_client, true()))
    .scalar_subquery()
    .label("newest"),
)
_LOOKED = Statement(_LOOK)
_AT_WORK = select(func.count()).where(
    _activity.c.datname == func.current_database(), _activity.c.application_name.like(_OURS)
)


async def renew(database_url: str, *, restored: bool = False, patience: float = PATIENCE) -> bool:
    """Begin a new epoch where log or ledger are ahead of the cluster's numbers, and always where `restored` says so.

    Return whether one began. Raises MigrationError where processes of ours are connected, which would go on with
    the old numbers.
    """

    async def once(left: float) -> bool:
        async with locked_connection(database_url, left) as connection:
            return await _renew(connection, restored=restored)

    return await patiently(once, patience)


async def _renew(connection: AsyncConnection, *, restored: bool) -> bool:
    looked = (await connection.execute(_LOOK)).one()
    if not restored and looked.newest < looked.next and looked.entry < looked.transaction:
        return False
    await _refuse_at_work(connection)
    begin = (max(looked.newest, looked.next) // EPOCH + 1) * EPOCH
    await connection.execute(
        update(database_info).values(tx_offset=database_info.c.tx_offset + (begin - _next_number()))
    )
    await connection.execute(update(ledger).values(tx=0).where(ledger.c.tx >= looked.transaction))
    await connection.execute(delete(ledger_checkpoints))
    await connection.commit()
    return True


async def is_needed(database: Database) -> bool:
    """Say whether the log is ahead of the cluster's numbers: its newest events are then shown to nobody."""
    looked = await _LOOKED.row(database.pool)
    if looked is None:
        return False
    return bool(looked["newest"] >= looked["next"] or looked["entry"] >= looked["transaction"])


async def _refuse_at_work(connection: AsyncConnection) -> None:
    count = (await connection.execute(_AT_WORK)).scalar_one()
    if count:
        raise MigrationError(
            f"The database was restored, but processes of kling-relay hold {count} connections to it and would go on "
            "with the old numbers of events. Stop them all, then migrate again."
        )
