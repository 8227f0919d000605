"""The migrations must make exactly the tables of service/kling_relay/store/tables.py; this says where they differ.

Two databases on an embedded PostgreSQL, one migrated and one made from the metadata, are compared by their catalogues:
what Alembic's own comparison leaves out (CHECKs, partitioning, storage, comments) counts as much as columns do.
"""

import asyncio
import difflib
import sys
import tempfile
from pathlib import Path

import asyncpg
from alembic import command
from sqlalchemy import Connection

from kling_relay.store.embedded.server import Server, embedded
from kling_relay.store.schema.migrate import configuration, locked_connection, migrate
from kling_relay.store.tables import metadata

_OURS = "c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND c.relname <> 'alembic_version'"
_FACTS = f"""
SELECT c.relname || fact FROM pg_class c CROSS JOIN LATERAL (
    SELECT ' is a ' || c.relkind::text || ', ' || coalesce(pg_get_partkeydef(c.oid), 'whole')
        || ', ' || coalesce((SELECT string_agg(o, ' ' ORDER BY o) FROM unnest(c.reloptions) o), 'no options')
        || ', ' || coalesce(obj_description(c.oid), 'no comment')
    UNION ALL
    SELECT '.' || attname || ' ' || format_type(atttypid, atttypmod)
        || CASE WHEN attnotnull THEN ' not null' ELSE '' END
        || coalesce(' default ' || pg_get_expr(adbin, adrelid), '')
        || coalesce(' # ' || col_description(c.oid, attnum), '')
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT ': ' || conname || ' ' || pg_get_constraintdef(k.oid) FROM pg_constraint k WHERE conrelid = c.oid
    UNION ALL
    SELECT ': ' || pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = c.oid
) facts(fact) WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND {_OURS} ORDER BY 1
"""  # noqa: S608  (two constants of this file)


async def differences(server: Server) -> list[str]:
    """Return the lines of a diff from what the migrations make to what the metadata says; empty when equal."""
    migrated, declared = await _new(server, "migrated"), await _new(server, "declared")
    await migrate(migrated)
    async with locked_connection(declared) as connection:
        await connection.run_sync(metadata.create_all)
        await connection.commit()
    found = difflib.unified_diff(await _facts(migrated), await _facts(declared), "migrations", "tables.py", n=0)
    return [line.rstrip() for line in found]


async def write(server: Server, message: str) -> None:
    """Write a new script that Alembic drafts from the difference, to be read and mended by a person."""
    url = await _new(server, "drafted")
    await migrate(url)

    def draft(connection: Connection) -> None:
        config = configuration()
        config.attributes["connection"] = connection
        newest = sorted(path.name for path in (Path(__file__).parent / "versions").glob("[0-9]*.py"))[-1:]
        number = int(newest[0].split("_")[0]) + 1 if newest else 1
        command.revision(config, message=message, autogenerate=True, rev_id=f"{number:04}")

    async with locked_connection(url) as connection:
        await connection.run_sync(draft)


async def run(directory: Path, arguments: list[str]) -> int:
    """Compare, or with `--write MESSAGE` draft a migration; returns the exit status."""
    async with embedded(directory, {"fsync": "off"}) as server:
        if arguments[:1] == ["--write"]:
            await write(server, " ".join(arguments[1:]))
            return 0
        found = await differences(server)
    print("\n".join(found) or "The migrations make the tables of tables.py.")
    return 1 if found else 0


async def _new(server: Server, name: str) -> str:
    admin = await asyncpg.connect(server.url("postgres"))
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    return server.url(name)


async def _facts(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(_FACTS)
    await connection.close()
    return [row[0] for row in rows]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="relay-schema-", ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o711)  # as root, PostgreSQL runs as somebody else and has to pass
        sys.exit(asyncio.run(run(Path(place), sys.argv[1:])))
