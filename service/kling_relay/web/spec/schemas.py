"""Shapes of the OpenAPI document that no wire model has: orders by the rule book, refusals, what subscribers get."""

import re
from collections.abc import Mapping
from typing import Any

from kling_relay.core.event import EventType
from kling_relay.core.order import MAX_EXTERNAL_ID, MODEL_NAME
from kling_relay.core.rule import Camera, Choice, Number, Picture, Rule, Text
from kling_relay.core.rulebook import ANY_MODEL, OperationRules
from kling_relay.core.validation import MAX_URL, SIMPLE
from kling_relay.provider.rulebook_file import load_rulebook

SIGNED = {
    "webhook-id": "The event's name, the same on every attempt: deduplicate by it",
    "webhook-timestamp": "Seconds since 1970 of this attempt; refuse what is older than five minutes",
    "webhook-signature": "v1,<Base64>; several, separated by spaces, while a secret rotates",
}
"""Headers of every delivery, and what they are for."""


def order_name(path: str) -> str:
    """Return the name of the schema of orders at a door, or at a door's path."""
    operation = path.removeprefix("/kling/v1/")
    return "".join(part.capitalize() for part in re.split(r"[/_]", operation)) + "Order"


def orders() -> dict[str, Any]:
    """Return a schema for orders at each door."""
    book = load_rulebook("seed")
    hook = {
        "type": "string",
        "format": "uri",
        "maxLength": MAX_URL,
        "pattern": "^https?://",
        "description": "Told of every step of this task, in Kling's format",
    }
    about = (
        f"Limits as in the rule book {book.name}@{book.version}; GET /v1/rulebook has those in force. "
        "What is unset may be left out, null or empty; unknown members are taken; a number may be text and text that "
        "is a number may be one. No text may contain NUL."
    )
    return {
        order_name(operation.value): {
            "type": "object",
            "description": about,
            "required": [name for name, rule in rules.fields.items() if rule.required],
            "properties": {
                "model_name": _model(rules),
                **{name: _shape(rule) for name, rule in rules.fields.items()},
                "external_task_id": _EXTERNAL_ID,
                "notify_hook": hook,
            },
            **_together(rules),
        }
        for operation, rules in book.operations.items()
    }


_EXTERNAL_ID = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_EXTERNAL_ID,
    "format": "printable",
    "description": "Your own name for the task, in printable characters; unique, and good in paths",
}
_NOT_BLANK = "[^\\s\\u0000-\\u001f\\u0085]"
_NO_NUL = "^[^\\u0000]*$"


def _model(rules: OperationRules) -> dict[str, Any]:
    known = list(rules.known_models)
    taken = {"pattern": MODEL_NAME, "examples": known} if ANY_MODEL in rules.models else {"enum": known}
    return {"type": "string", "default": rules.default_model, **taken}


def _shape(rule: Rule) -> dict[str, Any]:
    match rule:
        case Text():
            blank = {"allOf": [{"pattern": _NOT_BLANK}]} if rule.required else {}
            return {"type": "string", "maxLength": rule.max_length, "pattern": _NO_NUL, **blank}
        case Number():
            default = {} if rule.default is None else {"default": rule.default}
            kind = "integer" if rule.whole else "number"
            return {"type": kind, "minimum": rule.low, "maximum": rule.high, **default}
        case Choice():
            usual = {} if rule.default is None else {"default": rule.default}
            return {"type": "string", "enum": list(rule.of), **usual}
        case Picture():
            about = f"A URL or Base64, JPEG or PNG, at most {rule.max_bytes} bytes"
            return {"type": "string", "format": "picture", "description": about}
        case Camera():
            return _camera(rule)


def _camera(rule: Camera) -> dict[str, Any]:
    """Return a control's schema: `simple` moves along exactly one axis, the others have no config."""
    axis: dict[str, Any] = {"type": "number", "minimum": -rule.span, "maximum": rule.span, "not": {"const": 0}}
    config = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": dict.fromkeys(rule.axes, axis),
    }
    others = [kind for kind in rule.types if kind != SIMPLE]
    empty = {"type": "object", "maxProperties": 0}
    return {
        "type": "object",
        "anyOf": [
            {"required": ["config"], "properties": {"type": {"const": SIMPLE}, "config": config}},
            {"required": ["type"], "properties": {"type": {"enum": others}, "config": empty}},
        ],
    }


def _together(rules: OperationRules) -> dict[str, Any]:
    """Return what fields ask of one another."""
    cases: list[dict[str, Any]] = [{"anyOf": [{"required": [name]} for name in group]} for group in rules.at_least_one]
    for name, rule in rules.fields.items():
        if isinstance(rule, Camera) and rule.only:
            near = [_case(rules, wanted) for wanted in rule.only]
            cases.append({"anyOf": [{"not": {"required": [name]}}, *near]})
    return {"allOf": cases} if cases else {}


def _case(rules: OperationRules, wanted: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema of fields that have these values, by themselves or as their defaults."""
    said = [name for name, value in wanted.items() if rules.fields[name].default != value]
    return {"properties": {name: {"const": value} for name, value in wanted.items()}, "required": said}


def webhook() -> dict[str, Any]:
    """Return the operation that a subscriber answers."""
    body = {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"enum": ["task.submitted", "task.processing", "task.succeed", "task.failed"]},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": {"$ref": "#/components/schemas/Task"},
        },
    }
    return {
        "operationId": "event",
        "summary": "What a subscriber gets (format standard), signed by Standard Webhooks",
        "tags": ["Events"],
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": about}
            for name, about in SIGNED.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "2XX": {"description": "Heard"},
            "410": {"description": "Never again: the subscription is disabled"},
            "default": {"description": "Tried again by the schedule; Retry-After is honoured"},
        },
    }


def streamed(place: str) -> dict[str, Any]:
    """Return the schema of each event of a stream, its id a cursor that looks like `place`."""
    said = {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {"timestamp": {"type": "string", "format": "date-time"}, "data": {"type": "object"}},
    }
    return {
        "type": "object",
        "description": "One Server-Sent Event; lines that begin with a colon say only that the stream is alive",
        "required": ["id", "event", "data"],
        "properties": {
            "id": {"type": "string", "pattern": place, "description": "The cursor behind this event"},
            "event": {"type": "string", "enum": [kind.value for kind in EventType]},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": said},
        },
    }


_FAULT = {"type": "object", "properties": {"field": {"type": "string"}, "detail": {"type": "string"}}}
REFUSALS: dict[str, Any] = {
    "KlingRefusal": {
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
