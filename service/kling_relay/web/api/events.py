"""The event log: pages by cursor, and a stream (Server-Sent Events). Readers miss nothing and get nothing twice.

A stream first reads the log from the reader's cursor, then gets new events from the process's one log follower. A
reader that is too slow is disconnected, and continues with its Last-Event-ID.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from kling_relay.core.errors import Fault, InvalidRequest, RateLimited, Unavailable
from kling_relay.core.event import matching_types
from kling_relay.flows.log_follower import Listener
from kling_relay.store.events import log
from kling_relay.store.events.log import START, Cursor, LoggedEvent, read_cursor
from kling_relay.store.postgres.statement import CollisionError, StoreUnavailableError
from kling_relay.web.api.tasks import event_json
from kling_relay.web.http.cors import CORS_HEADERS
from kling_relay.web.http.request import Request, is_disconnected
from kling_relay.web.http.response import Response, page_response
from kling_relay.web.http.routing import Route
from kling_relay.web.models.events import EventListQuery, EventPageResponse, EventStreamQuery

_STREAMS = "streams"
_PAGE = 200
_MAX_EMPTY_WINDOWS = 10
"""Windows of the log without a match that one request skips."""
_LISTEN_FOR = 1.0
"""Seconds after which a stream without events checks its heartbeat and its key."""
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would buffer events
}
_FIRST_ID = b"retry: 1000\nid: %b\n\n"
_HEARTBEAT = b": still here\n\n"


class _StalledError(Exception):
    """The reader is too slow."""


async def list_events(request: Request[EventListQuery]) -> Response:
    """Return a page of the log, oldest first; without a cursor from the beginning."""
    database, client, query = request.context.database, request.caller.client, request.query
    start = query.after or query.cursor or START
    types = None if query.type is None else matching_types(query.type)
    window = request.context.limits.event_window
    page = await log.after(database, client, start, query.limit, types=types, task=query.task, window=window)
    for _ in range(_MAX_EMPTY_WINDOWS):
        if page.events or page.after is None:
            break
        page = await log.after(database, client, page.after, query.limit, types=types, task=query.task, window=window)
    return page_response([event_json(event) for event in page.events], page.after.text if page.after else None)


async def stream_events(request: Request[EventStreamQuery]) -> web.StreamResponse:
    """Send events as they are written, from Last-Event-ID (or ?after=) on, or from now."""
    query = request.query
    cursor = _last_event_id(request) or query.after
    types = None if query.type is None else matching_types(query.type)
    listener = Listener(
        request.caller.client,
        types=None if types is None else frozenset(types),
        task=query.task,
        size=request.context.limits.stream_buffer,
    )
    async with _counted_stream(request), request.state.log_follower.listening(listener) as now:
        response = web.StreamResponse(headers={**_HEADERS, **CORS_HEADERS, "X-Request-Id": request.request_id})
        await response.prepare(request.http)
        try:
            # an id without an event: a reader that is cut off before its first event continues from here
            await _write(request, response, _FIRST_ID % (cursor or now).text.encode())
            if cursor is None:
                cursor = now
            else:
                cursor = await _send_logged(request, response, listener, cursor, types)
            await _send_new(request, response, listener, cursor)
        except (_StalledError, ConnectionError, StoreUnavailableError, CollisionError):
            # the response has begun, so it can only be cut off; the reader continues with its cursor
            if request.http.transport is not None:
                request.http.transport.abort()
    return response


async def _send_logged(
    request: Request[EventStreamQuery],
    response: web.StreamResponse,
    listener: Listener,
    cursor: Cursor,
    types: Sequence[str] | None,
) -> Cursor:
    """Send the events of the log after `cursor`, and return where they end; the listener collects newer ones."""
    database, client, task = request.context.database, request.caller.client, request.query.task
    while not listener.is_closed:
        listener.clear()
        page = await log.after(database, client, cursor, _PAGE, types=types, task=task)
        if page.events:
            await _write(request, response, _format(page.events))
            cursor = page.events[-1].at
        cursor = page.after or cursor
        if page.after is None and not listener.is_overrun:
            break
    return cursor


async def _send_new(
    request: Request[EventStreamQuery], response: web.StreamResponse, listener: Listener, cursor: Cursor
) -> None:
    """Send new events for as long as the reader reads, and heartbeats in between."""
    clock = asyncio.get_running_loop().time
    heartbeat = request.context.limits.heartbeat
    heartbeat_at = clock() + heartbeat
    while not (listener.is_closed or request.is_disconnected) and await request.is_still_authorized():
        events = [event for event in await listener.read(_LISTEN_FOR) if event.at > cursor]
        if listener.is_overrun:
            raise _StalledError
        if events:
            cursor = events[-1].at
        elif clock() < heartbeat_at:
            continue
        await _write(request, response, _format(events) if events else _HEARTBEAT)
        heartbeat_at = clock() + heartbeat


async def _write(request: Request[EventStreamQuery], response: web.StreamResponse, chunk: bytes) -> None:
    try:
        async with asyncio.timeout(request.context.limits.stream_stall):
            await response.write(chunk)
    except TimeoutError:
        raise _StalledError from None


def _format(events: Sequence[LoggedEvent]) -> bytes:
    return b"".join(
        b"id: %b\nevent: %b\ndata: %b\n\n" % (event.at.text.encode(), event.type.encode(), event.body)
        for event in events
    )


@asynccontextmanager
async def _counted_stream(request: Request[EventStreamQuery]) -> AsyncIterator[None]:
    """Count one more stream, of this process and of the caller's key. Raises Unavailable, RateLimited."""
    state, limits, key = request.state, request.context.limits, request.caller.key
    if state.load[_STREAMS] >= limits.streams or state.log_follower.is_closed:
        raise Unavailable("There are too many streams at this moment.")
    # a reader may reconnect before its last connection is known to be closed
    if sum(not is_disconnected(http) for http in state.streams[key]) >= limits.streams_per_key:
        raise RateLimited(f"A key may have at most {limits.streams_per_key} streams.")
    state.load[_STREAMS] += 1
    state.streams[key].append(request.http)
    try:
        yield
    finally:
        state.load[_STREAMS] -= 1
        state.streams[key].remove(request.http)
        if not state.streams[key]:
            del state.streams[key]


def _last_event_id(request: Request[EventStreamQuery]) -> Cursor | None:
    text = request.http.headers.get("Last-Event-ID", "")
    if not text:
        return None
    cursor = read_cursor(text.strip())
    if cursor is None:
        raise InvalidRequest(faults=[Fault("Last-Event-ID", "is not a cursor")])
    return cursor


ROUTES = (
    Route(
        name="list_events",
        method="GET",
        path="/v1/events",
        handler=list_events,
        summary="List events by cursor, oldest first",
        query=EventListQuery,
        response=EventPageResponse,
    ),
    Route(
        name="stream_events",
        method="GET",
        path="/v1/events/stream",
        handler=stream_events,
        summary="Stream events as Server-Sent Events; Last-Event-ID continues a stream",
        query=EventStreamQuery,
        media_type="text/event-stream",
        errors=(1302, 5001),
    ),
)
