"""The chart rendered by Helm's own engine, as parsed objects; each values file is rendered once in a process."""

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
    """The values of ci/NAME-values.yaml."""
    found: Manifest = yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text())
    return found


def render(given: Manifest, name: str = "demo", source: helm_python.Chart | None = None) -> list[Manifest]:
    """The objects that `helm template NAME` makes of `given`; raises helm_python.HelmError."""
    rendered = (source or chart()).render(given, name=name, namespace="prod")
    texts = [text for path, text in sorted(rendered.items()) if not path.endswith("NOTES.txt")]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


@functools.cache
def objects(name: str) -> list[Manifest]:
    """The objects of ci/NAME-values.yaml."""
    return render(values(name))


def of_kind(found: list[Manifest], kind: str, ending: str = "") -> list[Manifest]:
    """The objects of one kind, of those whose names end in `ending`."""
    return [it for it in found if it["kind"] == kind and it["metadata"]["name"].endswith(ending)]


def one(found: list[Manifest], kind: str, ending: str = "") -> Manifest:
    """The one object of a kind; any other number fails the test."""
    (only,) = of_kind(found, kind, ending)
    return only


def templates(found: list[Manifest]) -> dict[str, Manifest]:
    """Pod templates by the name of their role: api, worker, migrate; partitions is that of a CronJob."""
    owners = [it["spec"]["template"] for it in found if it["kind"] in {"Deployment", "Job"}]
    roles = {it["spec"]["containers"][0]["name"]: it for it in owners}
    for cron in of_kind(found, "CronJob"):
        roles["partitions"] = cron["spec"]["jobTemplate"]["spec"]["template"]
    return roles


def containers(template: Manifest) -> list[Manifest]:
    """All containers of a pod template, the initial ones first."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all values that are not maps with something in them."""
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    else:
        yield path


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a Kubernetes label selector (the whole of one, or a Service's plain map) takes a pod with `labels`."""
    plain = "matchLabels" not in selector and "matchExpressions" not in selector
    wanted = selector if plain else selector.get("matchLabels", {})
    expressions = [] if plain else selector.get("matchExpressions", [])
    assert all(it["operator"] == "In" for it in expressions)
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        labels.get(it["key"]) in it["values"] for it in expressions
    )
