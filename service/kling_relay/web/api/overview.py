"""The overview: one client's own rates, latencies and pending work over the last hour or day.

Figures come from bounded samples (`store.overview`); what was reckoned rather than counted says so.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from kling_relay.core.errors import Fault, InvalidRequest
from kling_relay.core.event import rfc3339
from kling_relay.store.stats import attempts as tries
from kling_relay.store.stats import open_work
from kling_relay.store.stats import tasks as overview
from kling_relay.store.stats.open_work import Waiting
from kling_relay.store.stats.tasks import NEVER, PER_BIN, Counted, Figures, Window
from kling_relay.web.http.answers import plain
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response

_WINDOWS = {"hour": (timedelta(minutes=1), 60), "day": (timedelta(minutes=30), 48)}
_NONE = Waiting(pending=0, exhausted=0, next_at=None)


async def show(call: Request) -> Response:
    """Answer with the caller's figures over the last hour or day."""
    width, count = _WINDOWS[call.query.span]
    window = _window(call.now, width, count)
    client, database = call.caller.client, call.tools.database
    mine = await tries.mine(database, client, _only(call.query.subscription))
    tasks = await overview.count_tasks(database, client, window)
    attempts = await tries.count_attempts(database, mine, window)
    waiting = await open_work.waiting(database, mine)
    now_open = await open_work.open_tasks(database, client)
    spans = Counter(attempts.lasting)
    spans.update((int((at - window.since) / width), NEVER) for at in await open_work.untried(database, mine))
    reasons = await open_work.reasons(database, client, window.since)
    pending = sum(each.pending for each in waiting.values())
    open_then = _lasting(tasks.lasting, count, now_open.count)
    bins = _bins(window, tasks, attempts, open_then, _lasting(spans, count, pending))
    next_at = min((each.next_at for each in waiting.values() if each.next_at), default=None)
    return plain(
        {
            "span": call.query.span,
            "since": rfc3339(window.since),
            "until": rfc3339(window.until),
            "bin_seconds": width.total_seconds(),
            "tasks": {
                "ordered": sum(each["ordered"] for each in bins),
                "is_estimate": any(each["is_estimate"] for each in bins),
                "succeeded": sum(each["succeeded"] for each in bins),
                "failed": sum(each["failed"] for each in bins),
                "open": now_open.count,
                **_times("duration", tasks.whole),
            },
            "deliveries": {
                "attempts": attempts.whole.seen,
                "delivered": attempts.whole.good,
                "is_partial": any(each.seen >= tries.PER_SUBSCRIPTION for each in attempts.keyed.values()),
                **_times("latency", attempts.whole),
                "pending": pending,
                "exhausted": sum(each.exhausted for each in waiting.values()),
                "next_attempt_at": rfc3339(next_at) if next_at else None,
            },
            "slots": {"in_use": now_open.held, "limit": call.tools.slots},
            "stalest_task": {"task_id": str(now_open.silent), "last_update_at": rfc3339(now_open.silent_since)}
            if now_open.silent and now_open.silent_since
            else None,
            "reasons": [{"reason": reason, "count": number} for reason, number in reasons],
            "errors": [
                {"code": code, "count": number}
                for code, number in sorted(attempts.errors.items(), key=lambda each: -each[1])
            ],
            "bins": bins,
            "subscriptions": [_subscription(each, attempts, waiting) for each in mine],
        }
    )


def _window(now: datetime, width: timedelta, count: int) -> Window:
    """Return the window of `count` bins that ends with the bin in which we are, on round times."""
    seconds = int(width.total_seconds())
    end = datetime.fromtimestamp((int(now.timestamp()) // seconds + 1) * seconds, tz=now.tzinfo)
    return Window(since=end - count * width, width=width, count=count)


def _bins(
    window: Window, tasks: Counted, attempts: Counted, open_then: Sequence[int], waiting_then: Sequence[int]
) -> list[dict[str, Any]]:
    none = Figures()
    bins = []
    for number in range(window.count):
        ordered, tried = tasks.bins.get(number, none), attempts.bins.get(number, none)
        amount, is_estimate = reckoned(ordered, window.since + number * window.width, window.width)
        bins.append(
            {
                "at": rfc3339(window.since + number * window.width),
                "ordered": amount,
                "is_estimate": is_estimate,
                "succeeded": round(ordered.good * amount / max(1, ordered.seen)),
                "failed": round(ordered.bad * amount / max(1, ordered.seen)),
                "open": open_then[number],
                **_times("duration", ordered),
                "attempts": tried.seen,
                "delivered": tried.good,
                "pending": waiting_then[number],
                **_times("latency", tried),
            }
        )
    return bins


def reckoned(figures: Figures, since: datetime, width: timedelta) -> tuple[int, bool]:
    """Return how many a bin has, and whether that is an estimate: the first `PER_BIN` cover only a part of it."""
    if figures.seen < PER_BIN or figures.last_at is None:
        return figures.seen, False
    covered = max(figures.last_at - since, timedelta(milliseconds=1))
    return round(figures.seen * (width / covered)), True


def _lasting(spans: Mapping[tuple[int, int], int], count: int, now: int) -> list[int]:
    """Return how many lasted at the end of each bin, so that the last bin has what there is `now`."""
    lasting = [sum(number for (began, ended), number in spans.items() if began <= at < ended) for at in range(count)]
    older = max(0, now - sum(number for (_, ended), number in spans.items() if ended == NEVER))
    return [*(number + older for number in lasting[:-1]), now]


def _times(name: str, figures: Figures) -> dict[str, float | None]:
    return {
        f"{name}_p50_ms": None if figures.p50 is None else round(figures.p50 * 1000, 1),
        f"{name}_p95_ms": None if figures.p95 is None else round(figures.p95 * 1000, 1),
    }


def _subscription(identifier: UUID, attempts: Counted, waiting: Mapping[UUID, Waiting]) -> dict[str, Any]:
    tried, left = attempts.keyed.get(identifier, Figures()), waiting.get(identifier, _NONE)
    return {
        "id": str(identifier),
        "attempts": tried.seen,
        "delivered": tried.good,
        **_times("latency", tried),
        "pending": left.pending,
        "exhausted": left.exhausted,
        "next_attempt_at": rfc3339(left.next_at) if left.next_at else None,
    }


def _only(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise InvalidRequest(faults=[Fault("subscription", "is no id")]) from None
