"""The overview: a client's own rates, latencies and pending work over the last hour or day.

The figures come from bounded samples (`kling_relay.store.stats`); an estimate is marked as one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from kling_relay.core.event import rfc3339
from kling_relay.store.stats import attempts as attempts_store
from kling_relay.store.stats import open_work
from kling_relay.store.stats.open_work import OpenTasks, PendingCounts
from kling_relay.store.stats.tasks import MAX_PER_BIN, NOT_ENDED, SampleStats, Window, WindowStats, task_stats
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response, json_response
from kling_relay.web.http.routing import Route
from kling_relay.web.models.overview import OverviewQuery, OverviewResponse

_WINDOWS = {"hour": (timedelta(minutes=1), 60), "day": (timedelta(minutes=30), 48)}
_NO_WORK = PendingCounts(pending=0, exhausted=0, next_at=None)
_NO_STATS = SampleStats()


async def show_overview(request: Request[OverviewQuery]) -> Response:
    """Return the caller's figures over the last hour or day."""
    client, database, query = request.caller.client, request.context.database, request.query
    window = _window(request.now, *_WINDOWS[query.span])
    subscriptions = await attempts_store.subscriptions_of(database, client, query.subscription)
    tasks = await task_stats(database, client, window)
    attempts = await attempts_store.attempt_stats(database, subscriptions, window)
    work = await open_work.pending_counts(database, subscriptions)
    open_tasks = await open_work.open_tasks(database, client)
    untried = await open_work.unattempted_since(database, subscriptions)
    reasons = await open_work.failure_reasons(database, client, window.since)
    bins = _bins(window, tasks, attempts, open_tasks.count, _pending_per_bin(window, attempts, untried, work))
    return json_response(
        {
            "span": query.span,
            "since": rfc3339(window.since),
            "until": rfc3339(window.until),
            "bin_seconds": window.width.total_seconds(),
            "tasks": _tasks_json(bins, tasks, open_tasks),
            "deliveries": _deliveries_json(attempts, work),
            "slots": {"in_use": open_tasks.slots, "limit": request.context.slots},
            "stalest_task": _stalest_json(open_tasks),
            "reasons": [{"reason": reason, "count": count} for reason, count in reasons],
            "errors": [
                {"code": code, "count": count}
                for code, count in sorted(attempts.errors.items(), key=lambda error: -error[1])
            ],
            "bins": bins,
            "subscriptions": [
                _subscription_json(subscription, attempts.subscriptions, work.get(subscription, _NO_WORK))
                for subscription in subscriptions
            ],
        }
    )


def _window(now: datetime, width: timedelta, count: int) -> Window:
    """Return the window of `count` bins on round times whose last bin has `now` in it."""
    seconds = int(width.total_seconds())
    end = datetime.fromtimestamp((int(now.timestamp()) // seconds + 1) * seconds, tz=now.tzinfo)
    return Window(since=end - count * width, width=width, count=count)


def _bins(
    window: Window, tasks: WindowStats, attempts: WindowStats, open_now: int, pending: Sequence[int]
) -> list[dict[str, Any]]:
    open_then = _count_per_bin(tasks.spans, window.count, open_now)
    bins = []
    for number in range(window.count):
        bin_start = window.since + number * window.width
        ordered, attempted = tasks.bins.get(number, _NO_STATS), attempts.bins.get(number, _NO_STATS)
        total, is_estimate = estimate(ordered, bin_start, window.width)
        bins.append(
            {
                "at": rfc3339(bin_start),
                "ordered": total,
                "is_estimate": is_estimate,
                "succeeded": round(ordered.succeeded * total / max(1, ordered.total)),
                "failed": round(ordered.failed * total / max(1, ordered.total)),
                "open": open_then[number],
                **_percentiles("duration", ordered),
                "attempts": attempted.total,
                "delivered": attempted.succeeded,
                "pending": pending[number],
                **_percentiles("latency", attempted),
            }
        )
    return bins


def estimate(stats: SampleStats, bin_start: datetime, width: timedelta) -> tuple[int, bool]:
    """Return how many tasks a bin has, and whether that is an estimate.

    Only the first `MAX_PER_BIN` tasks are counted. If there are more, the part of the bin that they cover gives the
    rest.
    """
    if stats.total < MAX_PER_BIN or stats.last_at is None:
        return stats.total, False
    covered = max(stats.last_at - bin_start, timedelta(milliseconds=1))
    return round(stats.total * (width / covered)), True


def _pending_per_bin(
    window: Window, attempts: WindowStats, untried: Sequence[datetime], work: Mapping[UUID, PendingCounts]
) -> list[int]:
    """Return how many deliveries were pending at the end of each bin."""
    spans = Counter(attempts.spans)
    spans.update((int((created_at - window.since) / window.width), NOT_ENDED) for created_at in untried)
    return _count_per_bin(spans, window.count, sum(counts.pending for counts in work.values()))


def _count_per_bin(spans: Mapping[tuple[int, int], int], count: int, now: int) -> list[int]:
    """Return how many things were open at the end of each bin; the last bin has those that are open `now`.

    `spans` counts them by the bins in which they began and ended.
    """
    counts = [sum(number for (first, last), number in spans.items() if first <= at < last) for at in range(count)]
    older = max(0, now - sum(number for (_, last), number in spans.items() if last == NOT_ENDED))
    return [*(number + older for number in counts[:-1]), now]


def _tasks_json(bins: Sequence[Mapping[str, Any]], tasks: WindowStats, open_tasks: OpenTasks) -> dict[str, Any]:
    return {
        "ordered": sum(row["ordered"] for row in bins),
        "is_estimate": any(row["is_estimate"] for row in bins),
        "succeeded": sum(row["succeeded"] for row in bins),
        "failed": sum(row["failed"] for row in bins),
        "open": open_tasks.count,
        **_percentiles("duration", tasks.overall),
    }


def _deliveries_json(attempts: WindowStats, work: Mapping[UUID, PendingCounts]) -> dict[str, Any]:
    next_at = min((counts.next_at for counts in work.values() if counts.next_at), default=None)
    return {
        "attempts": attempts.overall.total,
        "delivered": attempts.overall.succeeded,
        "is_partial": any(
            stats.total >= attempts_store.MAX_PER_SUBSCRIPTION for stats in attempts.subscriptions.values()
        ),
        **_percentiles("latency", attempts.overall),
        "pending": sum(counts.pending for counts in work.values()),
        "exhausted": sum(counts.exhausted for counts in work.values()),
        "next_attempt_at": rfc3339(next_at) if next_at else None,
    }


def _stalest_json(open_tasks: OpenTasks) -> dict[str, Any] | None:
    if open_tasks.stalest is None or open_tasks.stalest_at is None:
        return None
    return {"task_id": str(open_tasks.stalest), "last_update_at": rfc3339(open_tasks.stalest_at)}


def _subscription_json(
    subscription: UUID, by_subscription: Mapping[UUID, SampleStats], work: PendingCounts
) -> dict[str, Any]:
    stats = by_subscription.get(subscription, _NO_STATS)
    return {
        "id": str(subscription),
        "attempts": stats.total,
        "delivered": stats.succeeded,
        **_percentiles("latency", stats),
        "pending": work.pending,
        "exhausted": work.exhausted,
        "next_attempt_at": rfc3339(work.next_at) if work.next_at else None,
    }


def _percentiles(name: str, stats: SampleStats) -> dict[str, float | None]:
    return {
        f"{name}_p50_ms": None if stats.p50 is None else round(stats.p50 * 1000, 1),
        f"{name}_p95_ms": None if stats.p95 is None else round(stats.p95 * 1000, 1),
    }


ROUTES = (
    Route(
        name="show_overview",
        method="GET",
        path="/v1/overview",
        handler=show_overview,
        summary="Get rates, latencies and pending work of the last hour or day",
        is_report=True,
        query=OverviewQuery,
        response=OverviewResponse,
    ),
)
