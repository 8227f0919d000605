"""Deliveries over HTTP: listed, looked into with their attempts, retried; replays and tests of a subscription."""

from collections import defaultdict
from typing import Any
from uuid import UUID

from kling_relay.core.delivery import Delivery, parse_delivery_id
from kling_relay.core.errors import Conflict, Fault, InvalidRequest, NotFound
from kling_relay.core.event import Event, EventType, make_event, render, rfc3339, webhook_id
from kling_relay.core.ids import RANDOM_BITS, new_id
from kling_relay.store.deliveries import listing, redelivery, subscriptions
from kling_relay.store.deliveries.listed_subscriptions import DeliveryFilter
from kling_relay.store.deliveries.listing import AttemptRow, ListedDelivery
from kling_relay.store.deliveries.subscriptions import Subscription
from kling_relay.store.events import log
from kling_relay.web.http.answers import listed, plain
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response

_MAX_PAGES = 5
"""So many empty pages are turned at once."""
_PAGE = 500
_TASK = "task."
_NO_SEQUENCE = 0
"""Sequences begin at 1: nothing is an event of one task and of another."""


async def index(call: Request) -> Response:
    """Answer with a page of deliveries, newest task first."""
    query = call.query
    wanted = _filter(query.subscription, query.status, query.event, query.task)
    before = None if query.cursor is None else _cursor(query.cursor)
    page = await listing.page(call.tools.database, call.caller.client, wanted, before, query.limit)
    for _ in range(_MAX_PAGES):
        if page.deliveries or page.after is None:
            break
        page = await listing.page(call.tools.database, call.caller.client, wanted, page.after, query.limit)
    return listed([shown(each) for each in page.deliveries], page.after.text if page.after else None)


async def show(call: Request) -> Response:
    """Answer with one delivery: what is sent, to where, and what came of each attempt."""
    found = await _found(call)
    client, database = call.caller.client, call.tools.database
    subscription = await subscriptions.get(database, client, found.subscription)
    told = await log.event(database, client, found.subject, found.sequence)
    tried = await listing.attempts_of(database, found.key)
    if subscription is None:
        raise NotFound
    body = None
    if told is not None:
        event = Event(
            subject=found.subject,
            sequence=found.sequence,
            client=client,
            type=told.type,
            at=told.written_at,
            body=told.body,
        )
        body = render(event, subscription.options.format, call.tools.public_url).decode()
    return plain(
        {
            **shown(found),
            "url": subscription.options.url,
            "body": body,
            "attempts": [_tried(attempt) for attempt in tried],
        }
    )


async def retry(call: Request) -> Response:
    """Make a delivery due now, whatever became of it."""
    found = await _found(call)
    await redelivery.retry(call.tools.database, [found.key])
    call.tools.wake()
    return plain(shown(await _found(call)), status=202)


async def retry_found(call: Request) -> Response:
    """Make due now all deliveries that the filter finds, the newest first, up to the limit."""
    asked = call.body
    wanted = _filter(asked.subscription, asked.status, asked.event, asked.task)
    client, database = call.caller.client, call.tools.database
    found: defaultdict[UUID, list[Delivery]] = defaultdict(list)
    count, before = 0, None
    while count < asked.limit:
        page = await listing.page(database, client, wanted, before, min(_PAGE, asked.limit - count))
        for each in page.deliveries:
            found[each.subscription].append(each.key)
        count += len(page.deliveries)
        if page.after is None:
            break
        before = page.after
    for keys in found.values():
        await redelivery.retry(database, keys)
    call.tools.wake()
    return plain({"count": count}, status=202)


async def replay(call: Request) -> Response:
    """Deliver a time's events again: what failed, or all that the subscription asks for."""
    subscription = await _subscription(call)
    since, until = call.body.since, min(call.body.until or call.now, call.now)
    if since >= until:
        raise InvalidRequest(faults=[Fault("since", "must be before until, and in the past")])
    if call.body.only == "failed":
        count = await redelivery.replay_failed(call.tools.database, subscription.id, since, until)
    else:
        types = types_of(subscription.options.events)
        count = await redelivery.replay_all(call.tools.database, subscription, types, since, until)
    call.tools.wake()
    return plain({"count": count}, status=202)


async def test(call: Request) -> Response:
    """Send an event of type subscription.test to this subscription alone."""
    subscription = await _subscription(call)
    if subscription.disabled_at or subscription.paused_at:
        raise Conflict("The subscription is paused or disabled; resume it first.")
    event = make_event(
        subject=new_id(call.now, call.tools.chance(RANDOM_BITS)),
        sequence=1,
        client=call.caller.client,
        kind=EventType.SUBSCRIPTION_TEST,
        at=call.now,
        content={"subscription_id": str(subscription.id), "message": "It works."},
    )
    made = await redelivery.publish_to(call.tools.database, event, subscription.id)
    call.tools.wake()
    return plain({"delivery": made.text, "event": webhook_id(event.subject, event.sequence)}, status=202)


def types_of(patterns: "list[str] | tuple[str, ...]") -> list[str]:
    """Return the event types that these patterns stand for."""
    wanted = set(patterns)
    return [
        kind.value
        for kind in EventType
        if "*" in wanted or kind.value in wanted or f"{kind.value.split('.')[0]}.*" in wanted
    ]


def shown(delivery: ListedDelivery) -> dict[str, Any]:
    """Return a delivery as clients see it."""
    is_task = delivery.type is not None and delivery.type.startswith(_TASK)
    return {
        "id": delivery.key.text,
        "event": webhook_id(delivery.subject, delivery.sequence),
        "type": delivery.type,
        "task_id": str(delivery.subject) if is_task else None,
        "subscription": str(delivery.subscription),
        "status": delivery.status,
        "attempt_count": delivery.attempt,
        "next_attempt_at": rfc3339(delivery.due_at) if delivery.due_at else None,
        "last_attempt_at": rfc3339(delivery.last_at) if delivery.last_at else None,
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
    }


def _tried(attempt: AttemptRow) -> dict[str, Any]:
    return {
        "attempt": attempt.attempt,
        "at": rfc3339(attempt.at),
        "latency_ms": round(attempt.latency * 1000, 1),
        "status": attempt.status,
        "outcome": attempt.outcome,
        "error": attempt.error,
        "answer": None if attempt.answer is None else attempt.answer.decode("utf-8", "replace"),
    }


async def _found(call: Request) -> ListedDelivery:
    key = parse_delivery_id(call.params["delivery"])
    found = None if key is None else await listing.get(call.tools.database, call.caller.client, key)
    if found is None:
        raise NotFound
    return found


async def _subscription(call: Request) -> Subscription:
    found = await subscriptions.get(call.tools.database, call.caller.client, call.id("subscription"))
    if found is None:
        raise NotFound
    return found


def _filter(subscription: str | None, status: str | None, event: str | None, task: str | None) -> DeliveryFilter:
    """Return what a query asks for. Raises InvalidRequest naming every member that is no id."""
    faults: list[Fault] = []
    subject, sequence = _uuid(task, "task", faults), None
    if event is not None:
        named = _event(event)
        if named is None:
            faults.append(Fault("event", "is no event's id"))
        elif subject is not None and named[0] != subject:
            sequence = _NO_SEQUENCE
        else:
            subject, sequence = named
    wanted = DeliveryFilter(
        subscription=_uuid(subscription, "subscription", faults), status=status, subject=subject, sequence=sequence
    )
    if faults:
        raise InvalidRequest(faults=faults)
    return wanted


def _uuid(text: str | None, name: str, faults: list[Fault]) -> UUID | None:
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        faults.append(Fault(name, "is no id"))
        return None


def _event(text: str) -> tuple[UUID, int] | None:
    """Return subject and sequence of a webhook-id."""
    parts = text.split("_")
    if len(parts) != 3 or parts[0] != "evt":
        return None
    key = parse_delivery_id(f"{parts[1]}-{parts[2]}-{UUID(int=0).hex}")
    return None if key is None else (key.subject, key.sequence)


def _cursor(text: str) -> Delivery:
    key = parse_delivery_id(text)
    if key is None:
        raise InvalidRequest(faults=[Fault("cursor", "is none that we gave")])
    return key
