"""Every statement of the store is good SQL on the migrated schema, and every named statement is used."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import asyncpg
import pytest

from kling_relay import store
from kling_relay.store.postgres.statement import Statement

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(store.__path__, "kling_relay.store.")
    if not module.ispkg
]


def statements_of(module: ModuleType) -> Iterator[tuple[str, Statement]]:
    """Yield the statements of a module with their names, also those that it keeps in a mapping."""
    for name, value in vars(module).items():
        if isinstance(value, Statement):
            yield name, value
        elif isinstance(value, dict):
            for key, one in value.items():
                if isinstance(one, Statement):
                    yield f"{name}[{key}]", one


async def test_every_statement_is_prepared_on_the_migrated_schema(database: str) -> None:
    connection = await asyncpg.connect(database)
    faults, count = [], 0
    try:
        for module in MODULES:
            for name, statement in statements_of(module):
                count += 1
                try:
                    await connection.prepare(statement.sql)
                except asyncpg.PostgresError as error:
                    faults.append(f"{module.__name__}.{name}: {error}")
    finally:
        await connection.close()
    assert faults == []
    assert count > 100


def test_every_sql_file_stands_beside_its_module() -> None:
    files = sorted(Path(store.__path__[0]).rglob("*.sql"))
    modules = {Path(str(module.__file__)).with_suffix(".sql") for module in MODULES}
    assert files
    assert [path for path in files if path not in modules] == []


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if Path(str(module.__file__)).with_suffix(".sql").exists()],
    ids=lambda module: module.__name__.removeprefix("kling_relay.store."),
)
def test_every_named_statement_of_a_file_is_used(module: ModuleType) -> None:
    text = Path(str(module.__file__)).with_suffix(".sql").read_text()
    names = {line.removeprefix("-- name: ") for line in text.splitlines() if line.startswith("-- name: ")}
    used = {statement.sql.partition("\n")[0].removeprefix("-- name: ") for _, statement in statements_of(module)}
    assert names <= used, names - used
