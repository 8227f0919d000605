"""The condition of a PostgreSQL, whatever is in it: what its settings must be so that nothing of ours is lost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

OLDEST = 14
"""The oldest major version of PostgreSQL that every statement works on."""

_FACTS = """
SELECT clock_timestamp() AS at,
       pg_backend_pid() AS pid,
       pg_is_in_recovery() AS is_replica,
       has_schema_privilege(current_schema(), 'CREATE') AS may_create,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int AS connections,
       ARRAY(SELECT name FROM pg_settings WHERE name = ANY($1)) AS names,
       ARRAY(SELECT setting FROM pg_settings WHERE name = ANY($1)) AS settings
"""

REQUIRED: Mapping[str, tuple[str, str]] = {
    "server_encoding": ("UTF8", "texts in Chinese cannot be kept"),
    "default_transaction_read_only": ("off", "nothing can be recorded"),
}
"""What each setting must be, and what happens otherwise."""
MEANT: Mapping[str, tuple[str, str]] = {
    "fsync": ("on", "a crash of its machine loses or spoils everything"),
    "full_page_writes": ("on", "a crash of its machine can spoil pages"),
    "autovacuum": ("on", "tables of work grow until every statement is slow"),
    "default_transaction_isolation": ("read committed", "writes of several processes fail for one another"),
}
"""What each setting should be, and what happens otherwise."""
_NAMES = [*REQUIRED, *MEANT, "synchronous_commit", "max_connections"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a PostgreSQL said of itself; `at` is its clock, `is_pooled` whether something stands in between."""

    version: int
    at: datetime
    is_pooled: bool
    is_replica: bool
    may_create: bool
    connections: int
    settings: Mapping[str, str]

    @property
    def faults(self) -> list[str]:
        """What must not stay so, in sentences."""
        found = []
        if self.version < OLDEST:
            found.append(f"PostgreSQL {self.version} is too old: it takes {OLDEST} or newer")
        if self.is_replica:
            found.append("it is a replica, where nothing can be recorded")
        return found + list(self._unlike(REQUIRED))

    @property
    def risks(self) -> list[str]:
        """What works, but is seldom meant, in sentences."""
        found = list(self._unlike(MEANT))
        if not self.may_create:
            found.append(
                "this role may not create tables: their owner has to run `kling-relay migrate --drop-old` daily"
            )
        if self.settings.get("synchronous_commit") == "off":
            found.append("synchronous_commit is off: a callback that was answered 200 can be lost in a crash")
        return found

    @property
    def most_connections(self) -> int:
        return int(self.settings.get("max_connections", "0"))

    def _unlike(self, wanted: Mapping[str, tuple[str, str]]) -> Iterator[str]:
        for name, (good, otherwise) in wanted.items():
            if (said := self.settings.get(name, good)) != good:
                yield f"{name} is {said}: {otherwise}"


async def look(connection: asyncpg.Connection) -> Condition:
    """Ask the server for its condition; raises what the driver raises."""
    row = await connection.fetchrow(_FACTS, _NAMES)
    assert row is not None
    return Condition(
        version=connection.get_server_version().major,
        at=row["at"],
        # a pooler tells its clients a process of its own making
        is_pooled=row["pid"] != connection.get_server_pid(),
        is_replica=row["is_replica"],
        may_create=bool(row["may_create"]),
        connections=row["connections"],
        settings=dict(zip(row["names"], row["settings"], strict=True)),
    )
