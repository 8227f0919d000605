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
    assert [item for item in report["messages"] if item["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES)
@each_values_file
def test_every_object_is_valid_for_kubernetes(name: str, version: str) -> None:
    for manifest in objects(name):
        if manifest["kind"] in CRDS:
            jsonschema.validate(manifest, CRDS[manifest["kind"]])
        else:
            assert kubernetes_validate.validate(manifest, version, strict=True) == version


@each_values_file
def test_no_two_objects_share_a_name_and_all_are_labelled(name: str) -> None:
    manifests = objects(name)
    names = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in manifests]
    assert len(set(names)) == len(names)
    for item in manifests:
        if item["metadata"].get("namespace"):  # not what extraObjects brings
            assert item["metadata"]["labels"].items() >= {"app.kubernetes.io/instance": "demo"}.items()


@each_values_file
def test_every_container_meets_the_restricted_standard(name: str) -> None:
    for template in templates(objects(name)).values():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(spec)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {next(iter(set(item) - {"name"})) for item in spec["volumes"]} <= {"projected", "emptyDir", "configMap"}
        for item in containers(template):
            context = item["securityContext"]
            assert context["runAsNonRoot"] is context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context.get("runAsUser") != 0
            assert not any("hostPort" in port for port in item.get("ports", []))


@each_values_file
def test_an_autoscaled_deployment_has_no_replicas(name: str) -> None:
    manifests = objects(name)
    scaled = {item["spec"]["scaleTargetRef"]["name"] for item in manifests if "scaleTargetRef" in item.get("spec", {})}
    deployments = of_kind(manifests, "Deployment")
    assert scaled <= {item["metadata"]["name"] for item in deployments}
    for item in deployments:
        assert ("replicas" in item["spec"]) is (item["metadata"]["name"] not in scaled)


def test_autoscalers_are_rendered_if_enabled() -> None:
    assert one(objects("hpa"), "HorizontalPodAutoscaler", "-api")["spec"]["minReplicas"] == 3
    trigger = one(objects("keda"), "ScaledObject", "-worker")["spec"]["triggers"][0]
    reference = one(objects("keda"), "TriggerAuthentication", trigger["authenticationRef"]["name"])
    assert reference["spec"]["secretTargetRef"][0] == {
        "parameter": "connection", "name": "kling-relay-reader", "key": "uri"
    }  # fmt: skip
    (trigger,) = one(objects("keda-prometheus"), "ScaledObject")["spec"]["triggers"]
    assert trigger["type"] == "prometheus"
    assert 'namespace="prod"' in trigger["metadata"]["query"]
    assert not [item for item in objects("minimal") if "scaleTargetRef" in item.get("spec", {})]


def test_a_drain_evicts_one_pod_at_a_time() -> None:
    budgets = of_kind(objects("minimal"), "PodDisruptionBudget")
    assert [item["spec"]["maxUnavailable"] for item in budgets] == [1, 1]


def test_every_selector_matches_its_own_pods_and_no_other_releases() -> None:
    given = values("full") | {"fullnameOverride": "", "serviceAccount": {"name": ""}, "extraObjects": []}
    first, second = render(given, "blue"), render(given, "blue-two")
    pods = {role: item["metadata"]["labels"] for role, item in templates(first).items()}
    other_labels = [item["metadata"]["labels"] for item in templates(second).values()]
    matched: dict[str, set[str]] = {}
    for item in first:
        spec = item.get("spec", {})
        for key in ("selector", "podSelector"):
            if isinstance(spec, dict) and key in spec:
                own = {role for role, labels in pods.items() if selects(spec[key], labels)}
                matched[f"{item['kind']}/{item['metadata']['name']}"] = own
                assert not any(selects(spec[key], labels) for labels in other_labels)
    for role, template in templates(first).items():
        for spread in template["spec"].get("topologySpreadConstraints", []):
            assert [other for other, labels in pods.items() if selects(spread["labelSelector"], labels)] == [role]
    name = "blue-kling-relay"
    assert matched.pop(f"Service/{name}") == {"api"}
    assert matched.pop(f"PodMonitor/{name}") == {"api", "worker"}
    assert matched == {
        f"{kind}/{name}-{role}": {role}
        for role in ROLES
        for kind in ("Deployment", "PodDisruptionBudget", "NetworkPolicy")
        if kind == "NetworkPolicy" or role != "migrate"
    }
    names = [{(item["kind"], item["metadata"]["name"]) for item in manifests} for manifests in (first, second)]
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
def test_a_changed_setting_or_image_restarts_the_pods_and_creates_a_new_job(path: str, value: Any) -> None:
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
    manifests = objects(name)
    assert "helm.sh/hook" not in json.dumps(manifests)
    job = one(manifests, "Job")
    assert re.fullmatch(r".*-migrate-[0-9a-f]{10}", job["metadata"]["name"])
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][0] == "migrate"
    for role in ("api", "worker"):
        waiting = templates(manifests)[role]["spec"]["initContainers"][0]
        assert waiting["args"] == ["migrate", "--wait"]
        assert waiting["image"] == job["spec"]["template"]["spec"]["containers"][0]["image"]


def test_without_the_job_pods_still_wait() -> None:
    manifests = render(changed(MIN, "migrations.enabled", value=False))
    assert of_kind(manifests, "Job") == of_kind(manifests, "NetworkPolicy", "-migrate") == []
    assert templates(manifests)["api"]["spec"]["initContainers"][0]["args"] == ["migrate", "--wait"]


@each_values_file
def test_rendering_twice_gives_the_same_objects(name: str) -> None:
    with helm_python.Chart.load(CHART) as loaded:
        assert render(values(name), source=loaded) == objects(name)


def test_probes_use_the_port_of_the_api_and_the_metrics_port_of_the_worker() -> None:
    for role, port in (("api", "http"), ("worker", "metrics")):
        container = templates(objects("minimal"))[role]["spec"]["containers"][0]
        probes = {item: container[f"{item}Probe"]["httpGet"] for item in ("startup", "liveness", "readiness")}
        assert probes["startup"] == probes["liveness"] == {"path": "/livez", "port": port}
        assert probes["readiness"] == {"path": "/readyz", "port": port}
        assert port in {item["name"] for item in container["ports"]}


def test_alerts_and_dashboard_are_the_files_without_disabled_alerts() -> None:
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    rendered = one(objects("full"), "PrometheusRule")["spec"]["groups"]
    rules = [rule for group in rendered for rule in group["rules"] if "alert" in rule]
    disabled = set(values("full")["metrics"]["rules"]["disabled"])
    assert {rule["alert"] for rule in rules} == alerts - disabled
    assert all(rule["labels"].items() >= {"team": "media"}.items() for rule in rules)
    dashboard = one(objects("full"), "ConfigMap", "-dashboard")["data"]["kling-relay.json"]
    assert json.loads(dashboard) == json.loads((CHART / "files" / "dashboard.json").read_text())


def test_long_names_stay_within_kubernetes_limits() -> None:
    manifests = render(values("full") | {"fullnameOverride": "", "nameOverride": "n" * 60}, "r" * 53)
    assert max(len(item["metadata"]["name"]) for item in manifests) <= 63
    assert all(len(item["metadata"].get("labels", {}).get("app.kubernetes.io/name", "")) <= 63 for item in manifests)


def test_a_packaged_chart_renders_and_does_not_contain_ci(tmp_path: Path) -> None:
    with helm_python.Chart.load(helm_python.package(CHART, destination=tmp_path)) as packed:
        assert render(values("full"), source=packed) == objects("full")
        names = {item["name"] for item in packed.files}
    assert {"README.md", "UPGRADING.md", "files/alerts.yaml", "files/dashboard.json"} <= names
    assert not [item for item in names if item.startswith("ci/")]


def test_every_template_is_rendered_by_some_values_file() -> None:
    used = {path for name in CI for path, text in chart().render(values(name)).items() if text.strip()}
    sources = {f"kling-relay/{item['name']}" for item in chart().templates if not item["name"].endswith(".tpl")}
    assert used == sources
