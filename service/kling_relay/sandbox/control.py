"""The sandbox's own API: read its state, change its profile and its tasks.

Lists answer `{"data": […], "total": N}`, newest first, `?limit=` (100) and `?offset=`.
"""

from collections.abc import Awaitable, Callable, Reversible, Sized
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Protocol, TypeVar

import orjson
from aiohttp import web

from kling_relay.sandbox.callback_formats import answer_data, units
from kling_relay.sandbox.callback_sender import CurrentProfile
from kling_relay.sandbox.directives import DIRECTIVES
from kling_relay.sandbox.errors import RefusalError
from kling_relay.sandbox.gate import admit
from kling_relay.sandbox.lifecycle import Lifecycle
from kling_relay.sandbox.profile import STATUSES, Profile, ProfileError
from kling_relay.sandbox.state import LedgerEntry, SentCallback, State, Task

T_co = TypeVar("T_co", covariant=True)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _List(Reversible[T_co], Sized, Protocol[T_co]):
    """A collection that has a length and can be read backwards."""


@dataclass(slots=True, eq=False, kw_only=True)
class Control:
    """Answers under /sandbox/, with the same keys as the provider's API."""

    current: CurrentProfile
    state: State
    lifecycle: Lifecycle
    now: Callable[[], datetime]

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", _guide),
            web.get("/sandbox/account", self._authorized(self._account)),
            web.get("/sandbox/ledger", self._authorized(self._ledger)),
            web.get("/sandbox/tasks", self._authorized(self._tasks)),
            web.get("/sandbox/tasks/{key}", self._authorized(self._task)),
            web.post("/sandbox/tasks/{key}/finish", self._authorized(self._finish)),
            web.post("/sandbox/tasks/{key}/fail", self._authorized(self._fail)),
            web.post("/sandbox/tasks/{key}/callback", self._authorized(self._callback)),
            web.get("/sandbox/callbacks", self._authorized(self._callbacks)),
            web.get("/sandbox/profile", self._authorized(self._profile)),
            web.patch("/sandbox/profile", self._authorized(self._change_profile)),
        ]

    def _authorized(self, answer: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                admit(request.headers.get("Authorization"), self.current.profile, self.now())
                return await answer(request)
            except RefusalError as error:
                return _json({"code": error.code, "message": error.message}, error.status)

        return handle

    async def _account(self, _: web.Request) -> web.Response:
        state = self.state
        return _json(
            {
                "balance": units(state.balance),
                "spent": units(state.spent),
                "slots": self.current.profile.slots,
                "slots_held": state.slots_held,
                "tasks": len(state.tasks),
                "charges": state.charges,
                "refunds": state.refunds,
            }
        )

    async def _ledger(self, request: web.Request) -> web.Response:
        return _page(request, self.state.ledger, _ledger_json)

    async def _tasks(self, request: web.Request) -> web.Response:
        return _page(request, self.state.tasks.values(), _task_json)

    async def _task(self, request: web.Request) -> web.Response:
        task = self._named(request)
        callbacks = [_callback_json(callback) for callback in self.state.callbacks if callback.task_id == task.id]
        return _json({**_task_json(task), "callbacks": callbacks})

    async def _callbacks(self, request: web.Request) -> web.Response:
        return _page(request, self.state.callbacks, _callback_json)

    async def _finish(self, request: web.Request) -> web.Response:
        task = self._named(request)
        return _move(task, lambda: self.lifecycle.finish(task))

    async def _fail(self, request: web.Request) -> web.Response:
        task, reason = self._named(request), str((await _members(request)).get("reason") or "")
        return _move(task, lambda: self.lifecycle.fail(task, reason))

    async def _callback(self, request: web.Request) -> web.Response:
        """Send a callback now: `{"status": "succeed"}`, true or not, or the true status if the body has none."""
        task = self._named(request)
        status = (await _members(request)).get("status") or task.status
        if status not in STATUSES:
            raise RefusalError(1201, f"status: must be one of {', '.join(STATUSES)}")
        self.lifecycle.call_back(task, str(status))
        return _json(_task_json(task))

    async def _profile(self, _: web.Request) -> web.Response:
        return _json(self.current.profile.to_json())

    async def _change_profile(self, request: web.Request) -> web.Response:
        """Set options from a JSON object; values are texts as on the command line, numbers, booleans or lists."""
        options = ((name, _option_text(value)) for name, value in (await _members(request)).items())
        try:
            self.current.profile = self.current.profile.with_options(options)
        except ProfileError as error:
            raise RefusalError(1201, str(error)) from None
        return await self._profile(request)

    def _named(self, request: web.Request) -> Task:
        task = self.state.find(request.match_info["key"])
        if task is None:
            raise RefusalError(1203, "task not found")
        return task


def _task_json(task: Task) -> dict[str, Any]:
    """Return a task's true state, in Kling's members and a few of the sandbox's."""
    order = task.order
    return {
        **answer_data(task, is_gateway_dialect=task.is_gateway_dialect),
        "operation": order.operation,
        "external_task_id": order.external_task_id,
        "hook": order.hook,
        "prompt": order.prompt,
        "price": units(order.price),
        "polled": task.poll_count,
    }


def _ledger_json(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "at": entry.at.isoformat(),
        "task_id": entry.task_id,
        "external_task_id": entry.external_task_id,
        "kind": entry.kind,
        "units": units(entry.units),
    }


def _callback_json(callback: SentCallback) -> dict[str, Any]:
    return {
        "at": callback.at.isoformat(),
        "task_id": callback.task_id,
        "status": callback.status,
        "url": callback.url,
        "lost": callback.is_lost,
        "answer": callback.answer,
        "error": callback.error,
        "body": callback.body[:4096].decode("utf-8", "replace"),
    }


def _move(task: Task, move: Callable[[], None]) -> web.Response:
    try:
        move()
    except ValueError as error:
        raise RefusalError(1201, str(error)) from None
    return _json(_task_json(task))


async def _members(request: web.Request) -> dict[str, Any]:
    """Return the JSON object in the body, {} if the body is empty."""
    raw = await request.read()
    try:
        members = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        raise RefusalError(1200, "the body is not JSON") from None
    if not isinstance(members, dict):
        raise RefusalError(1200, "the body is not a JSON object")
    return members


def _option_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _page(request: web.Request, items: _List[T_co], write: Callable[[T_co], dict[str, Any]]) -> web.Response:
    numbers = []
    for name, default in (("offset", "0"), ("limit", "100")):
        text = request.query.get(name) or default
        if not (text.isascii() and text.isdigit()):
            raise RefusalError(1201, f"{name}: must be a whole number")
        numbers.append(int(text))
    offset, limit = numbers
    data = [write(item) for item in islice(reversed(items), offset, offset + limit)]
    return _json({"data": data, "total": len(items)})


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


async def _guide(_: web.Request) -> web.Response:
    """Answer GET / with the list of directives and options, for people who open the address in a browser."""
    meanings = {directive.form: directive.meaning for directive in DIRECTIVES.values()}
    lines = ["A sandbox of the Kling API.", "", "Directives in a prompt:"]
    lines += [f"  {form:48}{meaning}" for form, meaning in meanings.items()]
    lines += ["", "Options, read and changed at /sandbox/profile:"]
    lines += [f"  {name:28}{meaning}" for name, _, meaning in Profile.options()]
    return web.Response(text="\n".join(lines) + "\n")
