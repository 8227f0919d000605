"""Shapes of the OpenAPI document that no wire model has: orders by the rule book, refusals, what subscribers get."""

import re
from typing import Any

from service.core import rulebook
from service.core.rule import Camera, Choice, Number, Picture, Rule, Text

SIGNED = {
    "webhook-id": "The event's name, the same on every attempt: deduplicate by it",
    "webhook-timestamp": "Seconds since 1970 of this attempt; refuse what is older than five minutes",
    "webhook-signature": "v1,<Base64>; several, separated by spaces, while a secret rotates",
}
"""Headers of every delivery, and what they are for."""


def order_name(path: str) -> str:
    """Return the name of the schema of orders at a door, or at a door's path."""
    door = path.removeprefix("/kling/v1/")
    return "".join(part.capitalize() for part in re.split(r"[/_]", door)) + "Order"


def orders() -> dict[str, Any]:
    """Return a schema for orders at each door."""
    book = rulebook.load("seed")
    named = {"type": "string", "maxLength": 256, "description": "Your own name for the task; unique, and good in paths"}
    hook = {"type": "string", "format": "uri", "description": "Told of every step of this task, in Kling's format"}
    found = {}
    about = (
        f"Limits as in the rule book {book.name}@{book.version}; GET /v1/rulebook has those in force. "
        "What is unset may be left out, null or empty; unknown members are taken."
    )
    for door, rules in book.doors.items():
        models = {"type": "string", "default": rules.default_model, "examples": list(rules.known_models)}
        found[order_name(door.value)] = {
            "type": "object",
            "description": about,
            "required": [name for name, rule in rules.fields.items() if rule.required],
            "properties": {
                "model_name": models,
                **{name: _shape(rule) for name, rule in rules.fields.items()},
                "external_task_id": named,
                "notify_hook": hook,
            },
        }
    return found


def _shape(rule: Rule) -> dict[str, Any]:
    match rule:
        case Text():
            return {"type": "string", "maxLength": rule.max_length}
        case Number():
            default = {} if rule.default is None else {"default": rule.default}
            kind = "integer" if rule.whole else "number"
            return {"type": kind, "minimum": rule.low, "maximum": rule.high, **default}
        case Choice():
            return {"enum": list(rule.of), **({} if rule.default is None else {"default": rule.default})}
        case Picture():
            return {"type": "string", "description": f"A URL or Base64, JPEG or PNG, at most {rule.max_bytes} bytes"}
        case Camera():
            axis = {"type": "number", "minimum": -rule.span, "maximum": rule.span}
            config = {"type": "object", "maxProperties": 1, "properties": dict.fromkeys(rule.axes, axis)}
            return {"type": "object", "properties": {"type": {"enum": list(rule.types)}, "config": config}}


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


_FAULT = {"type": "object", "properties": {"field": {"type": "string"}, "says": {"type": "string"}}}
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
