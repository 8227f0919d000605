"""What a migration script may do to tables with rows: each is run without a database, and its statements are read.

A script after the first may not build an index under a lock, rewrite a table, check all rows under a lock, or change
a lock's patience. It adds; what nobody uses any more is taken away in the release after (docs/operations.md).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import alembic.command
import pytest
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

from kling_relay.store.schema.migrate import configuration

_CONCURRENTLY = "postgresql_concurrently=True in an autocommit_block(), as in 0006"
FORBIDDEN = {
    r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)": _CONCURRENTLY,
    r"DROP INDEX (?!CONCURRENTLY)": _CONCURRENTLY,
    r"ALTER (?:COLUMN )?\S+ (?:SET DATA )?TYPE": "a new column, filled beside the service",
    r"ALTER COLUMN \S+ SET NOT NULL": "a CHECK that is NOT VALID, validated in a script of its own",
    r"ADD (?:CONSTRAINT \S+ )?(?:UNIQUE|PRIMARY KEY)": "a concurrent index, then ADD CONSTRAINT … USING INDEX",
    r"ADD CONSTRAINT \S+ (?:CHECK|FOREIGN KEY)(?!.*NOT VALID)": "NOT VALID, validated in a script of its own",
    r"ADD COLUMN (?:(?!DEFAULT).)*NOT NULL": "a column that may be null, or a constant default",
    r"DROP TABLE|DROP COLUMN": "the release after, which may take away what nobody uses any more",
    r"RENAME ": "a new table or column; the release before would not find what it looks for",
    r"LOCK TABLE|lock_timeout|statement_timeout": "nothing: store/schema/migrate.py bounds every wait",
}
"""What a script may not do to a table that was there before, and what to do instead."""
ALLOWED = {"0007": ("DROP TABLE carried", " RENAME ")}
"""What a script may do all the same. Nothing was released before 0007, so nothing older runs beside it. Add no more."""


def later() -> list[Script]:
    found = list(ScriptDirectory.from_config(configuration()).walk_revisions())
    return found[:-1]


def faults(statements: str, allowed: Sequence[str] = ()) -> Iterator[str]:
    """Yield what is wrong with the statements of one script; tables that it makes itself are empty and free.

    A statement that holds one of the texts in `allowed` is not wrong.
    """
    made = re.findall(r"CREATE TABLE (\w+)", statements)
    for statement in re.split(r";\s*\n", re.sub(r"--.*", "", statements)):
        text = " ".join(statement.split())
        if any(re.search(rf"\b(?:ON|TABLE) {name}\b", text) for name in made) or any(word in text for word in allowed):
            continue
        for pattern, instead in FORBIDDEN.items():
            if re.search(pattern, text):
                yield f"{text[:80]}: say {instead}"


def upgrade(config: Config, span: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `alembic upgrade --sql` would say to a database."""
    capsys.readouterr()
    alembic.command.upgrade(config, span, sql=True)
    return capsys.readouterr().out


@pytest.mark.parametrize("script", later(), ids=lambda script: script.revision)
def test_a_script_stands_in_nobody_s_way(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    statements = upgrade(configuration(), f"{script.down_revision}:{script.revision}", capsys)
    assert script.revision in statements
    assert list(faults(statements, ALLOWED.get(script.revision, ()))) == []


@pytest.mark.parametrize("script", later(), ids=lambda script: script.revision)
def test_a_concurrent_index_is_built_outside_of_a_transaction(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    said = upgrade(configuration(), f"{script.down_revision}:{script.revision}", capsys)
    for found in re.finditer(r"INDEX CONCURRENTLY", said):
        before = said[: found.start()]
        assert before.rfind("COMMIT;") > before.rfind("BEGIN;")


@pytest.mark.parametrize(
    ("said", "is_fine"),
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
def test_the_reader_of_scripts_knows_what_stands_in_the_way(said: str, is_fine: bool) -> None:
    assert (list(faults(said)) == []) is is_fine


def test_no_script_swallows_the_name_of_another() -> None:
    names = [Path(script.path).name.partition("_")[0] for script in later()]
    assert names == [script.revision for script in later()]
