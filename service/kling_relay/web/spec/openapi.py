"""The OpenAPI document: made of the route table, the wire models, the rule book of the seed and the list of codes."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from kling_relay.core.errors import CODES
from kling_relay.core.operation import Kind, Operation, operation_of
from kling_relay.web.api.kling import IDEMPOTENCY_KEY
from kling_relay.web.api.routes import ROUTES
from kling_relay.web.http.body import Size
from kling_relay.web.http.request import Family, Route
from kling_relay.web.models import responses
from kling_relay.web.models.fields import PLACE
from kling_relay.web.spec.schemas import REFUSALS, order_name, orders, streamed, webhook

_ABOUT = """\
The service between a back end and Kling: an order becomes a task on disk before the provider hears of it, and every
step of a task is an event that is delivered, signed, until it is heard.

Send the key as `Authorization: Bearer <key>`; SDKs that only know an access key and a secret key sign a JWT (HS256)
with the key's id as `iss`. Kling's paths answer under `/kling/v1`, `/v1` and `/proxy/kling/v1` alike, in Kling's
envelope; the others in plain JSON, their errors as `application/problem+json`.
"""
_TAGS = {
    "Kling": "Orders and tasks, to the letter of Kling's own API",
    "Tasks": "The same tasks, with all that is known of them",
    "Events": "The log of events, by cursor and as a stream",
    "Subscriptions": "Who is told of events",
    "Deliveries": "Events on their way, with every attempt",
    "Money": "What may be ordered, what it costs, and what was used",
    "Service": "The provider's door, and health",
}
_TAG_OF = (
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
_EVERYWHERE = (1001, 1002, 1003, 1004, 1103, 1302)
"""Codes of every path that asks for a key."""
_HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "Idempotency-Key": (
        {"type": "string", "pattern": IDEMPOTENCY_KEY},
        "The same key and order give the first task again; with another order it is 409.",
    ),
    "traceparent": ({"type": "string"}, "W3C trace context; it goes along with the task's deliveries."),
    "Last-Event-ID": (
        {"type": "string", "pattern": f"^$|{PLACE}"},
        "The id of the last event that was heard; the stream goes on behind it. Empty is none.",
    ),
}


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of everything in the route table."""
    models = sorted({model for route in ROUTES for model in _models(route)}, key=lambda model: model.__name__)
    _, defined = models_json_schema(
        [(model, "serialization" if issubclass(model, responses.Shown) else "validation") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kling-relay",
            "version": "1",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "webhooks": {"event": {"post": webhook()}},
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A client's key, or a JWT"}},
            "schemas": {**defined.get("$defs", {}), **orders(), **REFUSALS, "StreamedEvent": streamed(PLACE)},
        },
    }


def _models(route: Route) -> Iterable[type[BaseModel]]:
    return (model for model in (route.body, route.answer) if model is not None)


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [next(tag for start, tag in _TAG_OF if route.path.startswith(start))],
        "parameters": [*_path(route), *_query(route), *_headers(route)],
        "responses": _responses(route),
    }
    if route.scope is not None:
        operation["security"] = [{"key": []}]
        operation["x-scope"] = route.scope.value
    if (content := _body(route)) is not None:
        operation["requestBody"] = {"required": content.pop("required", True), "content": content}
    return operation


def _path(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]


def _query(route: Route) -> list[dict[str, Any]]:
    if route.family is Family.KLING and route.name.startswith("list_"):
        return [
            {"name": "pageNum", "in": "query", "schema": _whole(1, 1000, 1)},
            {"name": "pageSize", "in": "query", "schema": _whole(1, 500, 30)},
        ]
    if route.query is None:
        return []
    written = route.query.model_json_schema(ref_template="#/components/schemas/{model}")
    needed = set(written.get("required", ()))
    return [_parameter(name, schema, written, needed) for name, schema in written.get("properties", {}).items()]


def _parameter(name: str, schema: Mapping[str, Any], whole: Mapping[str, Any], needed: set[str]) -> dict[str, Any]:
    """Return a query parameter; what may be left out need not be null, and lists are written with commas."""
    inner = dict(schema)
    given = [each for each in inner.pop("anyOf", [inner]) if each.get("type") != "null"]
    shape = _inlined({**given[0], **{key: inner[key] for key in ("default",) if inner.get(key) is not None}}, whole)
    parameter: dict[str, Any] = {"name": name, "in": "query", "required": name in needed, "schema": shape}
    if shape.get("type") == "array":
        parameter |= {"style": "form", "explode": False}
    if about := shape.pop("description", None) or inner.get("description"):
        parameter["description"] = about
    shape.pop("title", None)
    return parameter


def _inlined(schema: Any, whole: Mapping[str, Any]) -> Any:
    """Return `schema` with what it refers to in its own document written out."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], whole)
        return {key: _inlined(value, whole) for key, value in schema.items()}
    return [_inlined(each, whole) for each in schema] if isinstance(schema, list) else schema


def _headers(route: Route) -> list[dict[str, Any]]:
    names = ["Idempotency-Key", "traceparent"] if route.name.startswith("order_") else []
    names += ["Last-Event-ID"] if route.media == "text/event-stream" else []
    return [
        {"name": name, "in": "header", **dict(zip(("schema", "description"), _HEADERS[name], strict=True))}
        for name in names
    ]


def _body(route: Route) -> dict[str, Any] | None:
    if route.name.startswith("order_"):
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{order_name(route.path)}"}}}
    if route.name == "quote":
        return {"application/json": {"schema": {"oneOf": [_order_at(operation) for operation in Operation]}}}
    if route.size is Size.CALLBACK:
        return {"*/*": {"schema": {"description": "whatever the provider says; Kling's flat callback body"}}}
    if route.body is None:
        return None
    is_empty = not route.body.model_fields
    schema = {"$ref": f"#/components/schemas/{route.body.__name__}"}
    return {"application/json": {"schema": schema}} | ({"required": False} if is_empty else {})


def _order_at(operation: Operation) -> dict[str, Any]:
    """Return the schema of an order that says where it would be ordered: by `operation` or by `kind`."""
    kinds = [kind.value for kind in Kind if operation_of(kind) is operation]
    named = {
        "type": "object",
        "oneOf": [{"required": ["operation"]}, {"required": ["kind"]}],
        "properties": {
            "operation": {"type": "string", "const": operation.value},
            "kind": {"type": "string", "enum": kinds},
        },
    }
    return {"allOf": [{"$ref": f"#/components/schemas/{order_name(operation.value)}"}, named]}


def _responses(route: Route) -> dict[str, Any]:
    good: dict[str, Any] = {"description": route.summary}
    if route.answer is not None:
        good["content"] = {route.media: {"schema": {"$ref": f"#/components/schemas/{route.answer.__name__}"}}}
    elif route.media != "application/json":
        good["content"] = {route.media: {"schema": {"$ref": "#/components/schemas/StreamedEvent"}}}
    if route.text is not None:
        good["content"][route.text] = {"schema": {"type": "string"}}
    codes = [
        *route.refusals,
        *(_EVERYWHERE if route.scope is not None else ()),
        *((1200,) if route.query or route.body else ()),
    ]
    by_status: dict[int, list[int]] = {}
    for code in sorted(set(codes)):
        by_status.setdefault(CODES[code].status, []).append(code)
    if 1205 in codes:
        by_status.setdefault(408, []).append(1200)
    is_kling = route.family is Family.KLING
    media, shape = ("application/json", "KlingRefusal") if is_kling else ("application/problem+json", "Problem")
    content = {media: {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
    if route.name == "readyz":
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}}
    return {str(route.status): good} | {
        str(status): {"description": "; ".join(f"{code} {CODES[code].meaning}" for code in codes), "content": content}
        for status, codes in sorted(by_status.items())
    }


def _whole(low: int, high: int, usual: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high, "default": usual}
