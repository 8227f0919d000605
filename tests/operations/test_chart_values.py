"""The chart's values: wrong ones are refused, they match the service's settings, and their docs are current."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from typing import Any

import asyncpg
import helm_python
import pytest
import yaml

from kling_relay.settings import Row, describe, read
from tests.support.chart import CHART, CI, MIN, chart, containers, leaves, objects, one, render, templates, values

HELM = CHART.parent
# Settings without a value: the embedded PostgreSQL is for a single host, the chart mounts the directory of secrets,
# and the last two belong to the command line.
NOT_FOR_PODS = {"RELAY_DATA_DIR", "RELAY_SECRETS_DIR", "RELAY_URL", "RELAY_KEY"}
OPTIONAL_INSIDE = {"resources", "strategy", "fallback", "startup", "liveness", "readiness"}
OUR_OWN_DEFAULT = {"host", "port", "metricsPort", "publicUrl", "shutdownDelay", "logFormat"}
DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


def setting(camel: str) -> str:
    return "RELAY_" + re.sub(r"(?=[A-Z])", "_", camel).upper()


def service_settings(*, secret: bool) -> dict[str, Row]:
    return {row.name: row for row in describe() if row.is_secret is secret and row.name not in NOT_FOR_PODS}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"replicaCount": 3}, ["replicaCount", "not allowed"]),
        ({"settings": {"sweepafter": "60s"}}, ["settings", "sweepafter", "not allowed"]),
        ({"settings": {"sweepAfter": "a minute"}}, ["/settings/sweepAfter", "a minute", "pattern"]),
        ({"settings": {"sweepAfter": 60}}, ["/settings/sweepAfter", "want string"]),
        ({"settings": {"providerDialect": "official"}}, ["/settings/providerDialect", "gateway", "kling"]),
        ({"settings": {"allowedNetworks": ["10.0.0.1"]}}, ["/settings/allowedNetworks/0", "10.0.0.1"]),
        ({"settings": {"databasePooler": "yes"}}, ["/settings/databasePooler", "yes"]),
        ({"settings": {"processes": 0}}, ["/settings/processes", "minimum"]),
        ({"image": {"digest": "latest"}}, ["/image/digest", "latest", "sha256"]),
        ({"image": {"pullPolicy": "Sometimes"}}, ["/image/pullPolicy", "IfNotPresent"]),
        ({"api": {"replicas": -1}}, ["/api/replicas", "minimum"]),
        ({"api": {"resources": {"limit": {}}}}, ["/api/resources", "limit", "not allowed"]),
        ({"api": {"probes": {"liveness": {"httpGet": {}}}}}, ["/api/probes/liveness", "httpGet"]),
        ({"worker": {"keda": {"maxReplicas": 1000}}}, ["/worker/keda/maxReplicas", "256"]),
        ({"callbacks": {"path": "/hooks"}}, ["/callbacks/path", "/hooks", "callbacks$"]),
        ({"service": {"type": "Cluster"}}, ["/service/type", "ClusterIP"]),
        ({"secrets": {"databaseURL": {}}}, ["/secrets", "databaseURL", "not allowed"]),
        ({"commonLabels": {"team": 1}}, ["/commonLabels/team", "want string"]),
        ({"migrations": {"restored": "yes"}}, ["/migrations/restored", "want boolean"]),
        ({"migrations": {"partitions": {"schedule": "daily"}}}, ["/migrations/partitions/schedule", "daily"]),
        ({"networkPolicy": {"database": {"ports": []}}}, ["/networkPolicy/database/ports", "minItems"]),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(helm_python.HelmError) as refused:
        render(MIN | given)
    assert [word for word in words if word not in str(refused.value)] == []


def test_an_umbrella_chart_may_pass_global_values() -> None:
    assert render(MIN | {"global": {"anything": [1]}, "enabled": True}) == render(MIN)


def test_contradictions_between_values_are_reported_all_at_once() -> None:
    wrong = {
        "secrets": {"signingKeys": {"value": "x", "existingSecret": "y"}},
        "settings": {"providerUrl": "https://api.openai-hk.com", "metricsPort": 8080},
        "ingress": {"enabled": True},
        "httpRoute": {"enabled": True},
        "callbacks": {"httpRoute": {"enabled": True}},
        "api": {"autoscaling": {"enabled": True, "minReplicas": 4, "maxReplicas": 3}},
        "worker": {"keda": {"enabled": True, "maxReplicas": 1, "minReplicas": 2, "trigger": "prometheus"}},
    }
    with pytest.raises(helm_python.HelmError) as refused:
        render(wrong)
    faults = [line.strip() for line in str(refused.value).splitlines() if line.startswith("  - ")]
    assert len(faults) == len(set(faults)) == 12
    assert faults[0].startswith("- RELAY_DATABASE_URL has no source: set secrets.existingSecret")


def test_a_release_without_a_shared_provider_is_refused() -> None:
    with pytest.raises(helm_python.HelmError, match="providerUrl is empty: api and worker would each have a sandbox"):
        render({"secrets": MIN["secrets"]})
    with pytest.raises(helm_python.HelmError, match=r"migrations\.restored without migrations\.enabled"):
        render(MIN | {"migrations": {"enabled": False, "restored": True}})


def test_every_setting_of_the_service_is_a_value_and_every_value_a_setting() -> None:
    plain = {setting(name): name for name in DEFAULTS["settings"]}
    secret = {setting(name): name for name in DEFAULTS["secrets"] if name != "existingSecret"}
    assert plain.keys() == service_settings(secret=False).keys()
    assert secret.keys() == service_settings(secret=True).keys()
    used = set(re.findall(r"RELAY_[A-Z_]*[A-Z]", "".join(item["data"] for item in chart().templates)))
    assert used <= {row.name for row in describe()}


def test_the_documented_defaults_are_those_of_the_service() -> None:
    for row in values_rows():
        if row.path[0] == "settings" and len(row.path) == 2 and row.path[1] not in OUR_OWN_DEFAULT:
            of_service = service_settings(secret=False)[setting(row.path[1])].default.split(";")[0]
            assert row.text.endswith(f"[{of_service}]"), row


@pytest.mark.parametrize("name", CI)
def test_the_service_reads_the_rendered_settings(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    manifests = objects(name)
    rendered = next(item for item in manifests if item["kind"] == "ConfigMap" and "RELAY_PORT" in item["data"])["data"]
    for key, value in rendered.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("RELAY_SECRETS_DIR", str(tmp_path))
    secrets = {
        "RELAY_DATABASE_URL": "postgresql://relay:secret@postgres/relay",
        "RELAY_SIGNING_KEYS": "k" * 32,
        "RELAY_PROVIDER_KEY": "hk-key" if "RELAY_PROVIDER_URL" in rendered else "",
    }
    for key, value in secrets.items():
        if value:
            (tmp_path / key).write_text(value + "\n")
    settings = read()
    assert settings.public_url == rendered["RELAY_PUBLIC_URL"]
    assert settings.host == "0.0.0.0"


def test_an_empty_setting_is_left_to_the_service() -> None:
    rendered = one(render(MIN), "ConfigMap")["data"]
    assert set(rendered) == {setting(name) for name in OUR_OWN_DEFAULT | {"providerUrl"}}


@pytest.mark.parametrize("name", CI)
def test_secret_settings_are_files_and_never_environment(name: str) -> None:
    secret = set(service_settings(secret=True))
    for manifest in objects(name):
        assert manifest["kind"] != "ConfigMap" or secret.isdisjoint(manifest["data"])
    for template in templates(objects(name)).values():
        (volume,) = [item for item in template["spec"]["volumes"] if item["name"] == "secrets"]
        files = {item["path"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]}
        required = {
            item["path"]
            for source in volume["projected"]["sources"]
            for item in source["secret"]["items"]
            if not source["secret"]["optional"]
        }
        assert {"RELAY_DATABASE_URL", "RELAY_SIGNING_KEYS"} <= required <= files <= secret
        for container in template["spec"]["containers"][:1] + template["spec"].get("initContainers", [])[:1]:
            assert secret.isdisjoint(item["name"] for item in container["env"])
            (mount,) = [item for item in container["volumeMounts"] if item["name"] == "secrets"]
            environment = {item["name"]: item.get("value") for item in container["env"]}
            assert environment["RELAY_SECRETS_DIR"] == mount["mountPath"]


def test_the_chart_makes_a_secret_only_from_values_in_plain_text() -> None:
    assert [item for item in objects("minimal") if item["kind"] == "Secret"] == []
    assert one(objects("full"), "Secret")["stringData"] == {"RELAY_BOOTSTRAP_KEY": "a-trial-key-that-nobody-has"}
    notes = chart().render(values("full"))["kling-relay/templates/NOTES.txt"]
    assert "a-trial-key-that-nobody-has" not in notes
    assert "in plain text" in notes


def test_the_migration_may_have_its_own_database_url() -> None:
    manifests = templates(objects("full"))
    sources = {
        role: {
            item["path"]: source["secret"]["name"]
            for volume in template["spec"]["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
            for item in source["secret"]["items"]
        }
        for role, template in manifests.items()
    }
    assert sources["migrate"]["RELAY_DATABASE_URL"] == "relay-db-superuser"
    assert sources["api"]["RELAY_DATABASE_URL"] == sources["worker"]["RELAY_DATABASE_URL"] == "relay-db-app"


async def test_the_scaling_query_runs_on_the_schema(database: str) -> None:
    trigger = one(objects("keda"), "ScaledObject")["spec"]["triggers"][0]
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval(trigger["metadata"]["query"]) == 0
    finally:
        await connection.close()


def test_a_digest_wins_over_the_tag() -> None:
    digest = values("restricted")["image"]["digest"]
    for template in templates(objects("restricted")).values():
        for item in containers(template):
            assert item["image"] == f"registry.example.com/media/kling-relay:{chart().metadata['appVersion']}@{digest}"


def test_the_values_schema_lists_exactly_the_values() -> None:
    def resolve(node: dict[str, Any]) -> dict[str, Any]:
        reference = node.get("$ref", "")
        return resolve(SCHEMA["$defs"][reference.removeprefix("#/$defs/")]) if reference else node

    def compare(node: dict[str, Any], tree: dict[str, Any], path: str) -> None:
        known = resolve(node).get("properties")
        if known is None or ("properties" in node and not tree):
            return
        assert resolve(node)["additionalProperties"] is False, path
        if path.rsplit(".", maxsplit=1)[-1] not in OPTIONAL_INSIDE:
            assert set(known) - ({"enabled"} if not path else set()) == set(tree), path
        for key, value in tree.items():
            if isinstance(value, dict):
                compare(known[key], value, f"{path}.{key}")

    compare(SCHEMA, DEFAULTS, "")
    assert SCHEMA["properties"]["enabled"]["type"] == "boolean"
    assert "additionalProperties" not in SCHEMA["properties"]["global"]


def values_rows() -> list[Any]:
    script = runpy.run_path(str(HELM / "values_table.py"))
    return list(script["rows"]((CHART / "values.yaml").read_text()))


def test_every_value_is_documented_and_the_readme_is_not_stale() -> None:
    documented = {row.path for row in values_rows()}
    undocumented = [
        path for path in leaves(DEFAULTS) if not any(path[:depth] in documented for depth in range(1, len(path) + 1))
    ]
    assert undocumented == []
    checked = subprocess.run(
        [sys.executable, HELM / "values_table.py", "--check"], check=False, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_values_in_the_docs_can_be_rendered() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", (HELM.parent / "docs" / "kubernetes.md").read_text(), re.DOTALL)
    for given in [item for item in map(yaml.safe_load, examples) if "apiVersion" not in item]:
        complete = {**MIN, **given, **{key: MIN[key] | given.get(key, {}) for key in ("callbacks", "settings")}}
        assert render(complete)


def test_the_chart_and_the_project_have_the_same_version() -> None:
    project = tomllib.loads((HELM.parent / "pyproject.toml").read_text())["project"]
    assert chart().metadata["appVersion"] == project["version"]
    assert f"## {chart().version}" in (CHART / "UPGRADING.md").read_text()
