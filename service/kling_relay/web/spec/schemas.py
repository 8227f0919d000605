"""Schemas of the OpenAPI document that have no model: orders, errors and streamed events."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kling_relay.core.event import EventType
from kling_relay.core.order import MAX_EXTERNAL_ID, MODEL_NAME
from kling_relay.core.rule import Camera, Choice, Number, Picture, Rule, Text
from kling_relay.core.rulebook import ANY_MODEL, OperationRules, Rulebook
from kling_relay.core.validation import MAX_URL, SIMPLE

SIGNATURE_HEADERS = {
    "webhook-id": "The id of the event, the same on every attempt: deduplicate by it",
    "webhook-timestamp": "The time of this attempt in seconds since 1970; refuse attempts older than five minutes",
    "webhook-signature": "v1,<Base64>; several, separated by spaces, while a secret is being rotated",
}
"""The headers of every delivery."""
_REF = "#/components/schemas/"
_NULL = {"type": "null"}
_FORMATS = {"integer": "int64", "number": "double"}


def for_generators(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document in the form that generators of clients read.

    Every number has a format, because Go and Java read a time in milliseconds into 32 bits otherwise. "A type or null"
    is a list of types, not an `anyOf`, from which some generators make a class of its own.
    """
    return {name: _for_generators(part) for name, part in document.items()}


def _for_generators(part: Any) -> Any:
    if isinstance(part, list):
        return [_for_generators(item) for item in part]
    if not isinstance(part, dict):
        return part
    schema = {name: item if name == "example" else _for_generators(item) for name, item in part.items()}
    schema = _with_null_as_type(_without_null_default(schema))
    types = schema.get("type")
    kind = next((name for name in _FORMATS if name == types or (isinstance(types, list) and name in types)), None)
    return schema if kind is None else {"format": _FORMATS[kind], **schema}


def _without_null_default(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without `default: null`, which the Java generator refuses for a date; the member is optional."""
    return {name: item for name, item in schema.items() if name != "default" or item is not None}


def _with_null_as_type(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with "a type or null" as a list of types; a reference to a schema, or null, stays as it is."""
    options = schema.get("anyOf")
    if not isinstance(options, list) or len(options) != 2 or _NULL not in options:
        return schema
    option = next(option for option in options if option != _NULL)
    if not isinstance(option.get("type"), str) or "const" in option:
        return schema
    rest = {name: item for name, item in schema.items() if name != "anyOf"}
    enum = {"enum": [*option["enum"], None]} if "enum" in option else {}
    return {**option, **rest, **enum, "type": [option["type"], "null"]}


def order_name(path: str) -> str:
    """Return the name of the order schema of an operation, or of an operation's path."""
    operation = path.removeprefix("/kling/v1/")
    return "".join(part.capitalize() for part in re.split(r"[^a-z0-9]+", operation)) + "Order"


def order_schemas(book: Rulebook) -> dict[str, Any]:
    """Return one order schema per operation of the rule book, those of quotes, and what they refer to."""
    hook = {
        "type": "string",
        "format": "uri",
        "maxLength": MAX_URL,
        "pattern": "^https?://",
        "description": "Gets the events of this task, in Kling's format",
    }
    about = (
        f"The limits are those of the rule book {book.name}@{book.version}; GET /v1/rulebook has the current ones. "
        "An unset member may be left out, null or empty. Unknown members are accepted, and named in the header "
        "Relay-Unknown-Fields of the response. A number may be written as "
        "text, and a text of digits as a number. No text may contain NUL."
    )
    schemas = _camera_schemas(book)
    for operation, rules in book.operations.items():
        name = order_name(operation)
        order = {
            "type": "object",
            "description": about,
            "required": [field for field, rule in rules.fields.items() if rule.required],
            "properties": {
                "model_name": _model(rules),
                **{field: _rule_schema(rule) for field, rule in rules.fields.items()},
                "external_task_id": _EXTERNAL_ID,
                "notify_hook": hook,
            },
            **_camera_conditions(rules),
            **_alternatives(rules),
        }
        schemas[name] = order
        schemas[f"Quoted{name}"] = _quoted(order, operation)
    return {**schemas, "QuoteRequest": _quote_request(tuple(book.operations))}


def _quoted(order: Mapping[str, Any], operation: str) -> dict[str, Any]:
    """Return the schema of an order whose price is asked for. Generated clients go by its `operation`."""
    return {
        **order,
        "description": "An order whose price is asked for. A `kind` may stand for the `operation`.",
        "required": ["operation", *order["required"]],
        "properties": {"operation": {"type": "string", "enum": [operation]}, **order["properties"]},
    }


def _quote_request(operations: Sequence[str]) -> dict[str, Any]:
    references = {operation: f"{_REF}Quoted{order_name(operation)}" for operation in operations}
    return {
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "discriminator": {"propertyName": "operation", "mapping": references},
    }


_EXTERNAL_ID = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_EXTERNAL_ID,
    "format": "printable",
    "description": "Your own id for the task, unique per client, in printable characters; works in paths too",
}
_NO_NUL = "^[^\\u0000]*$"
_NOT_BLANK = "^[^\\u0000]*[^\\s\\u0000-\\u001f\\u0085][^\\u0000]*$"


def _model(rules: OperationRules) -> dict[str, Any]:
    model_names = list(rules.known_models)
    constraint = (
        {"pattern": MODEL_NAME, "examples": model_names} if ANY_MODEL in rules.models else {"enum": model_names}
    )
    return {"type": "string", "default": rules.default_model, **constraint}


def _rule_schema(rule: Rule) -> dict[str, Any]:
    match rule:
        case Text():
            pattern = _NOT_BLANK if rule.required else _NO_NUL
            return {"type": "string", "maxLength": rule.max_length, "pattern": pattern}
        case Number():
            default = {} if rule.default is None else {"default": rule.default}
            kind = "integer" if rule.whole else "number"
            return {"type": kind, "minimum": rule.low, "maximum": rule.high, **default}
        case Choice():
            choice = {"type": "string", "enum": list(rule.values)}
            return choice if rule.default is None else choice | {"default": rule.default}
        case Picture():
            about = f"A JPEG or PNG image, as a URL or in Base64, at most {rule.max_bytes} bytes"
            return {"type": "string", "format": "picture", "description": about}
        case Camera():
            return {"$ref": _REF + "CameraControl"}


def _camera_schemas(book: Rulebook) -> dict[str, Any]:
    """Return the schemas of a camera control: `simple` moves along exactly one axis, the others have no config.

    All operations of the book have the same one.
    """
    rules = [rule for operation in book.operations.values() for rule in operation.fields.values()]
    rule = next((rule for rule in rules if isinstance(rule, Camera)), None)
    if rule is None:
        return {}
    axis: dict[str, Any] = {"type": "number", "minimum": -rule.span, "maximum": rule.span, "not": {"const": 0}}
    other_types = [kind for kind in rule.types if kind != SIMPLE]
    return {
        "CameraConfig": {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(rule.axes, axis),
        },
        "CameraControl": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": list(rule.types), "default": SIMPLE},
                "config": {"$ref": _REF + "CameraConfig"},
            },
            "if": {"required": ["type"], "properties": {"type": {"enum": other_types}}},
            "then": {"properties": {"config": {"maxProperties": 0}}},
            "else": {"required": ["config"], "properties": {"config": {"minProperties": 1, "maxProperties": 1}}},
        },
    }


def _camera_conditions(rules: OperationRules) -> dict[str, Any]:
    """Return what an order with a camera control must have besides, in a keyword of which generators make no types."""
    conditions: dict[str, Any] = {}
    for name, rule in rules.fields.items():
        if isinstance(rule, Camera) and rule.only:
            cases = [_with_values(rules, values) for values in rule.only]
            conditions[name] = cases[0] if len(cases) == 1 else {"anyOf": cases}
    return {"dependentSchemas": conditions} if conditions else {}


def _alternatives(rules: OperationRules) -> dict[str, Any]:
    """Return the conditions that an order has at least one field of each group."""
    conditions = []
    for group in rules.at_least_one:
        *others, last = [{"required": [name]} for name in group]
        conditions.append({"if": {"not": {"anyOf": others}}, "then": last})
    return {"allOf": conditions} if conditions else {}


def _with_values(rules: OperationRules, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema of an order whose fields have these values, given or by default."""
    required = [name for name, value in values.items() if rules.fields[name].default != value]
    return {"properties": {name: {"const": value} for name, value in values.items()}, "required": required}


def stream_event_schema(cursor_pattern: str) -> dict[str, Any]:
    """Return the schema of an event of a stream, whose id is a cursor."""
    body = {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {"timestamp": {"type": "string", "format": "date-time"}, "data": {"type": "object"}},
    }
    return {
        "type": "object",
        "description": "One Server-Sent Event; lines that start with a colon are heartbeats",
        "required": ["id", "event", "data"],
        "properties": {
            "id": {"type": "string", "pattern": cursor_pattern, "description": "The cursor of this event"},
            "event": {"type": "string", "enum": [kind.value for kind in EventType]},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": body},
        },
    }


_FAULT = {"type": "object", "properties": {"field": {"type": "string"}, "detail": {"type": "string"}}}
ERRORS: dict[str, Any] = {
    "KlingError": {
        "type": "object",
        "required": ["code", "message", "request_id", "error"],
        "properties": {
            "code": {"type": "integer"},
            "message": {"type": "string"},
            "request_id": {"type": "string"},
            "error": {
                "type": "object",
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "code": {"type": "integer"},
                },
            },
        },
    },
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "request_id"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "integer"},
            "request_id": {"type": "string"},
            "errors": {"type": "array", "items": _FAULT},
        },
    },
}
