"""The event log: pages by cursor, and a stream (Server-Sent Events). Readers miss nothing and get nothing twice.

A stream first reads the log from the reader's cursor, then gets new events from the process's one log follower
(`web/http/event_stream.py`). A reader that is too slow is disconnected, and continues with its Last-Event-ID.
"""

import asyncio
from collections.abc import Sequence

from aiohttp import web

from kling_relay.core.errors import Fault, InvalidRequest, RateLimited, Unavailable
from kling_relay.core.event import matching_types
from kling_relay.flows.log_follower import Listener
from kling_relay.store.events import log
from kling_relay.store.events.log import START, Cursor, read_cursor
from kling_relay.store.postgres.statement import CollisionError, StoreUnavailableError
from kling_relay.web.api.tasks import event_json
from kling_relay.web.http.aiohttp_internals import Takeover
from kling_relay.web.http.cors import CORS_HEADERS
from kling_relay.web.http.event_stream import format_events
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response, page_response
from kling_relay.web.http.routing import AnyResponse, Route
from kling_relay.web.models.events import EventListQuery, EventPageResponse, EventStreamQuery

_PAGE = 200
_MAX_EMPTY_WINDOWS = 10
"""Windows of the log without a match that one request skips."""
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would buffer events
}
_FIRST_ID = b"retry: 1000\nid: %b\n\n"


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


async def stream_events(request: Request[EventStreamQuery]) -> AnyResponse:
    """Send events as they are written, from Last-Event-ID (or ?after=) on, or from now."""
    query, http = request.query, request.http
    after = _last_event_id(request) or query.after
    types = None if query.type is None else matching_types(query.type)
    listener = Listener(
        request.caller.client,
        types=None if types is None else frozenset(types),
        task=query.task,
        size=request.context.limits.stream_buffer,
    )
    stream = request.state.streams.open(http, request.caller.key, listener)
    is_taken = False
    try:
        await stream.start()
        response = web.StreamResponse(headers={**_HEADERS, **CORS_HEADERS, "X-Request-Id": request.request_id})
        await response.prepare(http)
        if http.method == "HEAD":
            return response
        try:
            # an id without an event: a reader that is cut off before its first event continues from here
            cursor = after or stream.cursor
            assert cursor is not None
            await _write(request, response, _FIRST_ID % cursor.text.encode())
            if after is not None:
                stream.cursor = await _send_logged(request, response, listener, after, types)
        except (_StalledError, ConnectionError, StoreUnavailableError, CollisionError, RateLimited, Unavailable):
            # the response has begun, so it can only be cut off; the reader continues with its cursor
            if http.transport is not None:
                http.transport.abort()
            return response
        is_taken = True
        return Takeover(stream)
    finally:
        if not is_taken:
            stream.end()


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
        async with request.state.turns.turn(request.caller):
            page = await log.after(database, client, cursor, _PAGE, types=types, task=task)
        if page.events:
            await _write(request, response, format_events(page.events))
            cursor = page.events[-1].at
        cursor = page.after or cursor
        if page.after is None and not listener.is_overrun:
            break
    return cursor


async def _write(request: Request[EventStreamQuery], response: web.StreamResponse, chunk: bytes) -> None:
    try:
        async with asyncio.timeout(request.context.limits.stream_stall):
            await response.write(chunk)
    except TimeoutError:
        raise _StalledError from None


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
        is_report=True,
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
