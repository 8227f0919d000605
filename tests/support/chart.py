"""The chart rendered by Helm's own engine, as parsed objects; each values file is rendered once per process."""

import functools
from collections.abc import Iterator
from typing import Any

import helm_python
import yaml

from tests.support.paths import ROOT

Manifest = dict[str, Any]
CHART = ROOT / "helm" / "kling-relay"
CI = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
MIN: Manifest = {
    "secrets": {"existingSecret": "kling-relay"},
    "settings": {"providerUrl": "https://api.openai-hk.com"},
    "callbacks": {"host": "hooks.example.com"},
}


@functools.cache
def chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


@functools.cache
def values(name: str) -> Manifest:
    """Return the values of ci/NAME-values.yaml."""
    loaded: Manifest = yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text())
    return loaded


def render(given: Manifest, name: str = "demo", source: helm_python.Chart | None = None) -> list[Manifest]:
    """Return the objects that `helm template NAME` renders from `given`; raise helm_python.HelmError."""
    rendered = (source or chart()).render(given, name=name, namespace="prod")
    texts = [text for path, text in sorted(rendered.items()) if not path.endswith("NOTES.txt")]
    return [item for text in texts for item in yaml.safe_load_all(text) if item]


@functools.cache
def objects(name: str) -> list[Manifest]:
    """Return the objects of ci/NAME-values.yaml."""
    return render(values(name))


def of_kind(manifests: list[Manifest], kind: str, ending: str = "") -> list[Manifest]:
    """Return the objects of a kind whose names end in `ending`."""
    return [item for item in manifests if item["kind"] == kind and item["metadata"]["name"].endswith(ending)]


def one(manifests: list[Manifest], kind: str, ending: str = "") -> Manifest:
    """Return the only object of a kind; any other number fails the test."""
    (only,) = of_kind(manifests, kind, ending)
    return only


def templates(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return the pod templates by role: api, worker, migrate, and partitions if there is a CronJob."""
    owners = [item["spec"]["template"] for item in manifests if item["kind"] in {"Deployment", "Job"}]
    roles = {item["spec"]["containers"][0]["name"]: item for item in owners}
    for cron in of_kind(manifests, "CronJob"):
        roles["partitions"] = cron["spec"]["jobTemplate"]["spec"]["template"]
    return roles


def containers(template: Manifest) -> list[Manifest]:
    """Return all containers of a pod template, init containers first."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all values that are not non-empty maps."""
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    else:
        yield path


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Return whether a label selector, or a Service's plain map, matches a pod with `labels`."""
    plain = "matchLabels" not in selector and "matchExpressions" not in selector
    required = selector if plain else selector.get("matchLabels", {})
    expressions = [] if plain else selector.get("matchExpressions", [])
    assert all(item["operator"] == "In" for item in expressions)
    return all(labels.get(key) == value for key, value in required.items()) and all(
        labels.get(item["key"]) in item["values"] for item in expressions
    )
