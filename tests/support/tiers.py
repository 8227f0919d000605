"""Tiers of tests. Markers follow from what a test uses, so that nobody can forget them.

`db`: it uses a PostgreSQL. `process`: it starts processes of its own. `browser`: it drives one. Only `long`, for a
test that takes more than about five seconds, is written beside the test.

The slow tests are distributed first and one by one, so that no worker is left with many of them at the end. The others
go to a worker by files; so do slow ones that are not `long` and share what a fixture makes once for their file.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SLOW = ("process", "browser", "long")

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
    if not is_slow(item) or (_shares_fixtures(item) and not item.get_closest_marker("long")):
        item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(ROOT))))


def is_slow(item: pytest.Item) -> bool:
    """Return whether `make test-fast` leaves the test out."""
    return any(item.get_closest_marker(name) for name in SLOW)


def _shares_fixtures(item: pytest.Item) -> bool:
    fixtures = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009 - no public way to the scopes
    return any(fixture.scope in {"module", "class"} for definitions in fixtures for fixture in definitions)


@cache
def _source(path: Path) -> str:
    return path.read_text("utf-8") if path.suffix == ".py" else ""
