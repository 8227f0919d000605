"""The provider's API in both dialects: the gateway's under /kling, Kling's own without a prefix.

Every request is recorded and authorized. An order gets a schedule, which may contain faults.
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
from kling_relay.core.operation import OPERATIONS
from kling_relay.sandbox.callback_formats import answer_data
from kling_relay.sandbox.callback_sender import CurrentProfile
from kling_relay.sandbox.directives import read_directives
from kling_relay.sandbox.errors import RefusalError
from kling_relay.sandbox.gate import admit
from kling_relay.sandbox.lifecycle import Lifecycle
from kling_relay.sandbox.orders import Order, read_order
from kling_relay.sandbox.profile import RandomSource
from kling_relay.sandbox.schedule import Fault, FaultKind, happens, randomize
from kling_relay.sandbox.state import ReceivedRequest, State, Task

_MAX_KEPT_BODY = 16 * 1024
_MAX_COUNTED_ORDERS = 10_000
_HTML = """<html>
<head><title>502 Bad Gateway</title></head>
<body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body>
</html>
"""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True, eq=False, kw_only=True)
class Gateway:
    """Answers as the provider; result addresses start with `url`, or with the request's own host if it is empty."""

    current: CurrentProfile
    state: State
    lifecycle: Lifecycle
    now: Callable[[], datetime]
    rng: RandomSource
    url: str = ""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _submits: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def routes(self) -> list[web.RouteDef]:
        """Return the API's routes; every other path answers 1202."""
        routes = []
        for prefix, is_gateway_dialect in (("/kling", True), ("", False)):
            for operation in OPERATIONS:
                path = f"{prefix}/v1/{operation}"
                routes += [
                    web.post(path, self._record_requests(partial(self._submit, operation, is_gateway_dialect))),
                    web.get(path, self._record_requests(partial(self._page, operation, is_gateway_dialect))),
                    web.get(path + "/{key}", self._record_requests(partial(self._task, operation, is_gateway_dialect))),
                ]
            routes.append(web.get(f"{prefix}/account/costs", self._record_requests(self._costs)))
        return [*routes, web.route("*", "/{rest:.*}", self._record_requests(self._unknown))]

    def _record_requests(self, answer: Handler) -> Handler:
        """Wrap a handler: record every request, check its authorization, and write refusals as Kling does."""

        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            now = self.now()
            self.state.requests.append(
                ReceivedRequest(
                    at=now,
                    method=request.method,
                    path=request.path_qs,
                    headers=request.headers,
                    body=body[:_MAX_KEPT_BODY],
                )
            )
            self.state.changed()
            try:
                admit(request.headers.get("Authorization"), self.current.profile, now)
                return await answer(request)
            except RefusalError as error:
                return _json(error.body(self.lifecycle.new_id()), error.status)

        return handle

    async def _submit(self, operation: str, is_gateway_dialect: bool, request: web.Request) -> web.StreamResponse:
        order = self._read(operation, is_gateway_dialect, await request.read())
        profile = self.current.profile
        schedule = randomize(read_directives(order.prompt), profile, self.rng)
        fault = _next_fault(schedule.submit_faults, self._count(order)) if schedule.submit_faults else None
        if schedule.slow and not await self._wait(schedule.slow):
            return _reset(request)
        if fault is not None and not fault.accepted:
            return await self._answer_fault(request, fault)
        url = self.url or f"{request.scheme}://{request.host}"
        task = self.lifecycle.accept(order, schedule, is_gateway_dialect=is_gateway_dialect, url=url)
        if fault is not None:
            return await self._answer_fault(request, fault)
        data = answer_data(task, is_gateway_dialect=is_gateway_dialect, brief=True)
        if schedule.overtake:
            await self._wait_for_callbacks(task)
        return self._ok(data, is_gateway_dialect, task.id)

    def _read(self, operation: str, is_gateway_dialect: bool, raw: bytes) -> Order:
        profile = self.current.profile
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise RefusalError(1200, "the body is not JSON") from None
        return read_order(
            operation,
            body,
            hook_fields=profile.hook_fields or (("notify_hook",) if is_gateway_dialect else ("callback_url",)),
            external_ids=profile.external_ids or not is_gateway_dialect,
        )

    def _count(self, order: Order) -> int:
        """Return how many times this order was sent before. Its external id, hook and prompt identify an order."""
        key = (order.external_task_id, order.hook, order.prompt)
        earlier_count = self._submits.pop(key, 0)
        self._submits[key] = earlier_count + 1
        if len(self._submits) > _MAX_COUNTED_ORDERS:
            del self._submits[next(iter(self._submits))]
        return earlier_count

    async def _task(self, operation: str, is_gateway_dialect: bool, request: web.Request) -> web.StreamResponse:
        task = self.state.find(request.match_info["key"])
        if task is None or task.order.operation != operation:
            raise RefusalError(1203, "task not found")
        task.count_poll()
        if task.schedule.poll_faults and (fault := _next_fault(task.schedule.poll_faults, task.poll_count - 1)):
            return await self._answer_fault(request, fault)
        if happens(self.current.profile.poll_html, self.rng):
            return await self._answer_fault(request, Fault(FaultKind.HTML))
        if happens(self.current.profile.poll_error, self.rng):
            raise RefusalError(5000)
        return self._ok(answer_data(task, is_gateway_dialect=is_gateway_dialect), is_gateway_dialect, task.id)

    async def _page(self, operation: str, is_gateway_dialect: bool, request: web.Request) -> web.StreamResponse:
        number, size = _number(request, "pageNum", 1, 1000), _number(request, "pageSize", 30, 500)
        newest = reversed(self.state.by_operation[operation].values())
        tasks = islice(newest, (number - 1) * size, number * size)
        return self._ok(
            [answer_data(task, is_gateway_dialect=is_gateway_dialect) for task in tasks],
            is_gateway_dialect,
            self.lifecycle.new_id(),
        )

    async def _costs(self, _: web.Request) -> web.StreamResponse:
        """Answer GET /account/costs as Kling does, with the account as one resource pack."""
        state = self.state
        pack = {
            "resource_pack_name": "Sandbox",
            "resource_pack_id": "sandbox",
            "resource_pack_type": "decreasing_total",
            "total_quantity": float(state.balance + state.spent),
            "remaining_quantity": float(state.balance),
            "purchase_time": milliseconds(state.opened_at),
            "effective_time": milliseconds(state.opened_at),
            "invalid_time": milliseconds(state.opened_at) + 365 * 86_400_000,
            "status": "online" if state.balance > 0 else "runOut",
        }
        data = {"code": 0, "msg": "SUCCEED", "resource_pack_subscribe_infos": [pack]}
        return self._ok(data, False, self.lifecycle.new_id())

    async def _unknown(self, _: web.Request) -> web.StreamResponse:
        raise RefusalError(1202)

    def _ok(self, data: object, is_gateway_dialect: bool, task_id: str) -> web.Response:
        """Return Kling's envelope. The gateway's `request_id` is the task's id, Kling's is a new one."""
        message, request_id = ("成功", task_id) if is_gateway_dialect else ("SUCCEED", self.lifecycle.new_id())
        return _json(orjson.dumps({"code": 0, "message": message, "request_id": request_id, "data": data}), 200)

    async def _answer_fault(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        match fault.kind:
            case FaultKind.CODE:
                raise RefusalError(fault.code)
            case FaultKind.HTML:
                return web.Response(status=502, text=_HTML, content_type="text/html")
            case FaultKind.BARE_429:
                return web.Response(status=429, text="Too Many Requests", headers={"Retry-After": "1"})
            case FaultKind.RESET:
                return _reset(request)
            case FaultKind.HANG:
                await self._wait(self.current.profile.hang_seconds)
                return _reset(request)

    async def _wait(self, seconds: float) -> bool:
        """Wait; return False if the sandbox stops meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self.closing.wait()
        except TimeoutError:
            return True
        return False

    async def _wait_for_callbacks(self, task: Task) -> None:
        try:
            async with asyncio.timeout(self.current.profile.hang_seconds):
                await self.state.until(
                    lambda: self.closing.is_set() or (task.is_final and self.lifecycle.sender.is_idle(task))
                )
        except TimeoutError:
            return


def _next_fault(faults: tuple[Fault, ...], requests: int) -> Fault | None:
    """Return the fault after this many requests.

    A fault with a count applies to that many requests, one without to all later ones.
    """
    for fault in faults:
        if fault.times is None or requests < fault.times:
            return fault
        requests -= fault.times
    return None


def _number(request: web.Request, name: str, default: int, limit: int) -> int:
    text = request.query.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= limit):
        raise RefusalError(1201, f"{name}: must be from 1 to {limit}")
    return int(text)


def _json(body: bytes, status: int) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def _reset(request: web.Request) -> web.StreamResponse:
    """Close the connection so that the client sees a reset, not an orderly end."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response(status=500)
