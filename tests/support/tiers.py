"""Tiers of tests. Markers follow from what a test uses, so that nobody can forget them.

`db`: it uses a PostgreSQL. `process`: it starts processes of its own. `browser`: it drives one. Only `long`, for a
test that takes more than about five seconds, is written beside the test.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

_DATABASE_FIXTURES = {"postgres", "database"}
_DATABASE_SOURCE = re.compile(r"tests\.faults\.cluster|store\.embedded\.server")
_PROCESS_FOLDERS = {"operations"}
_PROCESS_FIXTURES = {"stage"}
_PROCESS_SOURCE = re.compile(
    r"\bsubprocess\b|create_subprocess|tests\.support\.(processes|pgbouncer|backup|releases)|tests\.faults\.(process|cluster)"
)


def mark(item: pytest.Item) -> None:
    """Give a test the markers of its tier."""
    fixtures = set(getattr(item, "fixturenames", ()))
    source, folders = _source(item.path), set(item.path.relative_to(ROOT / "tests").parts[:-1])
    if fixtures & _DATABASE_FIXTURES or _DATABASE_SOURCE.search(source):
        item.add_marker("db")
    if folders & _PROCESS_FOLDERS or fixtures & _PROCESS_FIXTURES or _PROCESS_SOURCE.search(source):
        item.add_marker("process")
    if "browser" in folders:
        item.add_marker("browser")


@cache
def _source(path: Path) -> str:
    return path.read_text("utf-8") if path.suffix == ".py" else ""
