"""Named SQL files are split into statements, and their named arguments become numbered ones."""

import pytest

from kling_relay.store.postgres.queries import numbered, split
from kling_relay.store.postgres.statement import Statement

FILE = """\
-- name: get_task
-- One task of a client.
SELECT status FROM tasks
WHERE id = :task;

-- name: count_tasks
-- Every task, of everybody.
SELECT count(*) FROM tasks;
"""


def test_a_file_is_split_into_its_statements_which_keep_their_names() -> None:
    assert split(FILE) == {
        "get_task": "-- name: get_task\nSELECT status FROM tasks\nWHERE id = :task",
        "count_tasks": "-- name: count_tasks\nSELECT count(*) FROM tasks",
    }


def test_a_fragment_is_put_in_wherever_it_is_named() -> None:
    text = "-- name: a\n-- Comment.\nSELECT {head}, {head} - 1;\n"
    assert split(text, head="1 + 1") == {"a": "-- name: a\nSELECT 1 + 1, 1 + 1 - 1"}
    with pytest.raises(KeyError, match="head"):
        split(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("SELECT 1;\n-- name: a\n-- Comment.\nSELECT 1;", "before the first"),
        ("-- name: a b\n-- Comment.\nSELECT 1;", "not a name"),
        ("-- name: a\n-- Comment.\nSELECT 1;\n-- name: a\n-- Comment.\nSELECT 1;", "two statements"),
        ("-- name: a\nSELECT 1;", "comment"),
        ("-- name: a\n-- Comment.\nSELECT 1\n", "semicolon"),
        ("-- name: a", "comment"),
    ],
)
def test_a_malformed_file_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        split(text)


def test_an_argument_has_one_number_however_often_it_is_used() -> None:
    assert numbered("SELECT :b, :a, :b") == ("SELECT $1, $2, $1", ["b", "a"])


@pytest.mark.parametrize(
    "text",
    [
        "SELECT now()::text",
        "SELECT 'at :noon', 'it''s :late'",
        r"SELECT E'a\':b'",
        'SELECT 1 AS ":name", 2 AS "a"":b"',
        "SELECT $$ :a $$, $x$ :a $$ :b $x$",
        "SELECT 1 -- not :this\n",
        "SELECT 1 /* nor\n:that */",
        "SELECT list[1:2], f(a := 1)",
    ],
)
def test_text_that_only_looks_like_an_argument_is_left_alone(text: str) -> None:
    assert numbered(text) == (text, [])


def test_a_cast_follows_its_argument_and_literals_do_not_hide_the_next_one() -> None:
    text = "SELECT 'it''s', :ids::uuid[], 'x' /* :y */ || :z::text -- :w\n"
    assert numbered(text) == ("SELECT 'it''s', $1::uuid[], 'x' /* :y */ || $2::text -- :w\n", ["ids", "z"])


def test_a_statement_of_text_takes_its_arguments_by_name() -> None:
    statement = Statement("SELECT :a::int, :b::int, :a::int")
    assert statement.sql == "SELECT $1::int, $2::int, $1::int"
    assert statement.arguments({"b": 2, "a": None}) == [None, 2]
    with pytest.raises(KeyError):
        statement.arguments({"a": 1})
    with pytest.raises(KeyError, match="c"):
        statement.arguments({"a": 1, "b": 2, "c": 3})
