"""Orders and tasks: ordering each of the kinds, looking one up, waiting for its end, going through them all."""

from asyncio import get_running_loop, sleep
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from kling_relay.client import models
from kling_relay.client.errors import NotFinalError
from kling_relay.client.models import Event, Quote, Task, TaskDetail
from kling_relay.client.order import Image, VideoWishes, Wishes, body_of, path_of
from kling_relay.client.transport import Transport
from kling_relay.core.operation import Kind, operation_of

PAGE = 100
"""How many are fetched at a time by what goes through a list."""
_WAIT = 30.0
"""Seconds that one request waits for a task; proxies cut what takes a minute."""

Moment = datetime | str
"""An aware time, or RFC 3339."""


class Tasks:
    """What a `Relay` does with orders and tasks."""

    _transport: Transport
    _word: Callable[[], str]

    async def submit(self, kind: Kind | str, fields: Mapping[str, Any], *, idempotency_key: str | None = None) -> Task:
        """Order `kind` with Kling's own fields and return the task. Raises RelayError, OSError for an image's file.

        Every order carries an idempotency key, so that it may be sent again where no answer came; give your own for
        the order to be repeatable by you as well.
        """
        wanted = Kind(kind)
        answer = await self._transport.ask(
            "POST",
            path_of(wanted),
            body=body_of(fields),
            headers={"Idempotency-Key": idempotency_key or self._word()},
        )
        return models.read_created(wanted, answer["data"])

    async def text_to_image(self, prompt: str, *, n: int | None = None, **wishes: Unpack[Wishes]) -> Task:
        """Order `n` pictures of what the prompt says."""
        return await self._order(Kind.TEXT2IMAGE, {"prompt": prompt, "n": n}, wishes)

    async def image_to_image(
        self,
        prompt: str,
        image: Image,
        *,
        image_fidelity: float | None = None,
        n: int | None = None,
        **wishes: Unpack[Wishes],
    ) -> Task:
        """Order `n` pictures of what the prompt says, after another picture; `image_fidelity` from 0 to 1."""
        fields = {"prompt": prompt, "image": image, "image_fidelity": image_fidelity, "n": n}
        return await self._order(Kind.IMAGE2IMAGE, fields, wishes)

    async def text_to_video(self, prompt: str, **wishes: Unpack[VideoWishes]) -> Task:
        """Order a video of what the prompt says."""
        return await self._order(Kind.TEXT2VIDEO, {"prompt": prompt}, wishes)

    async def image_to_video(
        self,
        image: Image | None,
        *,
        prompt: str | None = None,
        image_tail: Image | None = None,
        **wishes: Unpack[VideoWishes],
    ) -> Task:
        """Order a video that begins with one picture, and ends with another where `image_tail` is given."""
        fields = {"image": image, "image_tail": image_tail, "prompt": prompt}
        return await self._order(Kind.IMAGE2VIDEO, fields, wishes)

    async def quote(self, kind: Kind | str, fields: Mapping[str, Any]) -> Quote:
        """Return what an order would cost, without sending it. Raises InvalidError as the order would."""
        body = {**body_of(fields), "operation": str(operation_of(Kind(kind)))}
        return models.read_quote(await self._transport.ask("POST", "/v1/quotes", body=body))

    async def task(self, task_id: str) -> TaskDetail:
        """Return all that is known of one task. Raises NotFoundError."""
        return models.read_detail(await self._transport.ask("GET", f"/v1/tasks/{task_id}"))

    async def wait(self, task_id: str, *, within: float | None = None) -> TaskDetail:
        """Return a task once it is final, succeeded or failed. Raises NotFinalError after `within` seconds."""
        loop = get_running_loop()
        until = None if within is None else loop.time() + within
        while True:
            asked_at = loop.time()
            seconds = _WAIT if until is None else min(_WAIT, max(0.0, until - asked_at))
            content = await self._transport.ask(
                "GET", f"/v1/tasks/{task_id}", query={"wait": f"{seconds:.3f}"}, seconds=seconds + 30
            )
            found = models.read_detail(content)
            if found.is_final:
                return found
            if until is not None and loop.time() >= until:
                raise NotFinalError(f"Task {task_id} was still {found.task_status} after {within:g} s.")
            if loop.time() - asked_at < 1:  # it did not wait for us: the service is about to stop
                await sleep(self._transport.pause(1))

    async def tasks(
        self,
        *,
        status: Sequence[str] | str | None = None,
        kind: Sequence[Kind | str] | Kind | str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        text: str | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Task, None]:
        """Go through the tasks, newest first, at most so many; filters as in the API."""
        query = {"status": status, "kind": kind, "since": moment(since), "until": moment(until), "text": text}
        async for content in pages(self._transport, "/v1/tasks", query, limit):
            yield models.read_task(content)

    async def history(self, task_id: str) -> list[Event]:
        """Return a task's events, oldest first."""
        answer = await self._transport.ask("GET", f"/v1/tasks/{task_id}/events")
        return [models.read_event(each) for each in answer["data"]]

    async def callbacks(self, task_id: str) -> list[Mapping[str, Any]]:
        """Return what the provider said of a task, as it came."""
        answer = await self._transport.ask("GET", f"/v1/tasks/{task_id}/callbacks")
        return list(answer["data"])

    async def _order(self, kind: Kind, fields: Mapping[str, Any], wishes: Wishes | VideoWishes) -> Task:
        word = wishes.get("idempotency_key")
        rest = {name: value for name, value in wishes.items() if name != "idempotency_key"}
        return await self.submit(kind, {**fields, **rest}, idempotency_key=word)


def moment(at: Moment | None) -> str | None:
    """Return a time as the API reads it."""
    return at.isoformat() if isinstance(at, datetime) else at


async def pages(
    transport: Transport, path: str, query: Mapping[str, Any], limit: int | None
) -> AsyncGenerator[Mapping[str, Any], None]:
    """Go through a list of the API, page by page, at most `limit` of it."""
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        answer = await transport.ask("GET", path, query={**query, "limit": size, "cursor": cursor})
        for content in answer["data"]:
            yield content
        left = None if left is None else left - len(answer["data"])
        cursor = answer["next_cursor"]
        if cursor is None:
            return
