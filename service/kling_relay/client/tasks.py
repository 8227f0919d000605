"""Orders and tasks: order a task of each kind, look it up, wait for it, list all."""

from asyncio import get_running_loop, sleep
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from kling_relay.client import models
from kling_relay.client.errors import NotFinalError
from kling_relay.client.models import Event, Quote, Task, TaskDetail
from kling_relay.client.order import Image, OrderOptions, VideoOptions, body_of, path_of
from kling_relay.client.transport import Transport
from kling_relay.core.operation import kind_of, operation_of

PAGE = 100
"""Items in one page of a list."""
_WAIT = 30.0
"""Seconds that one request waits for a task; proxies cut requests that take a minute."""

Moment = datetime | str
"""A time with a time zone, or its text in RFC 3339."""


class Tasks:
    """The methods of `Relay` for orders and tasks."""

    _transport: Transport
    _new_key: Callable[[], str]

    async def submit(self, operation: str, fields: Mapping[str, Any], *, idempotency_key: str | None = None) -> Task:
        """Order a task with Kling's own fields and return it. Raises RelayError, or OSError for the file of an image.

        `operation` is a path such as "videos/image2video", or one of the kinds text2image, image2image, text2video and
        image2video.
        Every order has an idempotency key, so that it is sent again if no answer comes. Pass your own key to repeat the
        order later yourself.
        """
        answer = await self._transport.request(
            "POST",
            path_of(operation),
            body=body_of(fields),
            headers={"Idempotency-Key": idempotency_key or self._new_key()},
        )
        kind = kind_of(operation_of(operation), has_image=bool(fields.get("image")))
        return models.read_created(kind, answer["data"])

    async def text_to_image(self, prompt: str, *, n: int | None = None, **options: Unpack[OrderOptions]) -> Task:
        """Order `n` pictures from a prompt."""
        return await self._order("text2image", {"prompt": prompt, "n": n}, options)

    async def image_to_image(
        self,
        prompt: str,
        image: Image,
        *,
        image_fidelity: float | None = None,
        n: int | None = None,
        **options: Unpack[OrderOptions],
    ) -> Task:
        """Order `n` pictures from a prompt and another picture; `image_fidelity` is from 0 to 1."""
        fields = {"prompt": prompt, "image": image, "image_fidelity": image_fidelity, "n": n}
        return await self._order("image2image", fields, options)

    async def text_to_video(self, prompt: str, **options: Unpack[VideoOptions]) -> Task:
        """Order a video from a prompt."""
        return await self._order("text2video", {"prompt": prompt}, options)

    async def image_to_video(
        self,
        image: Image | None,
        *,
        prompt: str | None = None,
        image_tail: Image | None = None,
        **options: Unpack[VideoOptions],
    ) -> Task:
        """Order a video that starts with one picture and, with `image_tail`, ends with another."""
        fields = {"image": image, "image_tail": image_tail, "prompt": prompt}
        return await self._order("image2video", fields, options)

    async def quote(self, operation: str, fields: Mapping[str, Any]) -> Quote:
        """Return the price of an order, without sending it. Raises InvalidError as the order would."""
        body = {**body_of(fields), "operation": operation_of(operation)}
        return models.read_quote(await self._transport.request("POST", "/v1/quotes", body=body))

    async def task(self, task_id: str) -> TaskDetail:
        """Return one task with all details. Raises NotFoundError."""
        return models.read_detail(await self._transport.request("GET", f"/v1/tasks/{task_id}"))

    async def wait(self, task_id: str, *, within: float | None = None) -> TaskDetail:
        """Return a task once it has succeeded or failed. Raises NotFinalError after `within` seconds."""
        loop = get_running_loop()
        until = None if within is None else loop.time() + within
        while True:
            started_at = loop.time()
            seconds = _WAIT if until is None else min(_WAIT, max(0.0, until - started_at))
            content = await self._transport.request(
                "GET", f"/v1/tasks/{task_id}", query={"wait": f"{seconds:.3f}"}, timeout=seconds + 30
            )
            task = models.read_detail(content)
            if task.is_final:
                return task
            if until is not None and loop.time() >= until:
                raise NotFinalError(f"Task {task_id} was still {task.task_status} after {within:g} s.")
            if loop.time() - started_at < 1:  # the service did not wait: it is about to stop
                await sleep(self._transport.pause(1))

    async def tasks(
        self,
        *,
        status: Sequence[str] | str | None = None,
        kind: Sequence[str] | str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        text: str | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Task, None]:
        """Yield tasks, newest first, at most `limit`. The filters are the API's."""
        query = {"status": status, "kind": kind, "since": rfc3339(since), "until": rfc3339(until), "text": text}
        async for content in pages(self._transport, "/v1/tasks", query, limit):
            yield models.read_task(content)

    async def history(self, task_id: str) -> list[Event]:
        """Return the events of a task, oldest first."""
        answer = await self._transport.request("GET", f"/v1/tasks/{task_id}/events")
        return [models.read_event(content) for content in answer["data"]]

    async def callbacks(self, task_id: str) -> list[Mapping[str, Any]]:
        """Return the provider's callbacks for a task, unchanged."""
        answer = await self._transport.request("GET", f"/v1/tasks/{task_id}/callbacks")
        return list(answer["data"])

    async def _order(self, kind: str, fields: Mapping[str, Any], options: OrderOptions | VideoOptions) -> Task:
        key = options.get("idempotency_key")
        rest = {name: value for name, value in options.items() if name != "idempotency_key"}
        return await self.submit(kind, {**fields, **rest}, idempotency_key=key)


def rfc3339(at: Moment | None) -> str | None:
    """Return a time as text for the API."""
    return at.isoformat() if isinstance(at, datetime) else at


async def pages(
    transport: Transport, path: str, query: Mapping[str, Any], limit: int | None
) -> AsyncGenerator[Mapping[str, Any], None]:
    """Yield the items of a list, page by page, at most `limit`."""
    cursor: str | None = None
    remaining = limit
    while remaining is None or remaining > 0:
        size = PAGE if remaining is None else min(PAGE, remaining)
        page = await transport.request("GET", path, query={**query, "limit": size, "cursor": cursor})
        for content in page["data"]:
            yield content
        remaining = None if remaining is None else remaining - len(page["data"])
        cursor = page["next_cursor"]
        if cursor is None:
            return
