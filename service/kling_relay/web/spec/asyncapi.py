"""The AsyncAPI document: the events that are POSTed to subscribers, in each format, and the stream of them."""

from typing import Any

from kling_relay.core.budget import LIMIT_NAMES, THRESHOLDS
from kling_relay.core.event import CONTENT_TYPE, BodyFormat, EventType
from kling_relay.web.models.tasks import TaskResponse
from kling_relay.web.spec.schemas import SIGNATURE_HEADERS, for_generators

_TASK_TYPES = tuple(kind for kind in EventType if kind.value.startswith("task."))
_NAMES = {
    kind: "".join(word.title() for word in kind.value.split(".")) for kind in EventType if kind not in _TASK_TYPES
}
"""Schema names of the data of events that are not about a task."""


def document() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of all events."""
    messages = {f"{form.value}.{kind.value}": _message(form, kind) for form in BodyFormat for kind in EventType}
    named = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    streamed = {name: message for name, message in named.items() if name.startswith(BodyFormat.STANDARD.value)}
    described = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "kling-relay events",
            "version": "1",
            "description": "Every step of a task is one event, delivered at least once with one webhook-id.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "subscriber": {
                "address": "{url}",
                "description": "The URL of a subscription; each event is POSTed there until the response is 2xx.",
                "parameters": {"url": {"description": "The url of the subscription, or the notify_hook of an order"}},
                "messages": named,
            },
            "stream": {
                "address": "/v1/events/stream",
                "description": "The same events as Server-Sent Events: `id` is the cursor for Last-Event-ID, `event` "
                "the type, `data` the body in format standard.",
                "messages": streamed,
            },
        },
        "operations": {
            "deliver": {"action": "send", "channel": {"$ref": "#/channels/subscriber"}},
            "follow": {"action": "send", "channel": {"$ref": "#/channels/stream"}},
        },
        "components": {"messages": messages, "schemas": _schemas()},
    }
    return for_generators(described)


def _message(form: BodyFormat, kind: EventType) -> dict[str, Any]:
    """Return one message. Format kling has no body for events that are not about a task; they use `standard`."""
    is_task = kind in _TASK_TYPES
    content = {"$ref": f"#/components/schemas/{'Task' if is_task else _NAMES[kind]}"}
    payload: dict[str, Any]
    if form is BodyFormat.KLING and is_task:
        status = {"type": "string", "const": kind.value.removeprefix("task.")}
        payload = {"allOf": [{"$ref": "#/components/schemas/KlingBody"}, {"properties": {"task_status": status}}]}
    elif form is BodyFormat.CLOUDEVENTS:
        payload = {
            "allOf": [
                {"$ref": "#/components/schemas/CloudEvent"},
                {"properties": {"type": {"type": "string", "const": kind.value}, "data": content}},
            ]
        }
    else:
        payload = {
            "type": "object",
            "required": ["type", "timestamp", "data"],
            "properties": {
                "type": {"type": "string", "const": kind.value},
                "timestamp": {"type": "string", "format": "date-time"},
                "data": content,
            },
        }
    return {
        "name": kind.value,
        "title": f"{kind.value}, as {form.value}",
        "contentType": CONTENT_TYPE[form].partition(";")[0],
        "headers": {"$ref": "#/components/schemas/SignatureHeaders"},
        "payload": payload,
    }


def _schemas() -> dict[str, Any]:
    task = TaskResponse.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    inner = task.pop("$defs", {})
    task["title"] = "Task"
    text = {"type": "string"}
    members = ("task_id", "task_status", "task_status_msg", "created_at", "updated_at")
    return {
        **inner,
        "Task": task,
        "KlingBody": {
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
                "specversion": {"type": "string", "const": "1.0"},
                "id": {"type": "string", "description": "the webhook-id"},
                "source": text,
                "type": text,
                "subject": {"type": "string", "description": "the id of the task"},
                "time": {"type": "string", "format": "date-time"},
                "datacontenttype": {"type": "string", "const": "application/json"},
                "sequence": {"type": "string", "description": "ten digits, so that it sorts as text"},
            },
        },
        **_other_data(),
        "SignatureHeaders": {
            "type": "object",
            "required": list(SIGNATURE_HEADERS),
            "properties": {name: {"type": "string", "description": text} for name, text in SIGNATURE_HEADERS.items()},
        },
    }


def _other_data() -> dict[str, Any]:
    """Return the schemas of the data of events that are not about a task."""
    text = {"type": "string"}
    amount = {"type": "string", "description": "decimal text"}
    members: dict[EventType, tuple[str, dict[str, Any]]] = {
        EventType.SUBSCRIPTION_DISABLED: (
            "One of your other subscriptions was disabled",
            {"subscription_id": text, "url": text, "reason": text},
        ),
        EventType.SUBSCRIPTION_TEST: ("Sent on request", {"subscription_id": text, "message": text}),
        EventType.BUDGET_THRESHOLD: (
            "Spending has reached a share of a limit; sent once per limit, percentage and window",
            {
                "limit": {"type": "string", "enum": list(LIMIT_NAMES)},
                "percent": {"type": "integer", "enum": list(THRESHOLDS)},
                "allowed": amount,
                "spent": amount,
                "currency": text,
                "since": {"type": "string", "format": "date-time", "description": "the start of the window"},
                "owner": {"type": "string", "enum": ["client", "key"], "description": "whose limit it is"},
                "name": {"type": "string", "description": "the name of the client or key"},
            },
        ),
    }
    return {
        _NAMES[kind]: {"type": "object", "description": description, "required": list(fields), "properties": fields}
        for kind, (description, fields) in members.items()
    }
