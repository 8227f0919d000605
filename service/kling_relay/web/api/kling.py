"""Kling's own paths: orders, one task, a page of tasks, in Kling's envelope to the letter.

Answers come from our own records alone. `request_id` is the task's id on task answers, because the gateway's web UI
takes the one for the other.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any

from kling_relay.core.address import check_url
from kling_relay.core.errors import Fault, InvalidOrder, InvalidRequest, NotFound
from kling_relay.core.operation import Kind, Operation, operation_of
from kling_relay.core.order import Order, check
from kling_relay.core.trace import parse
from kling_relay.flows.log_context import note
from kling_relay.store.tasks import listing
from kling_relay.web.http import body as bodies
from kling_relay.web.http.answers import enveloped
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response

IDEMPOTENCY_KEY = "^[!-~](?:[ -~]{0,253}[!-~])?$"
_WORD = re.compile(IDEMPOTENCY_KEY)
_MAX_PAGES = 1000
_MAX_PER_PAGE = 500
_PER_PAGE = 30


async def order(call: Request, operation: Operation) -> Response:
    """Take an order; 200 once it is recorded and the provider was told, or is being told."""
    wanted = await checked(call, await call.read(), lambda body: (operation, body))
    headers = call.request.headers
    word = headers.get("Idempotency-Key")
    if word is not None and not _WORD.fullmatch(word):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 printable ASCII characters.")
    trace = parse(headers.get("traceparent"))
    shown = await call.tools.submit(call.caller, wanted, word=word, trace=trace.text if trace else None, now=call.now)
    note(task=shown["task_id"])
    return enveloped(created(shown), shown["task_id"])


async def checked(call: Request, raw: bytes, opened: Callable[[object], tuple[Operation, object]]) -> Order:
    """Return the checked order in `raw`; `opened` says of its JSON at which door it stands.

    Raises InvalidRequest or InvalidOrder, every fault named.
    """

    def read() -> Order:
        operation, body = opened(bodies.parse(raw, call.tools.limits.json_depth))
        return check(operation, body, call.tools.rulebook)

    # a long body is read off the loop: parsing and Base64 of images take tens of milliseconds
    wanted = await asyncio.to_thread(read) if len(raw) > bodies.THREAD_FROM else read()
    if wanted.hook is not None and isinstance(says := check_url(wanted.hook, allowed=call.tools.allowed), str):
        raise InvalidOrder([Fault("notify_hook", says)])
    return wanted


async def show(call: Request) -> Response:
    """Answer with one task, by our id or the client's own; whatever door it came in by."""
    found = await call.site.lookup(call.caller.client, call.params["task"])
    if found is None:
        raise NotFound(f"There is no task {call.params['task'][:128]!r}.")
    return enveloped(queried(found.shown), found.shown["task_id"])


async def numbered(call: Request, operation: Operation) -> Response:
    """Answer with a page of this door's tasks, newest first."""
    kinds = [kind.value for kind in Kind if operation_of(kind) is operation]
    number = _number(call, "pageNum", 1, _MAX_PAGES)
    size = _number(call, "pageSize", _PER_PAGE, _MAX_PER_PAGE)
    found = await listing.numbered_page(call.tools.database, call.caller.client, kinds, number, size)
    return enveloped([queried(each.shown) for each in found], call.request_id)


def created(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Kling's gateway says of a task that was just made."""
    names = ("task_id", "task_status", "created_at", "updated_at")
    return {name: shown[name] for name in names} | _info(shown)


def queried(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Kling's gateway says of a task that is asked for; on success the other kind of result is null.

    Before success the result is empty, not absent: Kling's own ComfyUI node reads no picture task without one.
    """
    task = {name: shown[name] for name in ("task_id", "task_status", "task_status_msg")}
    task |= _info(shown) | {name: shown[name] for name in ("created_at", "updated_at")}
    task["task_result"] = {}
    if shown["task_status"] == "succeed":
        result = shown["task_result"] or {}
        own = "images" if Kind(shown["kind"]).makes_images else "videos"
        task["task_result"] = {"images": result.get("images"), "videos": result.get("videos")}
        task["task_result"][own] = result.get(own) or []
    return task


def _info(shown: Mapping[str, Any]) -> dict[str, Any]:
    name = shown["external_task_id"]
    return {} if name is None else {"task_info": {"external_task_id": name}}


def _number(call: Request, name: str, usual: int, limit: int) -> int:
    text = call.request.query.get(name, "").strip()
    if not text or text == "null":
        return usual
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= limit:
        raise InvalidOrder([Fault(name, f"must be a whole number in [1, {limit}]")])
    return int(text)
