"""The provider's API in both dialects: under /kling as the seed's gateway, without a prefix as Kling itself.

Each request goes the same way: heard, admitted, read, planned, perhaps troubled, answered.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice

import orjson
from aiohttp import web

from kling_relay.core.ids import milliseconds
from kling_relay.core.operation import Operation
from kling_relay.sandbox.callback_formats import answer_data
from kling_relay.sandbox.callback_sender import Mood
from kling_relay.sandbox.directives import read_words
from kling_relay.sandbox.errors import RefusalError
from kling_relay.sandbox.gate import admit
from kling_relay.sandbox.lifecycle import Life
from kling_relay.sandbox.orders import Order, read_order
from kling_relay.sandbox.profile import Chance
from kling_relay.sandbox.schedule import Fault, Trouble, happens, throw
from kling_relay.sandbox.state import Heard, Record, Task

_KEPT_BODY = 16 * 1024
_MAX_STRIKES = 10_000
_HTML = """<html>
<head><title>502 Bad Gateway</title></head>
<body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body>
</html>
"""

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True, eq=False, kw_only=True)
class Gateway:
    """Answers for the provider; `url` is what result addresses begin with, "" for what the client called us."""

    mood: Mood
    record: Record
    life: Life
    now: Callable[[], datetime]
    chance: Chance
    url: str = ""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def routes(self) -> list[web.RouteDef]:
        """Return the API's routes; what is not among them answers 1202."""
        routes = []
        for prefix, gateway in (("/kling", True), ("", False)):
            for operation in Operation:
                path = f"{prefix}/v1/{operation.value}"
                routes += [
                    web.post(path, self._heard(partial(self._submit, operation, gateway))),
                    web.get(path, self._heard(partial(self._page, operation, gateway))),
                    web.get(path + "/{key}", self._heard(partial(self._one, operation, gateway))),
                ]
            routes.append(web.get(f"{prefix}/account/costs", self._heard(self._costs)))
        return [*routes, web.route("*", "/{rest:.*}", self._heard(self._unknown))]

    def _heard(self, answer: Answering) -> Answering:
        """Return `answer` for requests that are admitted, with every request noted and refusals put in words."""

        async def heard(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            now = self.now()
            self.record.heard.append(
                Heard(
                    at=now,
                    method=request.method,
                    path=request.path_qs,
                    headers=request.headers,
                    body=body[:_KEPT_BODY],
                )
            )
            self.record.changed()
            try:
                admit(request.headers.get("Authorization"), self.mood.temper, now)
                return await answer(request)
            except RefusalError as error:
                return _json(error.body(self.life.new_id()), error.status)

        return heard

    async def _submit(self, operation: Operation, gateway: bool, request: web.Request) -> web.StreamResponse:
        order = self._read(operation, gateway, await request.read())
        temper = self.mood.temper
        plan = throw(read_words(order.prompt), temper, self.chance)
        trouble = _current(plan.troubles, self._count(order)) if plan.troubles else None
        if plan.slow and not await self._stay(plan.slow):
            return _reset(request)
        if trouble is not None and not trouble.accepted:
            return await self._trouble(request, trouble)
        url = self.url or f"{request.scheme}://{request.host}"
        task = self.life.accept(order, plan, gateway=gateway, url=url)
        if trouble is not None:
            return await self._trouble(request, trouble)
        data = answer_data(task, gateway=gateway, brief=True)
        if plan.overtake:
            await self._all_told(task)
        return self._ok(data, gateway, task.id)

    def _read(self, operation: Operation, gateway: bool, raw: bytes) -> Order:
        temper = self.mood.temper
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise RefusalError(1200, "the body is not JSON") from None
        return read_order(
            operation,
            body,
            hook_fields=temper.hook_fields or (("notify_hook",) if gateway else ("callback_url",)),
            external_ids=temper.external_ids or not gateway,
        )

    def _count(self, order: Order) -> int:
        """Return how often this very order came before; what tells it from others is its id, else its hook."""
        key = (order.external_task_id, order.hook, order.prompt)
        seen = self._seen.pop(key, 0)
        self._seen[key] = seen + 1
        if len(self._seen) > _MAX_STRIKES:
            del self._seen[next(iter(self._seen))]
        return seen

    async def _one(self, operation: Operation, gateway: bool, request: web.Request) -> web.StreamResponse:
        task = self.record.find(request.match_info["key"])
        if task is None or task.order.operation is not operation:
            raise RefusalError(1203, "task not found")
        task.polled += 1
        if task.plan.polls and (trouble := _current(task.plan.polls, task.polled - 1)):
            return await self._trouble(request, trouble)
        if happens(self.mood.temper.poll_html, self.chance):
            return await self._trouble(request, Trouble(Fault.HTML))
        if happens(self.mood.temper.poll_error, self.chance):
            raise RefusalError(5000)
        return self._ok(answer_data(task, gateway=gateway), gateway, task.id)

    async def _page(self, operation: Operation, gateway: bool, request: web.Request) -> web.StreamResponse:
        number, size = _number(request, "pageNum", 1, 1000), _number(request, "pageSize", 30, 500)
        newest = reversed(self.record.by_operation[operation].values())
        tasks = islice(newest, (number - 1) * size, number * size)
        return self._ok([answer_data(task, gateway=gateway) for task in tasks], gateway, self.life.new_id())

    async def _costs(self, _: web.Request) -> web.StreamResponse:
        """Answer as Kling's GET /account/costs does: the account as one resource pack."""
        record = self.record
        pack = {
            "resource_pack_name": "Sandbox",
            "resource_pack_id": "sandbox",
            "resource_pack_type": "decreasing_total",
            "total_quantity": float(record.balance + record.spent),
            "remaining_quantity": float(record.balance),
            "purchase_time": milliseconds(record.opened_at),
            "effective_time": milliseconds(record.opened_at),
            "invalid_time": milliseconds(record.opened_at) + 365 * 86_400_000,
            "status": "online" if record.balance > 0 else "runOut",
        }
        data = {"code": 0, "msg": "SUCCEED", "resource_pack_subscribe_infos": [pack]}
        return self._ok(data, False, self.life.new_id())

    async def _unknown(self, _: web.Request) -> web.StreamResponse:
        raise RefusalError(1202)

    def _ok(self, data: object, gateway: bool, task_id: str) -> web.Response:
        """Return Kling's envelope; the gateway's `request_id` is the task's id, Kling's is its own."""
        message, request_id = ("成功", task_id) if gateway else ("SUCCEED", self.life.new_id())
        return _json(orjson.dumps({"code": 0, "message": message, "request_id": request_id, "data": data}), 200)

    async def _trouble(self, request: web.Request, trouble: Trouble) -> web.StreamResponse:
        match trouble.fault:
            case Fault.CODE:
                raise RefusalError(trouble.code)
            case Fault.HTML:
                return web.Response(status=502, text=_HTML, content_type="text/html")
            case Fault.BARE_429:
                return web.Response(status=429, text="Too Many Requests", headers={"Retry-After": "1"})
            case Fault.RESET:
                return _reset(request)
            case Fault.HANG:
                await self._stay(self.mood.temper.hang_seconds)
                return _reset(request)

    async def _stay(self, wait: float) -> bool:
        """Wait so many seconds; return False where the sandbox stops meanwhile."""
        try:
            async with asyncio.timeout(wait):
                await self.closing.wait()
        except TimeoutError:
            return True
        return False

    async def _all_told(self, task: Task) -> None:
        try:
            async with asyncio.timeout(self.mood.temper.hang_seconds):
                await self.record.until(
                    lambda: self.closing.is_set() or (task.is_final and self.life.courier.is_idle(task))
                )
        except TimeoutError:
            return


def _current(troubles: tuple[Trouble, ...], seen: int) -> Trouble | None:
    """Return the trouble that comes after `seen` requests: those with a count one after another, then the lasting."""
    for trouble in troubles:
        if trouble.times is None or seen < trouble.times:
            return trouble
        seen -= trouble.times
    return None


def _number(request: web.Request, name: str, default: int, limit: int) -> int:
    text = request.query.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= limit):
        raise RefusalError(1201, f"{name}: from 1 to {limit}")
    return int(text)


def _json(body: bytes, status: int) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def _reset(request: web.Request) -> web.StreamResponse:
    """Cut the connection so that the client sees a reset, not an orderly end."""
    if request.transport is not None:
        wire = request.transport.get_extra_info("socket")
        if wire is not None:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response(status=500)
