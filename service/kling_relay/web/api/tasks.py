"""Tasks: list them by cursor, show one in detail or wait for its end, and show its events and callbacks."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import orjson

from kling_relay.core import ledger
from kling_relay.core.errors import Fault, InvalidRequest, NotFound, RateLimited, Unavailable
from kling_relay.core.event import rfc3339, webhook_id
from kling_relay.core.money import format_amount
from kling_relay.core.operation import operation_of
from kling_relay.core.order import unknown_fields
from kling_relay.core.rulebook import Rulebook
from kling_relay.core.task import FINAL
from kling_relay.store.events.log import LoggedEvent
from kling_relay.store.tasks import history, listing, lookup
from kling_relay.store.tasks.lookup import TaskDetails
from kling_relay.web.http.request import AnyRequest, Request
from kling_relay.web.http.response import Response, json_response, page_response
from kling_relay.web.http.routing import Route
from kling_relay.web.models.events import EventPageResponse
from kling_relay.web.models.fields import EmptyQuery
from kling_relay.web.models.tasks import (
    CallbackPageResponse,
    TaskDetailResponse,
    TaskListQuery,
    TaskPageResponse,
    TaskQuery,
)

_MAX_CALLBACKS = 500
_CHECK_CLIENT_EVERY = 5.0
"""Seconds after which a waiter checks whether its client has disconnected."""


async def list_tasks(request: Request[TaskListQuery]) -> Response:
    """Return a page of tasks, newest first."""
    query = request.query
    rulebook = request.context.rulebook
    if not set(query.kind or ()) <= set(rulebook.kinds):
        raise InvalidRequest(faults=[Fault("kind", f"must be one of {', '.join(rulebook.kinds)}")])
    task_filter = listing.TaskFilter(
        statuses=[status for name in query.status or () for status in listing.statuses_of(name)] or None,
        kinds=query.kind,
        since=query.since,
        until=query.until,
        text=query.text,
    )
    page = await listing.list_tasks(
        request.context.database, request.caller.client, task_filter, query.cursor, query.limit
    )
    return page_response([task.shown for task in page.tasks], str(page.after) if page.after else None)


async def show_task(request: Request[TaskQuery]) -> Response:
    """Return one task; with ?wait= once it is final, or unfinished after that many seconds."""
    task = request.id("task")
    detail = await _detail(request, task)
    wait = min(request.query.wait, request.context.limits.max_wait)
    if wait > 0 and detail.view.status not in FINAL:
        detail = await _wait_until_final(request, task, wait)
    return json_response(_detail_json(detail, request.context.rulebook))


async def list_task_events(request: Request[EmptyQuery]) -> Response:
    """Return a task's events."""
    task = request.id("task")
    await _check_exists(request, task)
    events = await history.events_of(request.context.database, request.caller.client, task)
    return page_response([event_json(event) for event in events], None)


async def list_task_callbacks(request: Request[EmptyQuery]) -> Response:
    """Return the provider's callbacks for a task, as they were received."""
    task = request.id("task")
    await _check_exists(request, task)
    callbacks = await history.callbacks_of(request.context.database, request.caller.client, task, _MAX_CALLBACKS)
    return page_response(
        [
            {
                "received_at": rfc3339(callback.received_at),
                "source": callback.source,
                "outcome": callback.outcome,
                **_text_or_base64(callback.body),
            }
            for callback in callbacks
        ],
        None,
    )


def event_json(event: LoggedEvent) -> dict[str, Any]:
    """Return an event of the log as lists show it."""
    body: dict[str, Any] = orjson.loads(event.body)
    return {"id": webhook_id(event.at.subject, event.at.sequence), "cursor": event.at.text, **body}


async def _check_exists(request: AnyRequest, task: UUID) -> None:
    if await lookup.by_id(request.context.database, request.caller.client, task) is None:
        raise _no_such(task)


async def _detail(request: AnyRequest, task: UUID) -> TaskDetails:
    detail = await lookup.details(request.context.database, request.caller.client, task)
    if detail is None:
        raise _no_such(task)
    return detail


def _no_such(task: UUID) -> NotFound:
    return NotFound(f"Task {task} does not exist.")


async def _wait_until_final(request: AnyRequest, task: UUID, wait: float) -> TaskDetails:
    """Return the task once it is final, its client has disconnected, or `wait` seconds have passed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    follower = request.state.log_follower
    async with _counted_waiter(request), follower.watching(request.caller.client, task) as end_event:
        while True:
            detail = await _detail(request, task)
            remaining = deadline - loop.time()
            is_over = request.is_disconnected or follower.is_closed or not await request.is_still_authorized()
            if detail.view.status in FINAL or remaining <= 0 or is_over:
                return detail
            end_event.clear()
            try:
                async with asyncio.timeout(min(remaining, _CHECK_CLIENT_EVERY)):
                    await end_event.wait()
            except TimeoutError:
                continue


@asynccontextmanager
async def _counted_waiter(request: AnyRequest) -> AsyncIterator[None]:
    """Count one more waiter, of this process and of the caller's key. Raises Unavailable, RateLimited."""
    load, limits, of_key = request.state.load, request.context.limits, f"waiters {request.caller.key}"
    if load["waiters"] >= limits.waiters:
        raise Unavailable("Too many requests are waiting at this moment. Try without ?wait=.")
    if load[of_key] >= limits.waiters_per_key:
        raise RateLimited(f"At most {limits.waiters_per_key} requests of a key may wait at one time.")
    load.update(("waiters", of_key))
    try:
        yield
    finally:
        load.subtract(("waiters", of_key))
        if not load[of_key]:
            del load[of_key]


def _detail_json(detail: TaskDetails, rulebook: Rulebook) -> dict[str, Any]:
    status = detail.view.status
    rules = rulebook.operations.get(operation_of(detail.view.shown["kind"]))
    submission = None
    if detail.state is not None:
        submission = {
            "state": detail.state,
            "reason": detail.state_reason,
            "provider_task_id": detail.provider_task_id,
            "next_check_at": rfc3339(detail.next_look_at) if detail.next_look_at else None,
        }
    return {
        **detail.view.shown,
        "model": detail.model,
        "mode": detail.mode,
        "duration": detail.duration,
        "fields": detail.fields,
        "unknown_fields": unknown_fields(rules, detail.fields) if rules else (),
        "trace": detail.trace,
        "is_final": status in FINAL,
        "submission": submission,
        "charge": {
            "quote": format_amount(detail.quote),
            "charged": format_amount(detail.charged),
            "currency": detail.currency,
            "prices": detail.prices,
            "state": ledger.ledger_state(status, is_unknown=detail.state == "unknown"),
            "note": detail.note,
        },
    }


def _text_or_base64(body: bytes) -> dict[str, str | None]:
    try:
        return {"text": body.decode(), "base64": None}
    except UnicodeDecodeError:
        return {"text": None, "base64": base64.b64encode(body).decode("ascii")}


ROUTES = (
    Route(
        name="list_tasks",
        method="GET",
        path="/v1/tasks",
        handler=list_tasks,
        summary="List tasks, newest first",
        is_report=True,
        query=TaskListQuery,
        response=TaskPageResponse,
    ),
    Route(
        name="show_task",
        method="GET",
        path="/v1/tasks/{task}",
        handler=show_task,
        summary="Get a task; with ?wait= once it is final",
        query=TaskQuery,
        response=TaskDetailResponse,
        errors=(1203,),
    ),
    Route(
        name="list_task_events",
        method="GET",
        path="/v1/tasks/{task}/events",
        handler=list_task_events,
        summary="List the events of a task",
        query=EmptyQuery,
        response=EventPageResponse,
        errors=(1203,),
    ),
    Route(
        name="list_task_callbacks",
        method="GET",
        path="/v1/tasks/{task}/callbacks",
        handler=list_task_callbacks,
        summary="List the provider's callbacks for a task, as they were received",
        is_report=True,
        query=EmptyQuery,
        response=CallbackPageResponse,
        errors=(1203,),
    ),
)
