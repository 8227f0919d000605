"""Strict schemas of the custom resources that the chart creates, from their projects' API references.

They contain only the fields that the chart uses; any other field is a mistake in the chart or is missing here.
"""

from typing import Any

Shape = dict[str, Any]

TEXT: Shape = {"type": "string", "minLength": 1}
COUNT: Shape = {"type": "integer", "minimum": 0}
TEXTS: Shape = {"type": "object", "additionalProperties": {"type": "string"}}


def _map(required: dict[str, Shape], optional: dict[str, Shape] | None = None) -> Shape:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def _list(item: Shape, min_items: int = 1) -> Shape:
    return {"type": "array", "minItems": min_items, "items": item}


def _resource(version: str, kind: str, spec: Shape) -> Shape:
    metadata = _map({"name": TEXT, "namespace": TEXT, "labels": TEXTS}, {"annotations": TEXTS})
    return _map({"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": metadata, "spec": spec})


_SELECTOR = _map({}, {"matchLabels": TEXTS, "matchExpressions": _list({"type": "object"})})
_PARENT = _map({"name": TEXT}, {"namespace": TEXT, "sectionName": TEXT, "kind": TEXT, "group": TEXT, "port": COUNT})
_PATH = _map({"type": {"enum": ["PathPrefix", "Exact"]}, "value": {"type": "string", "pattern": "^/"}})
_REWRITE = _map(
    {
        "path": _map(
            {"type": {"enum": ["ReplacePrefixMatch"]}, "replacePrefixMatch": {"type": "string", "pattern": "^/"}}
        )
    }
)
_FILTER = _map(
    {"type": {"enum": ["URLRewrite", "ResponseHeaderModifier", "RequestHeaderModifier"]}},
    {"urlRewrite": _REWRITE, "responseHeaderModifier": {"type": "object"}, "requestHeaderModifier": {"type": "object"}},
)
_ROUTE_RULE = _map(
    {"matches": _list(_map({"path": _PATH})), "backendRefs": _list(_map({"name": TEXT, "port": COUNT}))},
    {"filters": _list(_FILTER), "timeouts": _map({}, {"request": TEXT, "backendRequest": TEXT})},
)
_TRIGGER = _map({"type": TEXT, "metadata": TEXTS}, {"authenticationRef": _map({"name": TEXT}, {"kind": TEXT})})
_RULE = _map(
    {"expr": TEXT},
    {"alert": TEXT, "record": TEXT, "for": TEXT, "keep_firing_for": TEXT, "labels": TEXTS, "annotations": TEXTS},
)

CRDS: dict[str, Shape] = {
    "HTTPRoute": _resource(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        _map({"parentRefs": _list(_PARENT), "rules": _list(_ROUTE_RULE)}, {"hostnames": _list(TEXT)}),
    ),
    "ScaledObject": _resource(
        "keda.sh/v1alpha1",
        "ScaledObject",
        _map(
            {
                "scaleTargetRef": _map({"apiVersion": TEXT, "kind": TEXT, "name": TEXT}),
                "minReplicaCount": COUNT,
                "maxReplicaCount": COUNT,
                "triggers": _list(_TRIGGER),
            },
            {
                "pollingInterval": COUNT,
                "cooldownPeriod": COUNT,
                "fallback": _map({"failureThreshold": COUNT, "replicas": COUNT}),
                "advanced": _map({"horizontalPodAutoscalerConfig": _map({"behavior": {"type": "object"}})}),
            },
        ),
    ),
    "TriggerAuthentication": _resource(
        "keda.sh/v1alpha1",
        "TriggerAuthentication",
        _map({"secretTargetRef": _list(_map({"parameter": TEXT, "name": TEXT, "key": TEXT}))}),
    ),
    "PodMonitor": _resource(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        _map(
            {
                "selector": _SELECTOR,
                "namespaceSelector": _map({"matchNames": _list(TEXT)}),
                "podMetricsEndpoints": _list(
                    _map(
                        {"port": TEXT, "path": TEXT},
                        {
                            "interval": TEXT,
                            "scrapeTimeout": TEXT,
                            "relabelings": _list({"type": "object"}),
                            "metricRelabelings": _list({"type": "object"}),
                        },
                    )
                ),
            },
            {"podTargetLabels": _list(TEXT)},
        ),
    ),
    "PrometheusRule": _resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        _map({"groups": _list(_map({"name": TEXT, "rules": _list(_RULE)}, {"interval": TEXT, "labels": TEXTS}))}),
    ),
}
