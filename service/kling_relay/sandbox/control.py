"""The sandbox's own API: its record of truth to look at, its temper and its tasks to change.

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
from kling_relay.sandbox.callback_sender import Mood
from kling_relay.sandbox.directives import WORDS
from kling_relay.sandbox.errors import RefusalError
from kling_relay.sandbox.gate import admit
from kling_relay.sandbox.lifecycle import Life
from kling_relay.sandbox.profile import STATUSES, KnobError, Temper
from kling_relay.sandbox.state import Entry, Record, Sent, Task

T_co = TypeVar("T_co", covariant=True)

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _List(Reversible[T_co], Sized, Protocol[T_co]):
    """What can be counted and read from its end."""


@dataclass(slots=True, eq=False, kw_only=True)
class Control:
    """Answers under /sandbox/, for the same keys as the provider's API."""

    mood: Mood
    record: Record
    life: Life
    now: Callable[[], datetime]

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", _guide),
            web.get("/sandbox/account", self._admitted(self._account)),
            web.get("/sandbox/ledger", self._admitted(self._ledger)),
            web.get("/sandbox/tasks", self._admitted(self._tasks)),
            web.get("/sandbox/tasks/{key}", self._admitted(self._task)),
            web.post("/sandbox/tasks/{key}/finish", self._admitted(self._finish)),
            web.post("/sandbox/tasks/{key}/fail", self._admitted(self._fail)),
            web.post("/sandbox/tasks/{key}/callback", self._admitted(self._callback)),
            web.get("/sandbox/callbacks", self._admitted(self._callbacks)),
            web.get("/sandbox/temper", self._admitted(self._temper)),
            web.patch("/sandbox/temper", self._admitted(self._change_temper)),
        ]

    def _admitted(self, answer: Answering) -> Answering:
        async def admitted(request: web.Request) -> web.StreamResponse:
            try:
                admit(request.headers.get("Authorization"), self.mood.temper, self.now())
                return await answer(request)
            except RefusalError as error:
                return _json({"code": error.code, "message": error.message}, error.status)

        return admitted

    async def _account(self, _: web.Request) -> web.Response:
        record = self.record
        return _json(
            {
                "balance": units(record.balance),
                "spent": units(record.spent),
                "slots": self.mood.temper.slots,
                "slots_held": record.slots_held,
                "tasks": len(record.tasks),
                "charges": record.charges,
                "refunds": record.refunds,
            }
        )

    async def _ledger(self, request: web.Request) -> web.Response:
        return _page(request, self.record.ledger, _entry)

    async def _tasks(self, request: web.Request) -> web.Response:
        return _page(request, self.record.tasks.values(), _truth)

    async def _task(self, request: web.Request) -> web.Response:
        task = self._named(request)
        sent = [_sent(each) for each in self.record.sent if each.task_id == task.id]
        return _json({**_truth(task), "callbacks": sent})

    async def _callbacks(self, request: web.Request) -> web.Response:
        return _page(request, self.record.sent, _sent)

    async def _finish(self, request: web.Request) -> web.Response:
        task = self._named(request)
        return _moved(task, lambda: self.life.finish(task))

    async def _fail(self, request: web.Request) -> web.Response:
        task, reason = self._named(request), str((await _members(request)).get("reason") or "")
        return _moved(task, lambda: self.life.fail(task, reason))

    async def _callback(self, request: web.Request) -> web.Response:
        """Send a callback now, true or not: `{"status": "succeed"}`; without a status, what is true."""
        task = self._named(request)
        status = (await _members(request)).get("status") or task.status
        if status not in STATUSES:
            raise RefusalError(1201, f"status: one of {', '.join(STATUSES)}")
        self.life.repeat(task, str(status))
        return _json(_truth(task))

    async def _temper(self, _: web.Request) -> web.Response:
        return _json(self.mood.temper.to_json())

    async def _change_temper(self, request: web.Request) -> web.Response:
        """Set knobs from a JSON object of the same texts that the command line takes (numbers and booleans too)."""
        knobs = ((name, _knob_text(value)) for name, value in (await _members(request)).items())
        try:
            self.mood.temper = self.mood.temper.with_knobs(knobs)
        except KnobError as error:
            raise RefusalError(1201, str(error)) from None
        return await self._temper(request)

    def _named(self, request: web.Request) -> Task:
        task = self.record.find(request.match_info["key"])
        if task is None:
            raise RefusalError(1203, "task not found")
        return task


def _truth(task: Task) -> dict[str, Any]:
    """Return a task as the sandbox knows it, in Kling's members and a few of its own."""
    order = task.order
    return {
        **answer_data(task, gateway=task.gateway),
        "operation": order.operation.value,
        "external_task_id": order.external_task_id,
        "hook": order.hook,
        "prompt": order.prompt,
        "price": units(order.price),
        "polled": task.polled,
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at.isoformat(),
        "task_id": entry.task_id,
        "external_task_id": entry.external_task_id,
        "kind": entry.kind,
        "units": units(entry.units),
    }


def _sent(sent: Sent) -> dict[str, Any]:
    return {
        "at": sent.at.isoformat(),
        "task_id": sent.task_id,
        "status": sent.status,
        "url": sent.url,
        "lost": sent.lost,
        "answer": sent.answer,
        "error": sent.error,
        "body": sent.body[:4096].decode("utf-8", "replace"),
    }


def _moved(task: Task, move: Callable[[], None]) -> web.Response:
    try:
        move()
    except ValueError as error:
        raise RefusalError(1201, str(error)) from None
    return _json(_truth(task))


async def _members(request: web.Request) -> dict[str, Any]:
    """Return the JSON object in the body, {} for an empty one."""
    raw = await request.read()
    try:
        members = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        raise RefusalError(1200, "the body is not JSON") from None
    if not isinstance(members, dict):
        raise RefusalError(1200, "the body is not a JSON object")
    return members


def _knob_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _page(request: web.Request, things: _List[T_co], write: Callable[[T_co], dict[str, Any]]) -> web.Response:
    places = []
    for name, default in (("offset", "0"), ("limit", "100")):
        text = request.query.get(name) or default
        if not (text.isascii() and text.isdigit()):
            raise RefusalError(1201, f"{name}: a whole number is expected")
        places.append(int(text))
    offset, limit = places
    return _json(
        {"data": [write(one) for one in islice(reversed(things), offset, offset + limit)], "total": len(things)}
    )


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


async def _guide(_: web.Request) -> web.Response:
    """Answer GET / with the words and knobs, for whoever opens the address in a browser."""
    words = {word.form: word.meaning for word in WORDS.values()}
    lines = ["A sandbox of the Kling API.", "", "Words in a prompt:"]
    lines += [f"  {form:48}{meaning}" for form, meaning in words.items()]
    lines += ["", "Knobs, read and changed at /sandbox/temper:"]
    lines += [f"  {name:28}{meaning}" for name, _, meaning in Temper.knobs()]
    return web.Response(text="\n".join(lines) + "\n")
