#!/usr/bin/env python3
"""The values table of the chart's README is made from the `# --` comments of values.yaml: neither can say what the
other does not. Without arguments it is written into README.md; `--check` changes nothing and fails where it is stale.
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
OPENING, CLOSING = "<!-- values: made by helm/values_table.py -->", "<!-- /values -->"
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][A-Za-z0-9]*):")


@dataclass(frozen=True, slots=True)
class Row:
    """One documented key, in the order of the file."""

    section: str
    path: tuple[str, ...]
    text: str


def rows(source: str) -> Iterator[Row]:
    """Every key of `source` that a `# --` comment stands above; deeper keys without one are part of it."""
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
    """The default at `path` as JSON in back ticks, short enough for a table."""
    value: Any = values
    for key in path:
        value = value[key]
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= 60 else "see values.yaml"


def table() -> str:
    """The whole table, a heading for each section."""
    source = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(source)
    lines: list[str] = []
    section = ""
    for row in rows(source):
        if row.section != section:
            section = row.section
            lines += ["", f"### {section}", "", "| value | what it is | default |", "|---|---|---|"]
        text = row.text.replace("|", "\\|")
        lines.append(f"| `{'.'.join(row.path)}` | {text} | {default_of(values, row.path)} |")
    return "\n".join(lines).strip()


def fresh(readme: str) -> str:
    """`readme` with the table between its two marks made anew; raises ValueError where a mark is missing."""
    before, opening, rest = readme.partition(OPENING)
    _, closing, after = rest.partition(CLOSING)
    if not opening or not closing:
        raise ValueError(f"README.md lacks {OPENING} or {CLOSING}")
    return f"{before}{OPENING}\n\n{table()}\n\n{CLOSING}{after}"


def main(arguments: list[str]) -> int:
    readme = CHART / "README.md"
    current = readme.read_text()
    made = fresh(current)
    if "--check" in arguments:
        if made != current:
            sys.stderr.write("helm/kling-relay/README.md is stale: run helm/values_table.py\n")
        return int(made != current)
    readme.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
