"""A check of a PostgreSQL server, whatever its databases hold: would its version and settings lose anything of ours?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Statement

MIN_VERSION = 14
"""The oldest major version of PostgreSQL on which every statement works."""

REQUIRED: Mapping[str, tuple[str, str]] = {
    "server_encoding": ("UTF8", "Chinese texts cannot be stored"),
    "default_transaction_read_only": ("off", "nothing can be recorded"),
}
"""By setting: the value it must have, and the consequence of any other."""
RECOMMENDED: Mapping[str, tuple[str, str]] = {
    "fsync": ("on", "if its machine crashes, data is lost or corrupted"),
    "full_page_writes": ("on", "if its machine crashes, pages can be corrupted"),
    "autovacuum": ("on", "work tables grow until every statement is slow"),
    "default_transaction_isolation": ("read committed", "processes make each other's writes fail"),
}
"""By setting: the value it should have, and the consequence of any other."""

_SERVER_FACTS = Statement(load_sql(__name__)["server_facts"])
_NAMES = [*REQUIRED, *RECOMMENDED, "synchronous_commit", "max_connections"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCheck:
    """What a server says about itself; `at` is its clock, `is_pooled` whether there is a pooler in between."""

    version: int
    at: datetime
    is_pooled: bool
    is_replica: bool
    can_create: bool
    connections: int
    settings: Mapping[str, str]

    @property
    def faults(self) -> list[str]:
        """What makes the server unusable, as sentences."""
        faults = []
        if self.version < MIN_VERSION:
            faults.append(f"PostgreSQL {self.version} is too old: {MIN_VERSION} or newer is needed")
        if self.is_replica:
            faults.append("it is a replica, where nothing can be recorded")
        return faults + list(self._deviations(REQUIRED))

    @property
    def risks(self) -> list[str]:
        """What works, but is seldom intended, as sentences."""
        risks = list(self._deviations(RECOMMENDED))
        if not self.can_create:
            risks.append("this role cannot create tables: their owner must run `kling-relay migrate --drop-old` daily")
        if self.settings.get("synchronous_commit") == "off":
            risks.append("synchronous_commit is off: a callback that was answered 200 can be lost in a crash")
        return risks

    @property
    def max_connections(self) -> int:
        return int(self.settings.get("max_connections", "0"))

    def _deviations(self, expected: Mapping[str, tuple[str, str]]) -> Iterator[str]:
        for name, (value, consequence) in expected.items():
            if (actual := self.settings.get(name, value)) != value:
                yield f"{name} is {actual}: {consequence}"


async def check_server(connection: asyncpg.Connection) -> ServerCheck:
    """Return what the server says about itself; raises the driver's errors."""
    row = await connection.fetchrow(_SERVER_FACTS.sql, *_SERVER_FACTS.arguments({"names": _NAMES}))
    assert row is not None  # a SELECT without FROM is always one row
    return ServerCheck(
        version=connection.get_server_version().major,
        at=row["at"],
        # a pooler gives its clients process ids of its own
        is_pooled=row["pid"] != connection.get_server_pid(),
        is_replica=row["is_replica"],
        can_create=bool(row["can_create"]),
        connections=row["connections"],
        settings=dict(zip(row["names"], row["settings"], strict=True)),
    )
