"""SECURITY.md and docs/reliability.md name tests that exist."""

import re

import pytest

from tests.faults.process import POINTS
from tests.support.paths import ROOT

_NAMED = re.compile(r"`(test_[a-z_0-9]+)`")
_DEFINED = re.compile(r"^(?:async )?def (test_[a-z_0-9]+)\(", re.MULTILINE)


def defined() -> set[str]:
    return {name for file in (ROOT / "tests").rglob("test_*.py") for name in _DEFINED.findall(file.read_text())}


def test_every_row_of_the_threat_model_names_tests_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert len(rows) > 20
    assert [row for row in rows if not _NAMED.search(row)] == []
    assert set(_NAMED.findall(text)) - defined() == set()


def test_the_table_of_crashes_has_a_row_for_every_point() -> None:
    text = (ROOT / "docs/reliability.md").read_text()
    rows = [
        line.split("|")[1].strip() for line in text.splitlines() if re.match(r"\| (submit|ingest|deliver|sweep):", line)
    ]
    assert rows == list(POINTS)


@pytest.mark.parametrize("document", ["SECURITY.md", "docs/reliability.md"])
def test_every_file_that_is_named_is_there(document: str) -> None:
    for name in re.findall(r"`((?:tests|service|docs)/[\w/.]+)`", (ROOT / document).read_text()):
        assert (ROOT / name).exists(), name
