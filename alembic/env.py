"""What Alembic runs its scripts in: one transaction for each script, and partitions are nobody's model."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from kling_relay.store.schema.migrate import locked_connection
from kling_relay.store.tables import metadata


def run(connection: Connection) -> None:
    """Run the scripts asked for on `connection`, or compare with the tables of `kling_relay.store.tables`."""
    partitions = {name for (name,) in connection.execute(text("SELECT relname FROM pg_class WHERE relispartition"))}
    connection.rollback()

    def is_ours(name: str | None, kind: str, _parents: object) -> bool:
        return not (kind == "table" and name in partitions)

    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        compare_server_default=True,
        include_name=is_ours,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_from_terminal(url: str) -> None:
    async with locked_connection(url) as connection:
        await connection.run_sync(run)


given = context.config.attributes.get("connection")
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif given is not None:
    run(given)
elif url := context.get_x_argument(as_dictionary=True).get("url"):
    asyncio.run(run_from_terminal(url))
else:
    raise SystemExit("Say which database: alembic -x url=postgresql://user@host/name …")
