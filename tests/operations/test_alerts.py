"""Alerts, dashboard and runbook use metrics that exist, and each alert says what to do."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import asyncpg
import click
import pytest
import yaml

from kling_relay.cli.program import program
from kling_relay.observe.instruments import InstrumentDescription
from kling_relay.observe.metrics import ATTEMPT_OUTCOMES, CALLBACK_OUTCOME, SUBMIT_OUTCOME, SWEEP_ACTIONS, Metrics
from tests.support.api_document import ROUTES
from tests.support.paths import ROOT

FILES = ROOT / "helm" / "kling-relay" / "files"
RULES = [rule for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = {rule["record"]: rule for rule in RULES if "record" in rule}
DASHBOARD = json.loads((FILES / "dashboard.json").read_text())
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
ENTRIES = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
SAMPLES: dict[str, InstrumentDescription] = {sample: each for each in Metrics().catalogue for sample in each.samples}
OTHERS = {"up", "process_start_time_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes"}
TARGET_LABELS = {"job", "namespace", "instance", "pod", "le"}

_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_SELECTOR = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{(?P<matchers>[^{}]*)\}")
_MATCHER = re.compile(r'\s*(?P<label>\w+)\s*(?P<operator>=~|!~|!=|=)\s*"(?P<value>[^"]*)"\s*')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^()]*)\)")
_LITERALS = re.compile(r'"[^"]*"|\[[^\]]*\]|\$__\w+')


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"].partition("(")[2].partition(",")[0]
    values = yaml.safe_load((FILES.parent / "values.yaml").read_text())
    yield "keda", re.sub(r"\{\{.*?\}\}", "x", values["worker"]["keda"]["prometheus"]["query"])


EXPRESSIONS = list(expressions())
each_expression = pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)


def named(expression: str) -> set[str]:
    """Return the metrics of an expression: words with a `_` or a `:`, and `up`, that are no label and no function."""
    bare = _LITERALS.sub("", _GROUPING.sub("", re.sub(r"\{[^{}]*\}", "", expression)))
    words = set(_WORD.findall(bare))
    return {word for word in words if word == "up" or word.startswith(("relay_", "relay:", "process_", "python_"))}


@each_expression
def test_every_metric_of_an_expression_exists(where: str, expression: str) -> None:
    found = named(expression)
    assert found, where
    assert found <= SAMPLES.keys() | RECORDS.keys() | OTHERS


@each_expression
def test_every_label_of_an_expression_exists_and_can_have_that_value(where: str, expression: str) -> None:
    known = {
        "outcome": {*CALLBACK_OUTCOME.values(), "malformed", "failed", *ATTEMPT_OUTCOMES, *SUBMIT_OUTCOME.values()},
        "route": {route.name for route in ROUTES},
        "action": set(SWEEP_ACTIONS),
        "state": {"used", "idle", "live", "dead", "recorded", "sending", "accepted", "unknown"},
        "subscriptions": {"healthy", "failing", "closed"},
        "age": {"later", "under_1m", "under_10m", "under_1h", "under_6h", "over_6h", "exhausted"},
    }
    for selector in _SELECTOR.finditer(expression):
        described = SAMPLES.get(selector["name"])
        for part in filter(None, re.split(r",(?=\s*\w+\s*[=!])", selector["matchers"])):
            matcher = _MATCHER.fullmatch(part)
            assert matcher, (where, part)
            if matcher["label"] not in TARGET_LABELS:
                assert described, (where, selector["name"])
                assert matcher["label"] in described.labels, (where, part)
            if matcher["label"] in known:
                assert set(matcher["value"].split("|")) <= known[matcher["label"]], (where, part)


@each_expression
def test_every_expression_is_well_formed(where: str, expression: str) -> None:
    depth = 0
    for each in re.sub(r'"[^"]*"', "", expression):
        depth += {"(": 1, ")": -1, "{": 1, "}": -1, "[": 1, "]": -1}.get(each, 0)
        assert depth >= 0, where
    assert depth == 0
    for call in re.finditer(r"\b(rate|increase|changes)\(", expression):
        inner = expression[call.end() :]
        assert re.match(r"[^()]*\[(\d+[smh]|\$__rate_interval)\]\)", inner), (where, inner[:60])
    counted = re.findall(r"\b(?:rate|increase)\((\w+)", expression)
    assert all(name.endswith(("_total", "_bucket", "_sum", "_count")) for name in counted), where


def test_every_alert_is_tested_firing_and_quiet_with_series_that_exist() -> None:
    """Run the cases with promtool if it is installed. Without it, check that each alert has both, with our series."""
    cases = yaml.safe_load((ROOT / "tests" / "operations" / "alerts.yaml").read_text())["tests"]
    seen: dict[str, list[bool]] = {}
    for case in cases:
        (asked,) = case["promql_expr_test"]
        name = case["name"].split(" ")[0]
        assert f'alertname="{name}",alertstate="firing"' in asked["expr"]
        seen.setdefault(name, []).append(bool(asked["exp_samples"]))
        for given in case["input_series"]:
            selector = _SELECTOR.fullmatch(given["series"])
            assert selector, given
            labels = set(re.findall(r'(\w+)="', selector["matchers"])) - TARGET_LABELS
            described = SAMPLES.get(selector["name"])
            assert labels <= set(described.labels if described else ()), given
            assert described or selector["name"] in OTHERS, given
    assert seen == {name: [True, False] for name in ALERTS}
    if promtool := shutil.which("promtool"):
        for question in (
            ["check", "rules", f"{FILES}/alerts.yaml"],
            ["test", "rules", f"{ROOT}/tests/operations/alerts.yaml"],
        ):
            done = subprocess.run([promtool, *question], capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_named_as_prometheus_advises() -> None:
    for each in Metrics().catalogue:
        assert not re.search(r"_(days|hours|minutes|milliseconds|ms|kilobytes|percent)(_|$)", each.name), each.name
        assert each.name.endswith("_total") or not each.name.endswith(("_count", "_sum", "_bucket")), each.name


def test_every_recording_rule_is_used() -> None:
    used = set().union(*(named(expression) for _, expression in EXPRESSIONS))
    assert RECORDS.keys() <= used


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_what_an_on_call_engineer_needs(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert re.fullmatch(r"\d+[mh]", alert.get("for", "1m"))
    entry = ENTRIES[name]
    for part in ("**Means**", "**Look**", "**Do**" if "**Do**" in entry else "**do**"):
        assert part in entry


def test_the_runbook_speaks_of_no_alert_that_is_not_there() -> None:
    assert list(ENTRIES) == list(ALERTS)
    links = set(re.findall(r"\]\(#(\w+)\)", RUNBOOK))
    assert links <= {name.lower() for name in ALERTS}
    for title in re.findall(r"\(dashboard,\s+\*([^*]+)\*", RUNBOOK) + re.findall(r"at \*([^*]+)\*", RUNBOOK):
        assert title in {panel["title"] for panel in DASHBOARD["panels"]}


SQL = re.findall(r"^```sql\n(.*?)^```", RUNBOOK, re.MULTILINE | re.DOTALL)


async def test_every_statement_of_the_runbook_runs(database: str) -> None:
    assert len(SQL) > 10
    connection = await asyncpg.connect(database)
    try:
        for statement in SQL:
            await connection.fetch(statement)
    finally:
        await connection.close()


def test_every_command_of_the_runbook_is_one_of_ours() -> None:
    told = set(re.findall(r"^kling-relay .*$|`(kling-relay [a-z][^`…]*)`", RUNBOOK, re.MULTILINE)) - {""}
    told |= set(re.findall(r"^(kling-relay .*)$", RUNBOOK, re.MULTILINE))
    assert len(told) >= 5
    for line in told:
        command: click.Command = program
        words = shlex.split(line)[1:]
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        assert command is not program, line
        options = {name for each in command.params for name in each.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_every_log_query_of_the_runbook_asks_for_what_is_logged() -> None:
    source = (ROOT / "service" / "kling_relay" / "observe" / "event_log.py").read_text()
    for event in re.findall(r'\.event == "([^"]+)"', RUNBOOK):
        assert f'"{event}"' in source
    flows = "".join(path.read_text() for path in (ROOT / "service").rglob("*.py"))
    for flow in re.findall(r'\.flow == "([^"]+)"', RUNBOOK):
        assert f'"{flow}"' in flows


def test_the_dashboard_s_panels_do_not_overlap_and_have_names_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place: dict[str, Any] = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    used = set().union(*(named(expression) for _, expression in EXPRESSIONS))
    shown = {SAMPLES[name].name for name in used if name in SAMPLES}
    assert {each.name for each in Metrics().catalogue} - shown == set()
