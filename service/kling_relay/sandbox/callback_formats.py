"""How the provider writes a task: the `data` of an answer, and callbacks in every style that providers use.

`flat` is Kling's own; `enveloped`, `newer` and `midjourney` are what gateways in front of it send; `camel` and
`shouting` are odd spellings of the same content.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from kling_relay.core.ids import milliseconds
from kling_relay.sandbox.state import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """The content of a callback; `id` may be another task's, and `status` may be wrong."""

    id: str
    status: str
    reason: str
    result: dict[str, Any] | None
    charge: Decimal | None
    external_task_id: str
    created_at: datetime
    updated_at: datetime
    variant: float
    """From 0 to 1: selects one of several spellings."""


def answer_data(task: Task, *, is_gateway_dialect: bool, brief: bool = False) -> dict[str, Any]:
    """Return the `data` of an answer, with the gateway's members or Kling's own; `brief` is the answer to a submit."""
    data: dict[str, Any] = {"task_id": task.id, "task_status": task.status}
    if not brief:
        data["task_status_msg"] = task.reason
    data["created_at"] = milliseconds(task.created_at)
    data["updated_at"] = milliseconds(task.updated_at)
    if not is_gateway_dialect:
        data["task_info"] = _task_info(task.order.external_task_id)
    if (result := task.published_result) is not None:
        data["task_result"] = {"images": None, "videos": None} | result if is_gateway_dialect else result
    if task.charge is not None:
        data["final_unit_deduction"] = units(task.charge)
    return data


def units(amount: Decimal) -> str:
    """Return units as Kling writes them: "3.5", "7", never "7.0" or "1E+1"."""
    return f"{amount.normalize():f}"


def _task_info(external_task_id: str) -> dict[str, str]:
    return {"external_task_id": external_task_id} if external_task_id else {}


def _flat(notice: Notice) -> dict[str, Any]:
    data: dict[str, Any] = {
        "task_id": notice.id,
        "task_status": notice.status,
        "task_status_msg": notice.reason,
        "created_at": milliseconds(notice.created_at),
        "updated_at": milliseconds(notice.updated_at),
        "task_info": _task_info(notice.external_task_id),
    }
    if notice.charge is not None:
        data["final_unit_deduction"] = units(notice.charge)
    if notice.result is not None:
        data["task_result"] = notice.result
    return data


def _enveloped(notice: Notice) -> dict[str, Any]:
    return {"code": 0, "message": "SUCCEED", "request_id": notice.id, "data": _flat(notice)}


def _newer(notice: Notice) -> dict[str, Any]:
    kind = "image" if notice.result and "images" in notice.result else "video"
    outputs = [
        {"type": kind, "id": output.get("id", str(index)), **output} for index, output in enumerate(_outputs(notice))
    ]

    return {
        "id": notice.id,
        "status": "succeeded" if notice.status == "succeed" else notice.status,
        "message": notice.reason,
        "create_time": milliseconds(notice.created_at),
        "update_time": milliseconds(notice.updated_at),
        "external_id": notice.external_task_id,
        "outputs": outputs,
        "billing": [] if notice.charge is None else [{"type": "unit", "amount": units(notice.charge)}],
    }


_MIDJOURNEY = {"submitted": "SUBMITTED", "processing": "IN_PROGRESS", "succeed": "SUCCESS", "failed": "FAILURE"}


def _midjourney(notice: Notice) -> dict[str, Any]:
    data: dict[str, Any] = {
        "id": notice.id,
        "status": _MIDJOURNEY[notice.status],
        "failReason": notice.reason,
        "submitTime": milliseconds(notice.created_at),
        "finishTime": milliseconds(notice.updated_at) if notice.status in ("succeed", "failed") else 0,
        "progress": {"submitted": "0%", "processing": "50%"}.get(notice.status, "100%"),
    }
    if notice.result is not None:
        data["imageUrl" if "images" in notice.result else "videoUrl"] = _outputs(notice)[0]["url"]
    return data


_CAMEL = {
    "submitted": ("queued", "pending", "waiting", "starting"),
    "processing": ("running", "dreaming", "processing"),
    "succeed": ("completed", "success", "finished", "complete", "OK"),
    "failed": ("error", "fail", "canceled", "expired"),
}


def _camel(notice: Notice) -> dict[str, Any]:
    spellings = _CAMEL[notice.status]
    data: dict[str, Any] = {
        "taskId": notice.id,
        "state": spellings[int(notice.variant * len(spellings)) % len(spellings)],
        "error": {"message": notice.reason} if notice.reason else None,
        "updated_at": str(milliseconds(notice.updated_at)),
    }
    if notice.result is not None:
        data["result_url"] = _outputs(notice)[0]["url"]
    return {"code": "success", "data": data}


_SHOUTING = {"submitted": "NOT_START", "processing": "IN_PROGRESS", "succeed": "SUCCEED", "failed": "FAILED"}


def _shouting(notice: Notice) -> dict[str, Any]:
    data = _flat(notice)
    data["task_status"] = _SHOUTING[notice.status]
    data["created_at"] = milliseconds(notice.created_at) // 1000
    data["updated_at"] = milliseconds(notice.updated_at) // 1000
    return {"code": "0", "message": "SUCCEED", "data": data}


def _outputs(notice: Notice) -> list[dict[str, Any]]:
    return next(iter(notice.result.values())) if notice.result else []


_WRITERS: dict[str, Callable[[Notice], dict[str, Any]]] = {
    "flat": _flat,
    "enveloped": _enveloped,
    "newer": _newer,
    "midjourney": _midjourney,
    "camel": _camel,
    "shouting": _shouting,
}
_MIXED = tuple(_WRITERS.values())


def callback_body(style: str, notice: Notice) -> bytes:
    """Return a callback's bytes in a style, one of `sandbox.profile.STYLES`.

    `mixed` takes the style that the notice's variant selects.
    """
    write = _MIXED[int(notice.variant * len(_MIXED)) % len(_MIXED)] if style == "mixed" else _WRITERS[style]
    return orjson.dumps(write(notice))
