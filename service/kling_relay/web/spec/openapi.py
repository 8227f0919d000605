"""The OpenAPI document, made from the routes, their models, the rule book and the table of error codes."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from kling_relay.core.errors import CODES
from kling_relay.core.rulebook import Rulebook
from kling_relay.web.api.kling import IDEMPOTENCY_KEY, UNKNOWN_FIELDS
from kling_relay.web.http.body import BodyLimit
from kling_relay.web.http.routing import AnyRoute, Api
from kling_relay.web.models.fields import CURSOR_PATTERN, ResponseModel
from kling_relay.web.routes import routes
from kling_relay.web.spec.examples import BODIES, smallest_order
from kling_relay.web.spec.schemas import (
    ERRORS,
    for_generators,
    order_name,
    order_schemas,
    stream_event_schema,
)

_ABOUT = """\
The service between your back end and Kling. An order is on disk as a task before it is sent to the provider, and every
step of a task is an event, signed and delivered until your subscriber accepts it.

Send your key as `Authorization: Bearer <key>` or as `X-API-KEY: <key>`. SDKs that know only an access key and a secret
key sign a JWT (HS256) with the key's id as `iss`. Kling's paths are served under `/kling/v1`, `/v1` and
`/proxy/kling/v1` alike, in Kling's envelope. All others return plain JSON, and errors as `application/problem+json`.

What subscribers receive is described by AsyncAPI: `GET /asyncapi.json`, or `docs/asyncapi.yaml` in the sources.
"""
_TAGS = {
    "Kling": "Orders and tasks, compatible with Kling's own API",
    "Tasks": "The same tasks, with all their details",
    "Events": "The event log, by cursor and as a stream",
    "Subscriptions": "Where events are delivered",
    "Deliveries": "Events on their way to subscribers, with every attempt",
    "Money": "Rules, prices, usage and budgets",
    "Service": "The provider's callbacks, and health",
}
_TAG_BY_PREFIX = (
    ("/kling/", "Kling"),
    ("/v1/tasks", "Tasks"),
    ("/v1/events", "Events"),
    ("/v1/subscriptions", "Subscriptions"),
    ("/v1/hook-secret", "Subscriptions"),
    ("/v1/deliveries", "Deliveries"),
    ("/v1/overview", "Tasks"),
    ("/v1/", "Money"),
    ("/", "Service"),
)
_KEY_ERRORS = (1001, 1002, 1003, 1004, 1103, 1302)
"""Codes of every route that needs a key."""
_REF = "#/components/schemas/"
_UNKNOWN_FIELDS = (
    "Fields of the order that the rule book does not know, with commas and percent-encoded. They are passed on "
    "unread; a misspelt field shows up here. Absent if there are none."
)
_HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "Idempotency-Key": (
        {"type": "string", "pattern": IDEMPOTENCY_KEY},
        "The same key with the same order returns the first task again; with another order the response is 409.",
    ),
    "traceparent": ({"type": "string"}, "W3C trace context; the task's deliveries carry it too."),
    "Last-Event-ID": (
        {"type": "string", "pattern": f"^$|{CURSOR_PATTERN}"},
        "The id of the last event that was received; the stream continues after it. Empty means none.",
    ),
}


@lru_cache(maxsize=4)
def document(rulebook: Rulebook) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of all routes; orders are described by `rulebook`."""
    paths: dict[str, dict[str, Any]] = {}
    served = routes(rulebook)
    for route in served:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, rulebook)
    described = {
        "openapi": "3.1.0",
        "info": {
            "title": "kling-relay",
            "version": "1",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The service that serves this document"}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A client's key, or a JWT"},
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-KEY",
                    "description": "The same, for clients that cannot send Authorization",
                },
            },
            "schemas": {
                **_model_schemas(served),
                **order_schemas(rulebook),
                **ERRORS,
                "StreamedEvent": stream_event_schema(CURSOR_PATTERN),
            },
        },
    }
    return for_generators(described)


def component(model: type[BaseModel]) -> str:
    """Return the name of a model's component: a client's code has a Task, not a TaskResponse."""
    return model.__name__.removesuffix("Response")


def _model_schemas(served: Iterable[AnyRoute]) -> dict[str, Any]:
    models = {model for route in served for model in (route.body, route.response) if model is not None}
    _, schemas = models_json_schema(
        [
            (model, "serialization" if issubclass(model, ResponseModel) else "validation")
            for model in sorted(models, key=lambda model: model.__name__)
        ],
        ref_template=_REF + "{model}",
    )
    return _with_component_names(schemas.get("$defs", {}))


def _with_component_names(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return schemas of models under the names of their components, in keys, titles and references."""
    return {name.removesuffix("Response"): _renamed(schema) for name, schema in definitions.items()}


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: item.removesuffix("Response") if key in {"$ref", "title"} and isinstance(item, str) else _renamed(item)
            for key, item in value.items()
        }
    return [_renamed(item) for item in value] if isinstance(value, list) else value


def _operation(route: AnyRoute, rulebook: Rulebook) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [next(tag for prefix, tag in _TAG_BY_PREFIX if route.path.startswith(prefix))],
        "parameters": [*_path_parameters(route), *_query_parameters(route, rulebook), *_header_parameters(route)],
        "responses": _responses(route),
        "security": [] if route.scope is None else [{"key": []}, {"apiKey": []}],
    }
    if route.scope is not None:
        operation["x-scope"] = route.scope.value
    if (body := _body(route, rulebook)) is not None:
        operation["requestBody"] = body
    return operation


def _path_parameters(route: AnyRoute) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]


def _query_parameters(route: AnyRoute, rulebook: Rulebook) -> list[dict[str, Any]]:
    if route.api is Api.KLING and route.name.startswith("list_"):
        return [
            {"name": "pageNum", "in": "query", "schema": _whole_number(1, 1000, default=1)},
            {"name": "pageSize", "in": "query", "schema": _whole_number(1, 500, default=30)},
        ]
    if route.query is None:
        return []
    schema = route.query.model_json_schema(ref_template=_REF + "{model}")
    required = set(schema.get("required", ()))
    parameters = [_parameter(name, field, schema, required) for name, field in schema.get("properties", {}).items()]
    for parameter in parameters:
        if parameter["name"] == "kind":
            parameter["schema"]["items"] = {"type": "string", "enum": list(rulebook.kinds)}
    return parameters


def _parameter(name: str, field: Mapping[str, Any], root: Mapping[str, Any], required: set[str]) -> dict[str, Any]:
    """Return a query parameter; an optional one is left out rather than null, and a list is written with commas."""
    rest = dict(field)
    not_null = [schema for schema in rest.pop("anyOf", [rest]) if schema.get("type") != "null"]
    default = {} if rest.get("default") is None else {"default": rest["default"]}
    schema = _inlined({**not_null[0], **default}, root)
    parameter: dict[str, Any] = {"name": name, "in": "query", "required": name in required, "schema": schema}
    if schema.get("type") == "array":
        parameter |= {"style": "form", "explode": False}
    if description := schema.pop("description", None) or rest.get("description"):
        parameter["description"] = description
    schema.pop("title", None)
    return parameter


def _inlined(schema: Any, root: Mapping[str, Any]) -> Any:
    """Return `schema` with its references replaced by what they refer to in `root`."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
        return {key: _inlined(value, root) for key, value in schema.items()}
    return [_inlined(item, root) for item in schema] if isinstance(schema, list) else schema


def _header_parameters(route: AnyRoute) -> list[dict[str, Any]]:
    names = ["Idempotency-Key", "traceparent"] if route.name.startswith("order_") else []
    names += ["Last-Event-ID"] if route.media_type == "text/event-stream" else []
    return [
        {"name": name, "in": "header", **dict(zip(("schema", "description"), _HEADERS[name], strict=True))}
        for name in names
    ]


def _body(route: AnyRoute, rulebook: Rulebook) -> dict[str, Any] | None:
    """Return the request's body with an example; a body without members may be left out, and has none."""
    media_type, required = "application/json", True
    schema: dict[str, Any]
    if route.name.startswith("order_"):
        schema = {"$ref": _REF + order_name(route.path)}
    elif route.name == "quote":
        schema = {"$ref": _REF + "QuoteRequest"}
    elif route.body_limit is BodyLimit.CALLBACK:
        media_type, schema = "*/*", {"description": "Kling's flat callback body; other content is recorded too"}
    elif route.body is not None:
        schema, required = {"$ref": _REF + component(route.body)}, bool(route.body.model_fields)
    else:
        return None
    example = {"example": _example(route, rulebook)} if required else {}
    return {"required": required, "content": {media_type: {"schema": schema, **example}}}


def _example(route: AnyRoute, rulebook: Rulebook) -> Mapping[str, Any]:
    if route.name.startswith("order_") and route.name not in BODIES:
        return smallest_order(rulebook.operations[route.path.removeprefix("/kling/v1/")])
    return BODIES[route.name]


def _responses(route: AnyRoute) -> dict[str, Any]:
    success: dict[str, Any] = {"description": route.summary}
    if route.response is not None:
        success["content"] = {route.media_type: {"schema": {"$ref": _REF + component(route.response)}}}
    elif route.media_type != "application/json":
        success["content"] = {route.media_type: {"schema": {"$ref": _REF + "StreamedEvent"}}}
    if route.name.startswith("order_") or route.name == "quote":
        success["headers"] = {UNKNOWN_FIELDS: {"schema": {"type": "string"}, "description": _UNKNOWN_FIELDS}}
    if route.text_media_type is not None:
        success["content"][route.text_media_type] = {"schema": {"type": "string"}}
    content = _error_content(route)
    return {str(route.status): success} | {
        str(status): {"description": "; ".join(f"{code} {CODES[code].meaning}" for code in codes), "content": content}
        for status, codes in sorted(_codes_by_status(route).items())
    }


def _codes_by_status(route: AnyRoute) -> dict[int, list[int]]:
    codes = {*route.errors}
    if route.scope is not None:
        codes.update(_KEY_ERRORS)
    if route.query or route.body:
        codes.add(1200)
    if route.is_report:
        codes.update((1200, 5001))
    by_status: dict[int, list[int]] = {}
    for code in sorted(codes):
        by_status.setdefault(CODES[code].status, []).append(code)
    if 1205 in codes:
        by_status.setdefault(408, []).append(1200)
    if route.body or route.body_limit is BodyLimit.ORDER:
        by_status.setdefault(415, []).append(1200)
    return by_status


def _error_content(route: AnyRoute) -> dict[str, Any]:
    if route.name == "readyz":
        return {"application/json": {"schema": {"$ref": _REF + "Health"}}}
    if route.api is Api.KLING:
        return {"application/json": {"schema": {"$ref": _REF + "KlingError"}}}
    return {"application/problem+json": {"schema": {"$ref": _REF + "Problem"}}}


def _whole_number(minimum: int, maximum: int, *, default: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": minimum, "maximum": maximum, "default": default}
