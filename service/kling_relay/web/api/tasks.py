"""Tasks as /v1 shows them: lists by cursor, one task with all that we know of it, waiting for its end, its history."""

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
from kling_relay.core.money import plain as money
from kling_relay.core.task import FINAL
from kling_relay.store.events.log import LoggedEvent
from kling_relay.store.tasks import history, listing, lookup
from kling_relay.store.tasks.lookup import TaskDetails
from kling_relay.web.http.answers import listed, plain
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response

_MAX_CALLBACKS = 500
_LOOK_AT_CLIENT = 5.0
"""Seconds after which a waiter sees that its client has gone."""


async def index(call: Request) -> Response:
    """Answer with a page of tasks, newest first."""
    query = call.query
    statuses = [status for word in query.status or () for status in listing.statuses_of(word)]
    wanted = listing.TaskFilter(
        statuses=statuses or None, kinds=query.kind, since=query.since, until=query.until, text=query.text
    )
    page = await listing.page(call.tools.database, call.caller.client, wanted, _task_cursor(query.cursor), query.limit)
    return listed([found.shown for found in page.tasks], str(page.after) if page.after else None)


async def show(call: Request) -> Response:
    """Answer with one task; with ?wait= as soon as it is final, or as it is after so many seconds."""
    task = call.id("task")
    found = await _detail(call, task)
    wait = min(call.query.wait, call.tools.limits.max_wait)
    if wait > 0 and found.view.status not in FINAL:
        found = await _waited(call, task, wait)
    return plain(_shown(found))


async def events(call: Request) -> Response:
    """Answer with a task's history."""
    task = call.id("task")
    await _found(call, task)
    told = await history.events_of(call.tools.database, call.caller.client, task)
    return listed([event_shown(each) for each in told], None)


async def callbacks(call: Request) -> Response:
    """Answer with what the provider said of a task, as it came."""
    task = call.id("task")
    await _found(call, task)
    said = await history.callbacks_of(call.tools.database, call.caller.client, task, _MAX_CALLBACKS)
    return listed(
        [
            {
                "received_at": rfc3339(each.received_at),
                "source": each.source,
                "outcome": each.outcome,
                **_as_text(each.body),
            }
            for each in said
        ],
        None,
    )


def event_shown(told: LoggedEvent) -> dict[str, Any]:
    """Return an event of the log as lists show it."""
    body: dict[str, Any] = orjson.loads(told.body)
    return {"id": webhook_id(told.at.subject, told.at.sequence), "cursor": told.at.text, **body}


async def _found(call: Request, task: UUID) -> None:
    if await lookup.by_id(call.tools.database, call.caller.client, task) is None:
        raise NotFound(f"There is no task {task}.")


async def _detail(call: Request, task: UUID) -> TaskDetails:
    found = await lookup.details(call.tools.database, call.caller.client, task)
    if found is None:
        raise NotFound(f"There is no task {task}.")
    return found


async def _waited(call: Request, task: UUID, wait: float) -> TaskDetails:
    """Return the task once it is final, its client is gone, or `wait` seconds are over."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait
    async with _place(call), call.site.tail.watching(call.caller.client, task) as ended:
        while True:
            found = await _detail(call, task)
            left = until - loop.time()
            is_over = call.is_gone or call.site.tail.is_closed or not await call.is_still_welcome()
            if found.view.status in FINAL or left <= 0 or is_over:
                return found
            ended.clear()
            try:
                async with asyncio.timeout(min(left, _LOOK_AT_CLIENT)):
                    await ended.wait()
            except TimeoutError:
                continue


@asynccontextmanager
async def _place(call: Request) -> AsyncIterator[None]:
    """Count one more waiter, of this process and of the caller's key. Raises Unavailable, RateLimited."""
    in_hand, limits, mine = call.site.in_hand, call.tools.limits, f"waiters {call.caller.key}"
    if in_hand["waiters"] >= limits.waiters:
        raise Unavailable("Too many are waiting at this moment. Ask without ?wait=.")
    if in_hand[mine] >= limits.waiters_per_key:
        raise RateLimited(f"At most {limits.waiters_per_key} of a key's requests may wait at once.")
    in_hand.update(("waiters", mine))
    try:
        yield
    finally:
        in_hand.subtract(("waiters", mine))
        if not in_hand[mine]:
            del in_hand[mine]


def _task_cursor(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise InvalidRequest(faults=[Fault("cursor", "is none that we gave")]) from None


def _shown(detail: TaskDetails) -> dict[str, Any]:
    status = detail.view.status
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
        "trace": detail.trace,
        "is_final": status in FINAL,
        "submission": submission,
        "charge": {
            "quote": money(detail.quote),
            "charged": money(detail.charged),
            "currency": detail.currency,
            "prices": detail.prices,
            "state": ledger.ledger_state(status, is_unknown=detail.state == "unknown"),
            "note": detail.note,
        },
    }


def _as_text(body: bytes) -> dict[str, str | None]:
    try:
        return {"text": body.decode(), "base64": None}
    except UnicodeDecodeError:
        return {"text": None, "base64": base64.b64encode(body).decode("ascii")}
