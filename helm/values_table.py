#!/usr/bin/env python3
"""Writes the values table of the chart's README from the `# --` comments of values.yaml.

`--check` changes nothing and exits with 1 if the table is stale.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "kling-relay"
START, END = "<!-- values: made by helm/values_table.py -->", "<!-- /values -->"
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][A-Za-z0-9]*):")


@dataclass(frozen=True, slots=True)
class Row:
    """One documented key, in the order of the file."""

    section: str
    path: tuple[str, ...]
    text: str


def rows(source: str) -> Iterator[Row]:
    """Yield every key of `source` with a `# --` comment above it; keys below it without one belong to it."""
    section, text = "", ""
    path: list[str] = []
    for line in source.splitlines():
        comment = line.strip()
        if comment.startswith("## "):
            section = comment.removeprefix("## ")
        elif comment.startswith("# -- "):
            text = comment.removeprefix("# -- ")
        elif text and comment.startswith("# "):
            text += " " + comment.removeprefix("# ")
        elif key := _KEY.match(line):
            depth = len(key["indent"]) // 2
            path = [*path[:depth], key["key"]]
            if text:
                yield Row(section, tuple(path), text)
            text = ""


def default_of(values: dict[str, Any], path: tuple[str, ...]) -> str:
    """Return the default at `path` as JSON in backticks, if it is short enough for a table."""
    value: Any = values
    for key in path:
        value = value[key]
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= 60 else "see values.yaml"


def table() -> str:
    """Return the table, with a heading for each section."""
    source = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(source)
    lines: list[str] = []
    section = ""
    for row in rows(source):
        if row.section != section:
            section = row.section
            lines += ["", f"### {section}", "", "| value | meaning | default |", "|---|---|---|"]
        text = row.text.replace("|", "\\|")
        lines.append(f"| `{'.'.join(row.path)}` | {text} | {default_of(values, row.path)} |")
    return "\n".join(lines).strip()


def with_table(readme: str) -> str:
    """Return `readme` with a new table between its two marks; raise ValueError if a mark is missing."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"README.md lacks {START} or {END}")
    return f"{before}{START}\n\n{table()}\n\n{END}{after}"


def main(arguments: list[str]) -> int:
    readme = CHART / "README.md"
    current = readme.read_text()
    updated = with_table(current)
    if "--check" in arguments:
        if updated != current:
            sys.stderr.write("helm/kling-relay/README.md is stale: run helm/values_table.py\n")
        return int(updated != current)
    readme.write_text(updated)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
