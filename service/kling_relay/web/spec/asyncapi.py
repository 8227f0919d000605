"""The AsyncAPI document of the events: what is POSTed to subscribers in each format, and the stream of the same."""

from typing import Any

from kling_relay.core.budget import LIMIT_NAMES, THRESHOLDS
from kling_relay.core.event import CONTENT_TYPE, BodyFormat, EventType
from kling_relay.web.models import responses
from kling_relay.web.spec.schemas import SIGNED

_TASK_TYPES = tuple(kind for kind in EventType if kind.value.startswith("task."))
_NAMES = {
    kind: "".join(word.title() for word in kind.value.split(".")) for kind in EventType if kind not in _TASK_TYPES
}
"""Events about no task, and what their data is called."""


def document() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of everything that is told without being asked."""
    messages = {f"{form.value}.{kind.value}": _message(form, kind) for form in BodyFormat for kind in EventType}
    named = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    streamed = {name: message for name, message in named.items() if name.startswith(BodyFormat.STANDARD.value)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "kling-relay events",
            "version": "1",
            "description": "Every step of a task is one event, told at least once under one webhook-id.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "subscriber": {
                "address": "{url}",
                "description": "A subscription's address; each event is POSTed there until it is answered with 2xx.",
                "parameters": {"url": {"description": "The subscription's url, or an order's notify_hook"}},
                "messages": named,
            },
            "stream": {
                "address": "/v1/events/stream",
                "description": "The same as Server-Sent Events: `id` is the cursor for Last-Event-ID, `event` the "
                "type, `data` the body of format standard.",
                "messages": streamed,
            },
        },
        "operations": {
            "deliver": {"action": "send", "channel": {"$ref": "#/channels/subscriber"}},
            "follow": {"action": "send", "channel": {"$ref": "#/channels/stream"}},
        },
        "components": {"messages": messages, "schemas": _schemas()},
    }


def _message(form: BodyFormat, kind: EventType) -> dict[str, Any]:
    """Return one message; events about no task have no form of Kling's, they go out as `standard` there."""
    is_task = kind in _TASK_TYPES
    content = {"$ref": f"#/components/schemas/{'Task' if is_task else _NAMES[kind]}"}
    payload: dict[str, Any]
    if form is BodyFormat.KLING and is_task:
        said = {"const": kind.value.removeprefix("task.")}
        payload = {"allOf": [{"$ref": "#/components/schemas/Flat"}, {"properties": {"task_status": said}}]}
    elif form is BodyFormat.CLOUDEVENTS:
        payload = {
            "allOf": [
                {"$ref": "#/components/schemas/CloudEvent"},
                {"properties": {"type": {"const": kind.value}, "data": content}},
            ]
        }
    else:
        payload = {
            "type": "object",
            "required": ["type", "timestamp", "data"],
            "properties": {
                "type": {"const": kind.value},
                "timestamp": {"type": "string", "format": "date-time"},
                "data": content,
            },
        }
    return {
        "name": kind.value,
        "title": f"{kind.value}, as {form.value}",
        "contentType": CONTENT_TYPE[form].partition(";")[0],
        "headers": {"$ref": "#/components/schemas/Signed"},
        "payload": payload,
    }


def _schemas() -> dict[str, Any]:
    task = responses.Task.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    inner = task.pop("$defs", {})
    text = {"type": "string"}
    members = ("task_id", "task_status", "task_status_msg", "created_at", "updated_at")
    return {
        **inner,
        "Task": task,
        "Flat": {
            "type": "object",
            "description": "Kling's own flat callback body",
            "required": [*members, "task_info", "task_result"],
            "properties": {
                **{name: task["properties"][name] for name in members},
                "task_info": {"type": "object", "properties": {"external_task_id": text}},
                "task_result": {"type": "object"},
            },
        },
        "CloudEvent": {
            "type": "object",
            "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
            "properties": {
                "specversion": {"const": "1.0"},
                "id": {"type": "string", "description": "the webhook-id"},
                "source": text,
                "type": text,
                "subject": {"type": "string", "description": "the task's id"},
                "time": {"type": "string", "format": "date-time"},
                "datacontenttype": {"const": "application/json"},
                "sequence": {"type": "string", "description": "ten digits, so that texts sort as numbers do"},
            },
        },
        **_others(),
        "Signed": {
            "type": "object",
            "required": list(SIGNED),
            "properties": {name: {"type": "string", "description": about} for name, about in SIGNED.items()},
        },
    }


def _others() -> dict[str, Any]:
    """Return what the data of each event about no task is."""
    text = {"type": "string"}
    amount = {"type": "string", "description": "decimal text"}
    members: dict[EventType, tuple[str, dict[str, Any]]] = {
        EventType.SUBSCRIPTION_DISABLED: (
            "Another subscription of yours is no longer told",
            {"subscription_id": text, "url": text, "reason": text},
        ),
        EventType.SUBSCRIPTION_TEST: ("Sent when you ask for it", {"subscription_id": text, "message": text}),
        EventType.BUDGET_THRESHOLD: (
            "What is spent has reached a share of a limit; told once per limit and window",
            {
                "limit": {"enum": list(LIMIT_NAMES)},
                "percent": {"enum": list(THRESHOLDS)},
                "allowed": amount,
                "spent": amount,
                "currency": text,
                "since": {"type": "string", "format": "date-time", "description": "the window's start"},
                "owner": {"enum": ["client", "key"], "description": "whose limit it is"},
                "name": {"type": "string", "description": "the client's or the key's"},
            },
        ),
    }
    return {
        _NAMES[kind]: {"type": "object", "description": about, "required": list(named), "properties": named}
        for kind, (about, named) in members.items()
    }
