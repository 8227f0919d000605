"""Tiers of tests. Markers follow from what a test uses, so that nobody can forget them.

`db`: it uses a PostgreSQL. `process`: it starts processes of its own. `browser`: it drives one. Only `long`, for a
test that takes more than about a second, is written beside the test.

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
    file, markers = _name_and_markers(item.path)
    if fixtures & _DATABASE_FIXTURES:
        markers |= {"db"}
    if fixtures & _PROCESS_FIXTURES:
        markers |= {"process"}
    for marker in sorted(markers):
        item.add_marker(marker)
    if not is_slow(item) or (_shares_fixtures(item) and not item.get_closest_marker("long")):
        item.add_marker(pytest.mark.xdist_group(file))


@cache
def _name_and_markers(path: Path) -> tuple[str, frozenset[str]]:
    """Return what follows from a file alone: it has many tests, and its text is long."""
    file = path.relative_to(ROOT)
    folders = set(file.parts[1:-1])
    text = path.read_text("utf-8") if path.suffix == ".py" else ""
    markers = {
        "db": bool(_DATABASE_SOURCE.search(text)),
        "process": bool(folders & _PROCESS_FOLDERS or _PROCESS_SOURCE.search(text)),
        "browser": "browser" in folders,
    }
    return str(file), frozenset(name for name, is_true in markers.items() if is_true)


def is_slow(item: pytest.Item) -> bool:
    """Return whether `make test-fast` leaves the test out."""
    return any(item.get_closest_marker(name) for name in SLOW)


def _shares_fixtures(item: pytest.Item) -> bool:
    fixtures = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009 - no public way to the scopes
    return any(fixture.scope in {"module", "class"} for definitions in fixtures for fixture in definitions)
