"""The log of events: read by cursor up to its end, or followed for ever; nothing skipped, nothing twice."""

from asyncio import sleep
from collections.abc import AsyncGenerator, Sequence
from json import loads

import aiohttp

from kling_relay.client import models
from kling_relay.client.errors import RateLimitedError, UnavailableError, UnreachableError, refusal
from kling_relay.client.models import Event
from kling_relay.client.sse import Message, Reader
from kling_relay.client.tasks import PAGE
from kling_relay.client.transport import BROKEN, Transport, flat, unreachable

SILENCE = 60.0
"""Seconds without even a heartbeat after which a stream counts as broken; the service sends one every 15 s."""

Types = Sequence[str] | str | None
"""Types of event or patterns, as in a subscription: `task.succeed`, `task.*`."""


class Log:
    """What a `Relay` does with the log of events."""

    _transport: Transport

    async def events(
        self,
        *,
        after: str = "0",
        type: Types = None,  # noqa: A002 - the API's word
        task: str | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Go through the log from behind `after` (a cursor; "0" is the beginning) to its present end, oldest first."""
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            query = {"after": after, "type": type, "task": task, "limit": size}
            answer = await self._transport.ask("GET", "/v1/events", query=query)
            for content in answer["data"]:
                event = models.read_event(content)
                yield event
                after = event.cursor or after
            left = None if left is None else left - len(answer["data"])
            if answer["next_cursor"] is None or not answer["data"]:
                return

    async def stream(
        self,
        *,
        after: str | None = None,
        type: Types = None,  # noqa: A002 - the API's word
        task: str | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Follow the log for ever, from behind `after` or from now on; a connection that breaks is made anew.

        Raises RelayError where the first connection fails, and later where the service refuses for good.
        """
        reader = Reader(last_id=after)
        failures = 0
        is_begun = False
        while True:
            try:
                async for event in self._connection(reader, {"type": type, "task": task}):
                    is_begun, failures = True, 0
                    if event is not None:
                        yield event
            except (UnreachableError, UnavailableError, RateLimitedError) as error:
                if not is_begun:
                    raise
                await sleep(max(getattr(error, "retry_after", None) or 0.0, self._transport.pause(failures)))
                failures += 1
            else:
                await sleep(reader.retry or self._transport.pause(failures))
            reader = Reader(last_id=reader.last_id)

    async def _connection(self, reader: Reader, query: dict[str, Types]) -> AsyncGenerator[Event | None, None]:
        """Follow the log over one connection until it ends; None says that it stands."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": reader.last_id} if reader.last_id else {})
        limits = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE)
        transport = self._transport
        try:
            async with transport.session().get(
                f"{transport.url}/v1/events/stream", params=flat(query), headers=headers, timeout=limits
            ) as answer:
                if answer.status != 200:
                    raise refusal(answer.status, answer.headers, await answer.read())
                yield None
                async for piece in answer.content.iter_any():
                    for message in reader.feed(piece):
                        yield _event(message, reader.last_id)
        except BROKEN as error:
            raise unreachable(transport.url, error) from error


def _event(message: Message, cursor: str | None) -> Event:
    """Return the event in a message; its webhook-id is made of the cursor, which ends with subject and sequence."""
    name = "evt_" + "_".join((cursor or "").split("-")[-2:])
    return models.read_event({"id": name, "cursor": cursor, **loads(message.data)})
