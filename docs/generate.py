"""Documents that are made from the code: PAGES says which file comes from which function, and `--check` compares."""

import json
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import yaml

from kling_relay.cli import reference as cli
from kling_relay.core.task import CLIENT_STATUS, FINAL, MOVES
from kling_relay.observe.metrics import Metrics
from kling_relay.provider.rulebook_file import load_rulebook
from kling_relay.settings import describe
from kling_relay.web.spec import asyncapi, openapi

ROOT = Path(__file__).parents[1]
_NOTE = "<!-- Made by `make docs`; change its source instead. -->\n"


def settings_page() -> str:
    """All settings as tables, from service/kling_relay/settings/groups.py."""
    text = f"""{_NOTE}
# Settings

Settings are read once at the start, from the environment or from files of the same names in `RELAY_SECRETS_DIR` (the
environment overrides files). An empty value counts as not set. The service does not start with wrong values or unknown
`RELAY_` names, and reports all of them at once. `kling-relay settings` prints these tables with the present values.

Times are written as `250ms`, `15s`, `2m`, `6h` or `90d`, sizes as `512B`, `64KiB` or `32MiB`, lists with commas, yes
and no as `1` and `0`. A setting with 🔒 is secret and never appears in a log, an error or a table.
"""
    for group, rows in groupby(describe(), key=lambda row: row.group):
        text += f"\n## {group}\n\n| name | meaning | default |\n|---|---|---|\n"
        for row in rows:
            words = [cell.replace("|", "\\|") for cell in (row.meaning, row.default)]
            text += f"| `{row.name}`{' 🔒' if row.is_secret else ''} | {words[0]} | {words[1]} |\n"
    return text


def states_page() -> str:
    """The state machine of a task as a diagram, from MOVES in service/kling_relay/core/task.py."""
    lines = [
        f"    {status} --> {target}: {signal}"
        for status, moves in MOVES.items()
        for signal, target in moves.items()
        if status != target
    ]
    ends = [f"    {status} --> [*]" for status, moves in MOVES.items() if not moves]
    shown = "".join(
        f"| {status} | {CLIENT_STATUS[status]} | {'yes' if status in FINAL else 'no'} |\n" for status in MOVES
    )
    diagram = "\n".join(["stateDiagram-v2", f"    [*] --> {next(iter(MOVES))}: order", *lines, *ends])
    return f"""{_NOTE}
# States of a task

Drawn from `MOVES` in `service/kling_relay/core/task.py`. A signal without an arrow is stale: it is stored with
the callbacks and changes nothing. Each arrow is labelled with the signal that moves the task; each move is one event.

```mermaid
{diagram}
```

| status | status that clients see | final for clients |
|---|---|---|
{shown}"""


def metrics_page() -> str:
    """Every metric of ours, from the catalogue of service/kling_relay/observe."""
    text = f"""{_NOTE}
# Metrics

`GET /metrics` on `RELAY_METRICS_PORT`, with `/livez` and `/readyz` beside it. Labels have closed sets of values: ids,
addresses and texts from outside are never labels. Metrics marked 🗄 come from the database. The worker that owns shard 0
reads them every 15 seconds, and it alone shows them: take the `max` over instances. If nobody can read them they are
absent, never stale. `process_` and `python_` metrics are the usual ones of the Prometheus client.

How to use them: [the dashboard](../helm/kling-relay/files/dashboard.json),
[the alerts](../helm/kling-relay/files/alerts.yaml), [the runbook](runbook.md), [observability](observability.md).

| metric | type | labels | meaning |
|---|---|---|---|
"""
    for each in Metrics().catalogue:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        name = each.samples[0] if each.kind == "counter" else each.name
        text += f"| `{name}` | {each.kind} | {labels} | {'🗄 ' * each.is_from_database}{each.meaning} |\n"
    return text


def openapi_document() -> str:
    """The API, from the route table and the wire models."""
    return json.dumps(openapi.document(load_rulebook("seed")), indent=1, ensure_ascii=False) + "\n"


def asyncapi_document() -> str:
    """The events, from their types and formats."""
    apart = json.loads(json.dumps(asyncapi.document()))  # what stands in two places is written out in both
    text = yaml.safe_dump(apart, sort_keys=False, allow_unicode=True, width=110)
    return "# Made by `make docs`; change its source instead.\n" + text


PAGES: dict[str, Callable[[], str]] = {
    "docs/asyncapi.yaml": asyncapi_document,
    "docs/cli.md": lambda: f"{_NOTE}\n{cli.page()}",
    "docs/metrics.md": metrics_page,
    "docs/openapi.json": openapi_document,
    "docs/settings.md": settings_page,
    "docs/states.md": states_page,
}
"""Paths from the project's root; add yours here."""


def main(arguments: list[str]) -> int:
    """Write every page, or with `--check` only say which are stale; returns the exit status."""
    stale = [path for path, page in PAGES.items() if _read(ROOT / path) != page()]
    if "--check" in arguments:
        for path in stale:
            print(f"{path} is stale: run `make docs`.")
        return 1 if stale else 0
    for path in stale:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(PAGES[path](), encoding="utf-8")
        print(f"{path} written.")
    return 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
