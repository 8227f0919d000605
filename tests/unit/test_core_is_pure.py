"""The core is pure: import contracts keep out what does I/O, this test keeps out what needs no import."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kling_relay.core

FOLDER = Path(kling_relay.core.__file__).parent
IMPURE = frozenset({"open", "print", "input", "exec", "eval", "__file__", "__import__"})


def names_in(source: str) -> Iterator[str]:
    return (
        node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    )


@pytest.mark.parametrize("module", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_a_module_of_the_core_neither_opens_files_nor_prints(module: Path) -> None:
    assert IMPURE.isdisjoint(names_in(module.read_text(encoding="utf-8")))


def test_the_core_holds_nothing_but_python() -> None:
    assert {path.suffix for path in FOLDER.rglob("*") if path.is_file()} <= {".py", ".pyc", ".typed"}
