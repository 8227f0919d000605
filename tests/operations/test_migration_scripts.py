"""What a migration script may do to tables with rows: each runs without a database, and its statements are read.

A script after the first may not build an index under a lock, rewrite a table, check all rows under a lock, or change
the lock timeout. It adds; what is no longer used is removed by the next release (docs/operations.md).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import alembic.command
import pytest
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

from kling_relay.store.schema.migrate import configuration

_CONCURRENTLY = "use postgresql_concurrently=True in an autocommit_block(), as in 0006"
FORBIDDEN = {
    r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)": _CONCURRENTLY,
    r"DROP INDEX (?!CONCURRENTLY)": _CONCURRENTLY,
    r"ALTER (?:COLUMN )?\S+ (?:SET DATA )?TYPE": "add a new column, and fill it while the service runs",
    r"ALTER COLUMN \S+ SET NOT NULL": "add a CHECK NOT VALID, and validate it in another script",
    r"ADD (?:CONSTRAINT \S+ )?(?:UNIQUE|PRIMARY KEY)": "build a concurrent index, then ADD CONSTRAINT … USING INDEX",
    r"ADD CONSTRAINT \S+ (?:CHECK|FOREIGN KEY)(?!.*NOT VALID)": "add it NOT VALID, and validate it in another script",
    r"ADD COLUMN (?:(?!DEFAULT).)*NOT NULL": "allow NULL, or add a constant default",
    r"DROP TABLE|DROP COLUMN": "wait for the next release, in which nothing uses it",
    r"RENAME ": "add a new table or column; the previous release looks for the old name",
    r"LOCK TABLE|lock_timeout|statement_timeout": "leave it out: store/schema/migrate.py bounds every wait",
}
"""What a script may not do to an existing table, and what to do instead."""
ALLOWED = {"0007": ("DROP TABLE carried", " RENAME ")}
"""What a script may do all the same. Nothing was released before 0007, so nothing older runs beside it. Add no more."""


def later() -> list[Script]:
    """Return every script but the first."""
    return list(ScriptDirectory.from_config(configuration()).walk_revisions())[:-1]


def faults(statements: str, allowed: Sequence[str] = ()) -> Iterator[str]:
    """Yield the faults of one script's statements. Tables that it creates itself are empty and free.

    A statement with one of the texts in `allowed` has no fault.
    """
    created = re.findall(r"CREATE TABLE (\w+)", statements)
    for statement in re.split(r";\s*\n", re.sub(r"--.*", "", statements)):
        text = " ".join(statement.split())
        if any(re.search(rf"\b(?:ON|TABLE) {name}\b", text) for name in created) or any(
            word in text for word in allowed
        ):
            continue
        for pattern, instead in FORBIDDEN.items():
            if re.search(pattern, text):
                yield f"{text[:80]}: {instead}"


def upgrade(config: Config, span: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the SQL of `alembic upgrade --sql`."""
    capsys.readouterr()
    alembic.command.upgrade(config, span, sql=True)
    return capsys.readouterr().out


@pytest.mark.parametrize("script", later(), ids=lambda script: script.revision)
def test_a_script_blocks_neither_readers_nor_writers(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    statements = upgrade(configuration(), f"{script.down_revision}:{script.revision}", capsys)
    assert script.revision in statements
    assert list(faults(statements, ALLOWED.get(script.revision, ()))) == []


@pytest.mark.parametrize("script", later(), ids=lambda script: script.revision)
def test_a_concurrent_index_is_built_outside_of_a_transaction(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    statements = upgrade(configuration(), f"{script.down_revision}:{script.revision}", capsys)
    for index in re.finditer(r"INDEX CONCURRENTLY", statements):
        before = statements[: index.start()]
        assert before.rfind("COMMIT;") > before.rfind("BEGIN;")


@pytest.mark.parametrize(
    ("statement", "is_fine"),
    [
        ("CREATE INDEX tasks_kind ON tasks (kind);\n", False),
        ("CREATE UNIQUE INDEX tasks_kind ON tasks (kind);\n", False),
        ("COMMIT;\nCREATE INDEX CONCURRENTLY tasks_kind ON tasks (kind);\n", True),
        ("CREATE TABLE notes (id UUID NOT NULL);\nCREATE INDEX notes_id ON notes (id);\n", True),
        ("ALTER TABLE keys ADD COLUMN seen_at TIMESTAMP;\n", True),
        ("ALTER TABLE keys ADD COLUMN count INTEGER NOT NULL;\n", False),
        ("ALTER TABLE keys ADD COLUMN count INTEGER DEFAULT '0' NOT NULL;\n", True),
        ("ALTER TABLE keys ALTER COLUMN name TYPE VARCHAR(9);\n", False),
        ("ALTER TABLE keys ALTER COLUMN name SET NOT NULL;\n", False),
        ("ALTER TABLE keys ADD CONSTRAINT named CHECK (name <> '');\n", False),
        ("ALTER TABLE keys ADD CONSTRAINT named CHECK (name <> '') NOT VALID;\n", True),
        ("ALTER TABLE keys DROP COLUMN name;\n", False),
        ("SET LOCAL lock_timeout = '1h';\n", False),
    ],
)
def test_a_statement_that_would_block_is_recognised(statement: str, is_fine: bool) -> None:
    assert (list(faults(statement)) == []) is is_fine


def test_a_scripts_file_is_named_by_its_revision() -> None:
    names = [Path(script.path).name.partition("_")[0] for script in later()]
    assert names == [script.revision for script in later()]
