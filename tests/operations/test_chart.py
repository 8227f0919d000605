"""The objects of the chart, rendered by Helm's own engine, for every values file under ci/."""

import json
import re
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import helm_python
import jsonschema  # type: ignore[import-untyped]  # ships no types
import kubernetes_validate  # type: ignore[import-untyped]  # ships no types
import pytest
import yaml

from tests.support.chart import (
    CHART,
    CI,
    MIN,
    Manifest,
    chart,
    containers,
    objects,
    of_kind,
    one,
    render,
    selects,
    templates,
    values,
)
from tests.support.crds import CRDS

KUBERNETES = ("1.29", "1.34", "1.37")
ROLES = ("api", "worker", "migrate")
each_values_file = pytest.mark.parametrize("name", CI)


def changed(given: Manifest, path: str, value: Any) -> Manifest:
    copy = deepcopy(given)
    *parents, last = path.split(".")
    place = copy
    for key in parents:
        place = place.setdefault(key, {})
    place[last] = value
    return copy


@each_values_file
def test_lint_reports_no_warning(name: str) -> None:
    report = helm_python.lint(CHART, values(name), strict=True, namespace="prod")
    assert report["errors"] == []
    assert [it for it in report["messages"] if it["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES)
@each_values_file
def test_every_object_is_valid_for_kubernetes(name: str, version: str) -> None:
    for found in objects(name):
        if found["kind"] in CRDS:
            jsonschema.validate(found, CRDS[found["kind"]])
        else:
            assert kubernetes_validate.validate(found, version, strict=True) == version


@each_values_file
def test_no_two_objects_share_a_name_and_all_are_labelled(name: str) -> None:
    found = objects(name)
    names = [(it["kind"], it["metadata"].get("namespace"), it["metadata"]["name"]) for it in found]
    assert len(set(names)) == len(names)
    for it in found:
        if it["metadata"].get("namespace"):  # not what extraObjects brings
            assert it["metadata"]["labels"].items() >= {"app.kubernetes.io/instance": "demo"}.items()


@each_values_file
def test_every_container_meets_the_restricted_standard(name: str) -> None:
    for template in templates(objects(name)).values():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(spec)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {next(iter(set(it) - {"name"})) for it in spec["volumes"]} <= {"projected", "emptyDir", "configMap"}
        for it in containers(template):
            context = it["securityContext"]
            assert context["runAsNonRoot"] is context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context.get("runAsUser") != 0
            assert not any("hostPort" in port for port in it.get("ports", []))


@each_values_file
def test_replicas_are_left_to_the_autoscaler_where_there_is_one(name: str) -> None:
    found = objects(name)
    scaled = {it["spec"]["scaleTargetRef"]["name"] for it in found if "scaleTargetRef" in it.get("spec", {})}
    deployments = of_kind(found, "Deployment")
    assert scaled <= {it["metadata"]["name"] for it in deployments}
    for it in deployments:
        assert ("replicas" in it["spec"]) is (it["metadata"]["name"] not in scaled)


def test_autoscalers_are_rendered_where_they_are_asked_for() -> None:
    assert one(objects("hpa"), "HorizontalPodAutoscaler", "-api")["spec"]["minReplicas"] == 3
    trigger = one(objects("keda"), "ScaledObject", "-worker")["spec"]["triggers"][0]
    reference = one(objects("keda"), "TriggerAuthentication", trigger["authenticationRef"]["name"])
    assert reference["spec"]["secretTargetRef"][0] == {
        "parameter": "connection", "name": "kling-relay-reader", "key": "uri"
    }  # fmt: skip
    (asked,) = one(objects("keda-prometheus"), "ScaledObject")["spec"]["triggers"]
    assert asked["type"] == "prometheus"
    assert 'namespace="prod"' in asked["metadata"]["query"]
    assert not [it for it in objects("minimal") if "scaleTargetRef" in it.get("spec", {})]


def test_a_drain_evicts_one_pod_at_a_time() -> None:
    budgets = of_kind(objects("minimal"), "PodDisruptionBudget")
    assert [it["spec"]["maxUnavailable"] for it in budgets] == [1, 1]


def test_every_selector_matches_its_own_pods_and_no_other_releases() -> None:
    given = values("full") | {"fullnameOverride": "", "serviceAccount": {"name": ""}, "extraObjects": []}
    mine, other = render(given, "blue"), render(given, "blue-two")
    pods = {role: it["metadata"]["labels"] for role, it in templates(mine).items()}
    strangers = [it["metadata"]["labels"] for it in templates(other).values()]
    taken: dict[str, set[str]] = {}
    for it in mine:
        spec = it.get("spec", {})
        for key in ("selector", "podSelector"):
            if isinstance(spec, dict) and key in spec:
                own = {role for role, labels in pods.items() if selects(spec[key], labels)}
                taken[f"{it['kind']}/{it['metadata']['name']}"] = own
                assert not any(selects(spec[key], labels) for labels in strangers)
    for role, template in templates(mine).items():
        for spread in template["spec"].get("topologySpreadConstraints", []):
            assert [other for other, labels in pods.items() if selects(spread["labelSelector"], labels)] == [role]
    name = "blue-kling-relay"
    assert taken.pop(f"Service/{name}") == {"api"}
    assert taken.pop(f"PodMonitor/{name}") == {"api", "worker"}
    assert taken == {
        f"{kind}/{name}-{role}": {role}
        for role in ROLES
        for kind in ("Deployment", "PodDisruptionBudget", "NetworkPolicy")
        if kind == "NetworkPolicy" or role != "migrate"
    }
    names = [{(it["kind"], it["metadata"]["name"]) for it in found} for found in (mine, other)]
    assert names[0].isdisjoint(names[1])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("settings.sweepAfter", "2m"),
        ("callbacks.host", "other.example.com"),
        ("image.tag", "9.9.9"),
        ("image.digest", "sha256:" + "0" * 64),
        ("extraEnv", [{"name": "SSL_CERT_FILE", "value": "/ca.pem"}]),
        ("secrets.bootstrapKey.value", "another-trial-key"),
    ],
)
def test_a_changed_setting_or_image_rolls_the_pods_and_runs_a_new_migration(path: str, value: Any) -> None:
    before, after = objects("minimal"), render(changed(values("minimal"), path, value))
    for role in ROLES:
        assert templates(before)[role] != templates(after)[role]
    assert one(before, "Job")["metadata"]["name"] != one(after, "Job")["metadata"]["name"]


def test_values_that_a_pod_does_not_use_leave_it_unchanged(tmp_path: Path) -> None:
    shutil.copytree(CHART, tmp_path / "kling-relay")
    description = tmp_path / "kling-relay" / "Chart.yaml"
    description.write_text(description.read_text().replace("\nversion: ", "\nversion: 99"))
    with helm_python.Chart.load(tmp_path / "kling-relay") as newer:
        after = render(changed(values("minimal"), "api.replicas", 5), source=newer)
    assert templates(after) == templates(objects("minimal"))
    before_job, after_job = one(objects("minimal"), "Job"), one(after, "Job")
    assert after_job["metadata"]["labels"]["helm.sh/chart"].startswith("kling-relay-99")
    assert (after_job["metadata"]["name"], after_job["spec"]) == (before_job["metadata"]["name"], before_job["spec"])


@each_values_file
def test_the_schema_is_a_plain_job_that_every_pod_waits_for(name: str) -> None:
    found = objects(name)
    assert "helm.sh/hook" not in json.dumps(found)
    job = one(found, "Job")
    assert re.fullmatch(r".*-migrate-[0-9a-f]{10}", job["metadata"]["name"])
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][0] == "migrate"
    for role in ("api", "worker"):
        waiting = templates(found)[role]["spec"]["initContainers"][0]
        assert waiting["args"] == ["migrate", "--wait"]
        assert waiting["image"] == job["spec"]["template"]["spec"]["containers"][0]["image"]


def test_without_the_job_pods_still_wait() -> None:
    found = render(changed(MIN, "migrations.enabled", value=False))
    assert of_kind(found, "Job") == of_kind(found, "NetworkPolicy", "-migrate") == []
    assert templates(found)["api"]["spec"]["initContainers"][0]["args"] == ["migrate", "--wait"]


@each_values_file
def test_rendering_twice_gives_the_same_objects(name: str) -> None:
    with helm_python.Chart.load(CHART) as again:
        assert render(values(name), source=again) == objects(name)


def test_probes_use_the_port_of_the_api_and_the_metrics_port_of_the_worker() -> None:
    for role, port in (("api", "http"), ("worker", "metrics")):
        container = templates(objects("minimal"))[role]["spec"]["containers"][0]
        asked = {it: container[f"{it}Probe"]["httpGet"] for it in ("startup", "liveness", "readiness")}
        assert asked["startup"] == asked["liveness"] == {"path": "/livez", "port": port}
        assert asked["readiness"] == {"path": "/readyz", "port": port}
        assert port in {it["name"] for it in container["ports"]}


def test_alerts_and_dashboard_are_the_files_less_what_is_switched_off() -> None:
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    there = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    rendered = one(objects("full"), "PrometheusRule")["spec"]["groups"]
    rules = [rule for group in rendered for rule in group["rules"] if "alert" in rule]
    disabled = set(values("full")["metrics"]["rules"]["disabled"])
    assert {rule["alert"] for rule in rules} == there - disabled
    assert all(rule["labels"].items() >= {"team": "media"}.items() for rule in rules)
    dashboard = one(objects("full"), "ConfigMap", "-dashboard")["data"]["kling-relay.json"]
    assert json.loads(dashboard) == json.loads((CHART / "files" / "dashboard.json").read_text())


def test_long_names_stay_within_kubernetes_limits() -> None:
    found = render(values("full") | {"fullnameOverride": "", "nameOverride": "n" * 60}, "r" * 53)
    assert max(len(it["metadata"]["name"]) for it in found) <= 63
    assert all(len(it["metadata"].get("labels", {}).get("app.kubernetes.io/name", "")) <= 63 for it in found)


def test_a_packaged_chart_has_all_that_renders_and_nothing_of_ci(tmp_path: Path) -> None:
    with helm_python.Chart.load(helm_python.package(CHART, destination=tmp_path)) as packed:
        assert render(values("full"), source=packed) == objects("full")
        names = {it["name"] for it in packed.files}
    assert {"README.md", "UPGRADING.md", "files/alerts.yaml", "files/dashboard.json"} <= names
    assert not [it for it in names if it.startswith("ci/")]


def test_every_template_is_rendered_by_some_values_file() -> None:
    used = {path for name in CI for path, text in chart().render(values(name)).items() if text.strip()}
    sources = {f"kling-relay/{it['name']}" for it in chart().templates if not it["name"].endswith(".tpl")}
    assert used == sources
