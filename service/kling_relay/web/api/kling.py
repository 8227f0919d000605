"""Kling's own API: order, show one task, list a page of tasks; compatible with Kling's envelope to the letter.

Responses come from our own records alone. Responses about one task have its id as `request_id`, because the gateway's
web UI confuses the two.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from kling_relay.core.address import DialPolicy, check_url
from kling_relay.core.errors import Fault, InvalidOrder, InvalidRequest, NotFound
from kling_relay.core.key import Scope
from kling_relay.core.operation import kinds_of, operation_of
from kling_relay.core.order import Order, check
from kling_relay.core.rulebook import Rulebook
from kling_relay.core.trace import parse as parse_trace
from kling_relay.flows import log_context
from kling_relay.flows.memory import LARGE
from kling_relay.store.tasks import listing
from kling_relay.web.http.body import BodyLimit, parse
from kling_relay.web.http.request import AnyRequest, Request
from kling_relay.web.http.response import Response, kling_response
from kling_relay.web.http.routing import AnyRoute, Api, Route
from kling_relay.web.models.kling import KlingEnvelopeResponse, KlingPageResponse

Result = TypeVar("Result")

IDEMPOTENCY_KEY = "^[!-~](?:[ -~]{0,253}[!-~])?$"
_IDEMPOTENCY_KEY = re.compile(IDEMPOTENCY_KEY)
UNKNOWN_FIELDS = "Relay-Unknown-Fields"
"""The header of a response to an order that names the fields which the rule book does not know."""
_MAX_NAMES = 20
_MAX_NAME = 64
_NAME_CHARACTERS = "!#$&'*+./:=?@[]^`|~"
_MAX_PAGE_NUMBER = 1000
_MAX_PAGE_SIZE = 500
_DEFAULT_PAGE_SIZE = 30
_ORDER_ERRORS = (1102, 1103, 1200, 1201, 1204, 1205, 5001, 5003)


async def create_order(request: Request, operation: str) -> Response:
    """Record an order and send it to the provider; 200 once it is on disk and sent, or being sent."""
    headers, submit = request.http.headers, request.context.submit
    idempotency_key = headers.get("Idempotency-Key")
    if idempotency_key is not None and not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 printable ASCII characters.")
    packed = await read_order(
        request, lambda body: (operation, body), lambda order: submit.pack(order, idempotency_key)
    )
    trace = parse_trace(headers.get("traceparent"))
    share, request.share = request.share, None  # until the order is sent, which may be after the response
    unknown_fields = unknown_fields_header(packed.order)
    sending = submit(
        request.caller,
        packed,
        idempotency_key=idempotency_key,
        trace=trace.text if trace else None,
        now=request.now,
        share=share,
    )
    del packed  # its payload is large, and may be sent long before the task is final
    task = await sending
    log_context.add(task=task["task_id"])
    response = kling_response(created_json(task), task["task_id"])
    response.headers.update(unknown_fields)
    return response


def unknown_fields_header(order: Order) -> dict[str, str]:
    """Return the header that names an order's unknown fields, percent-encoded; {} if it has none."""
    if not order.unknown_fields:
        return {}
    names = [quote(name[:_MAX_NAME], safe=_NAME_CHARACTERS) for name in order.unknown_fields[:_MAX_NAMES]]
    return {UNKNOWN_FIELDS: ", ".join(names)}


async def read_order(
    request: AnyRequest, unpack: Callable[[object], tuple[str, object]], use: Callable[[Order], Result]
) -> Result:
    """Return `use` of the order in the request's body; `unpack` splits the JSON into its operation and the order.

    Raises InvalidRequest, or InvalidOrder with every fault.
    """
    content, content_type = await request.read(), request.http.headers.get("Content-Type")
    context = request.context

    def convert() -> Result:
        value = parse(content, context.limits.json_depth, content_type)
        if isinstance(content, bytearray):
            content.clear()  # its text is in `value` now
        parts = unpack(value)
        del value
        order = _check_hook(check(*parts, context.rulebook), context.dial_policy)
        del parts
        return use(order)

    size = len(content)
    if size <= LARGE:
        return convert()
    # a long body takes tens of milliseconds to parse and its images to decode, so that happens in a thread
    async with context.memory.copying(2 * size):
        return await asyncio.to_thread(convert)


def _check_hook(order: Order, dial_policy: DialPolicy) -> Order:
    """Return the order with its hook as it is dialled. Raises InvalidOrder if that is not allowed."""
    if order.hook is None:
        return order
    address = check_url(order.hook, dial_policy)
    if isinstance(address, str):
        raise InvalidOrder([Fault("notify_hook", address)])
    return order if order.hook == address.url else replace(order, hook=address.url)


async def show_task(request: Request, operation: str) -> Response:
    """Return one task that was ordered with `operation`, by our id or the client's own."""
    name = request.params["task"]
    task = await request.state.lookup(request.caller.client, name)
    if task is None or operation_of(task.shown["kind"]) != operation:
        raise NotFound(f"Task {name[:128]!r} does not exist.")
    return kling_response(task_json(task.shown, request.context.rulebook), task.shown["task_id"])


async def list_tasks(request: Request, operation: str) -> Response:
    """Return a numbered page of the tasks ordered with `operation`, newest first."""
    number = _whole_number(request, "pageNum", default=1, maximum=_MAX_PAGE_NUMBER)
    size = _whole_number(request, "pageSize", default=_DEFAULT_PAGE_SIZE, maximum=_MAX_PAGE_SIZE)
    tasks = await listing.numbered_page(
        request.context.database, request.caller.client, kinds_of(operation), number, size
    )
    rulebook = request.context.rulebook
    return kling_response([task_json(task.shown, rulebook) for task in tasks], request.request_id)


def created_json(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return a new task in the members that Kling's gateway uses for one."""
    names = ("task_id", "task_status", "created_at", "updated_at")
    return {name: task[name] for name in names} | _task_info(task)


def task_json(task: Mapping[str, Any], rulebook: Rulebook) -> dict[str, Any]:
    """Return a task in the members that Kling's gateway uses; on success the other kind of result is null.

    Before success the result is empty, not absent: Kling's own ComfyUI node cannot read an image task without one.
    """
    content = {name: task[name] for name in ("task_id", "task_status", "task_status_msg")}
    content |= _task_info(task) | {name: task[name] for name in ("created_at", "updated_at")}
    content["task_result"] = {}
    if task["task_status"] == "succeed":
        result = task["task_result"] or {}
        result_name = rulebook.makes(task["kind"])
        content["task_result"] = {"images": result.get("images"), "videos": result.get("videos")}
        content["task_result"][result_name] = result.get(result_name) or []
    return content


def _task_info(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return Kling's `task_info`, which is always there: typed clients cannot read an answer without it."""
    external_task_id = task["external_task_id"]
    return {"task_info": {} if external_task_id is None else {"external_task_id": external_task_id}}


def _whole_number(request: Request, name: str, *, default: int, maximum: int) -> int:
    text = request.http.query.get(name, "").strip()
    if not text or text == "null":
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= maximum:
        raise InvalidOrder([Fault(name, f"must be a whole number in [1, {maximum}]")])
    return int(text)


def routes(rulebook: Rulebook) -> Iterator[AnyRoute]:
    """Yield three routes for each operation of the rule book."""
    for operation in rulebook.operations:
        yield from _routes(operation)


def route_name(operation: str) -> str:
    """Return the part of its routes' names that stands for an operation, such as `videos_lip_sync`."""
    return re.sub(r"[^a-z0-9]+", "_", operation)


def _routes(operation: str) -> tuple[AnyRoute, ...]:
    name, path = route_name(operation), f"/kling/v1/{operation}"
    return (
        Route(
            name=f"order_{name}",
            method="POST",
            path=path,
            handler=partial(create_order, operation=operation),
            summary=f"Order: {operation}",
            scope=Scope.SUBMIT,
            api=Api.KLING,
            response=KlingEnvelopeResponse,
            body_limit=BodyLimit.ORDER,
            errors=_ORDER_ERRORS,
        ),
        Route(
            name=f"list_{name}",
            method="GET",
            path=path,
            handler=partial(list_tasks, operation=operation),
            summary=f"List tasks ordered with {operation}",
            is_report=True,
            api=Api.KLING,
            response=KlingPageResponse,
            errors=(1201,),
        ),
        Route(
            name=f"show_{name}",
            method="GET",
            path=path + "/{task}",
            handler=partial(show_task, operation=operation),
            summary="Get a task by task_id or external_task_id",
            api=Api.KLING,
            response=KlingEnvelopeResponse,
            errors=(1203,),
        ),
    )
