"""The event log: read by cursor to its end, or followed. No event is skipped, and none comes twice."""

from asyncio import sleep
from collections.abc import AsyncGenerator, Sequence
from json import loads

import aiohttp

from kling_relay.client import models
from kling_relay.client.errors import RateLimitedError, UnavailableError, UnreachableError, error_of
from kling_relay.client.models import Event
from kling_relay.client.sse import Message, Reader
from kling_relay.client.tasks import PAGE
from kling_relay.client.transport import CONNECTION_ERRORS, Transport, connection_error, query_string

SILENCE = 60.0
"""Seconds without a heartbeat after which a stream counts as broken; the service sends one every 15 s."""
MAX_RETRY_AFTER = 60.0
"""Seconds; a longer Retry-After counts as this, because the stream has no other way to go on."""

Types = Sequence[str] | str | None
"""Types of events or patterns, as in a subscription: `task.succeed`, `task.*`."""


class EventLog:
    """The methods of `Relay` for the event log."""

    _transport: Transport

    async def events(
        self,
        *,
        after: str = "0",
        type: Types = None,  # noqa: A002 - the API's word
        task: str | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield the events after the cursor `after` ("0" is the beginning) to the end of the log, oldest first."""
        remaining = limit
        while remaining is None or remaining > 0:
            size = PAGE if remaining is None else min(PAGE, remaining)
            query = {"after": after, "type": type, "task": task, "limit": size}
            page = await self._transport.request("GET", "/v1/events", query=query)
            for content in page["data"]:
                event = models.read_event(content)
                yield event
                after = event.cursor or after
            remaining = None if remaining is None else remaining - len(page["data"])
            if page["next_cursor"] is None or not page["data"]:
                return

    async def stream(
        self,
        *,
        after: str | None = None,
        type: Types = None,  # noqa: A002 - the API's word
        task: str | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield events without end, from the cursor `after` or from now on. A broken connection is opened again.

        Raises RelayError if the first connection fails, or later if the service refuses permanently.
        """
        reader = Reader(last_id=after)
        failures = 0
        is_connected = False
        while True:
            try:
                async for event in self._connection(reader, {"type": type, "task": task}):
                    is_connected, failures = True, 0
                    if event is not None:
                        yield event
            except (UnreachableError, UnavailableError, RateLimitedError) as error:
                if not is_connected:
                    raise
                retry_after = min(getattr(error, "retry_after", None) or 0.0, MAX_RETRY_AFTER)
                await sleep(max(retry_after, self._transport.pause(failures)))
                failures += 1
            else:
                await sleep(reader.retry or self._transport.pause(failures))
            reader = Reader(last_id=reader.last_id)

    async def _connection(self, reader: Reader, query: dict[str, Types]) -> AsyncGenerator[Event | None, None]:
        """Yield events from one connection until it ends. The first item is None: the connection is open."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": reader.last_id} if reader.last_id else {})
        limits = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE)
        transport = self._transport
        try:
            async with transport.session().get(
                f"{transport.url}/v1/events/stream", params=query_string(query), headers=headers, timeout=limits
            ) as response:
                if response.status != 200:
                    raise error_of(response.status, response.headers, await response.read())
                yield None
                async for chunk in response.content.iter_any():
                    for message in reader.feed(chunk):
                        yield _event(message, reader.last_id)
        except CONNECTION_ERRORS as error:
            raise connection_error(transport.url, error) from error


def _event(message: Message, cursor: str | None) -> Event:
    """Return the event of a message. Its webhook-id follows from the cursor, which ends with subject and sequence."""
    name = "evt_" + "_".join((cursor or "").split("-")[-2:])
    return models.read_event({"id": name, "cursor": cursor, **loads(message.data)})
