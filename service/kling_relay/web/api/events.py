"""The log over HTTP: by cursor, and as a stream (Server-Sent Events); nothing skipped, nothing twice.

A stream first reads the log from where its reader was, then hears what is new from the one tail of the process. A
reader that does not read is cut, and comes back with its Last-Event-ID.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from aiohttp import web

from kling_relay.core.errors import Fault, InvalidRequest, RateLimited, Unavailable
from kling_relay.flows.follow_log import Listener
from kling_relay.store.events import log
from kling_relay.store.events.log import START, Cursor, LoggedEvent, read_cursor
from kling_relay.store.postgres.statement import CollisionError, StoreUnavailableError
from kling_relay.web.api.deliveries import types_of
from kling_relay.web.api.tasks import event_shown
from kling_relay.web.http.answers import listed
from kling_relay.web.http.cors import shared
from kling_relay.web.http.request import Request, is_gone
from kling_relay.web.http.response import Response

_STREAMS = "streams"
_PAGE = 200
_MAX_SLICES = 10
"""So many empty slices of the log are passed over at once."""
_LOOK_EVERY = 1.0
"""Seconds after which a silent stream looks whether it is time for a heartbeat, and whether its key still holds."""
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events back
}
_HELLO = b"retry: 1000\nid: %b\n\n"
_HEARTBEAT = b": still here\n\n"


class _StalledError(Exception):
    """The reader does not read"""


async def index(call: Request) -> Response:
    """Answer with a page of the log, oldest first; without a cursor from the beginning."""
    query = call.query
    after, cursor = _cursor(query.after, "after"), _cursor(query.cursor, "cursor")
    at = after or cursor or START
    types = None if query.type is None else types_of(query.type)
    task = _task(query.task)
    client, database = call.caller.client, call.tools.database
    found = await log.after(database, client, at, query.limit, types=types, task=task)
    for _ in range(_MAX_SLICES):
        if found.events or found.after is None:
            break
        found = await log.after(database, client, found.after, query.limit, types=types, task=task)
    return listed([event_shown(told) for told in found.events], found.after.text if found.after else None)


async def stream(call: Request) -> web.StreamResponse:
    """Send events as they come, from Last-Event-ID (or ?after=) on, or from now."""
    query = call.query
    after = _cursor(query.after, "after")
    at = _cursor(call.request.headers.get("Last-Event-ID") or None, "Last-Event-ID") or after
    types = None if query.type is None else types_of(query.type)
    task = _task(query.task)
    limits = call.tools.limits
    ear = Listener(
        call.caller.client,
        types=None if types is None else frozenset(types),
        task=task,
        size=limits.stream_buffer,
    )
    async with _place(call), call.site.tail.hearing(ear) as now:
        response = web.StreamResponse(headers={**_HEADERS, **shared(), "X-Request-Id": call.request_id})
        await response.prepare(call.request)
        try:
            # an id without an event: who is cut off before the first event comes back to where it began
            await _write(call, response, _HELLO % (at or now).text.encode())
            at = now if at is None else await _catch_up(call, response, ear, at, types, task)
            await _follow(call, response, ear, at)
        except (_StalledError, ConnectionError, StoreUnavailableError, CollisionError):
            # the answer has begun, so all that can be said is by its end; the reader comes back with its cursor
            if call.request.transport is not None:
                call.request.transport.abort()
    return response


async def _catch_up(
    call: Request,
    response: web.StreamResponse,
    ear: Listener,
    at: Cursor,
    types: Sequence[str] | None,
    task: UUID | None,
) -> Cursor:
    """Send what the log has behind `at`, and return where that ends; what is heard meanwhile is in the ear."""
    while not ear.is_closed:
        ear.forget()
        found = await log.after(call.tools.database, call.caller.client, at, _PAGE, types=types, task=task)
        if found.events:
            await _write(call, response, _written(found.events))
            at = found.events[-1].at
        at = found.after or at
        if found.after is None and not ear.is_overrun:
            break
    return at


async def _follow(call: Request, response: web.StreamResponse, ear: Listener, at: Cursor) -> None:
    """Send what is heard, for as long as the reader reads; a heartbeat where there is nothing to send."""
    loop = asyncio.get_running_loop()
    heartbeat_at = loop.time() + call.tools.limits.heartbeat
    while not (ear.is_closed or call.is_gone) and await call.is_still_welcome():
        heard = [told for told in await ear.listen(_LOOK_EVERY) if told.at > at]
        if ear.is_overrun:
            raise _StalledError
        if heard:
            at = heard[-1].at
        elif loop.time() < heartbeat_at:
            continue
        await _write(call, response, _written(heard) if heard else _HEARTBEAT)
        heartbeat_at = loop.time() + call.tools.limits.heartbeat


async def _write(call: Request, response: web.StreamResponse, chunk: bytes) -> None:
    try:
        async with asyncio.timeout(call.tools.limits.stream_stall):
            await response.write(chunk)
    except TimeoutError:
        raise _StalledError from None


def _written(events: Sequence[LoggedEvent]) -> bytes:
    return b"".join(
        b"id: %b\nevent: %b\ndata: %b\n\n" % (told.at.text.encode(), told.type.encode(), told.body) for told in events
    )


@asynccontextmanager
async def _place(call: Request) -> AsyncIterator[None]:
    """Take a place for one more stream, of this process and of the caller's key. Raises Unavailable, RateLimited."""
    site, limits, key = call.site, call.tools.limits, call.caller.key
    if site.in_hand[_STREAMS] >= limits.streams or site.tail.is_closed:
        raise Unavailable("There are too many streams at this moment.")
    # a reader that comes back may be here before its last connection is seen to be gone
    if sum(not is_gone(request) for request in site.streams[key]) >= limits.streams_per_key:
        raise RateLimited(f"A key may have {limits.streams_per_key} streams at once.")
    site.in_hand[_STREAMS] += 1
    site.streams[key].append(call.request)
    try:
        yield
    finally:
        site.in_hand[_STREAMS] -= 1
        site.streams[key].remove(call.request)
        if not site.streams[key]:
            del site.streams[key]


def _cursor(text: str | None, name: str) -> Cursor | None:
    if text is None:
        return None
    cursor = read_cursor(text.strip())
    if cursor is None:
        raise InvalidRequest(faults=[Fault(name, "is no cursor")])
    return cursor


def _task(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise InvalidRequest(faults=[Fault("task", "is no task's id")]) from None
