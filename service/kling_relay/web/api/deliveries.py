"""Deliveries: list them, and show one with its attempts."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from kling_relay.core.delivery import parse_delivery_id
from kling_relay.core.errors import NotFound
from kling_relay.core.event import Event, render, rfc3339, webhook_id
from kling_relay.core.subscription import hide_values
from kling_relay.store.deliveries import listing, subscriptions
from kling_relay.store.deliveries.delivery_filter import DeliveryFilter
from kling_relay.store.deliveries.listing import AttemptRow, ListedDelivery
from kling_relay.store.events import log
from kling_relay.web.api.subscriptions import stored_headers
from kling_relay.web.http.request import AnyRequest, Request
from kling_relay.web.http.response import Response, json_response, page_response
from kling_relay.web.http.routing import Route
from kling_relay.web.models.deliveries import (
    DeliveryDetailResponse,
    DeliveryListQuery,
    DeliveryPageResponse,
    RetryRequest,
)
from kling_relay.web.models.fields import EmptyQuery

_MAX_EMPTY_PAGES = 5
"""Empty pages that one request skips."""
_TASK_PREFIX = "task."
_NO_SEQUENCE = 0
"""Sequences start at 1, so this one finds nothing."""


async def find_delivery(request: AnyRequest) -> ListedDelivery:
    """Return the delivery in the path. Raises NotFound if it is not the client's."""
    key = parse_delivery_id(request.params["delivery"])
    delivery = (
        None if key is None else await listing.find_delivery(request.context.database, request.caller.client, key)
    )
    if delivery is None:
        raise NotFound
    return delivery


def filter_of(query: DeliveryListQuery | RetryRequest) -> DeliveryFilter:
    """Return the filter of a query; an event and another task together match nothing."""
    subject: UUID | None = query.task
    sequence: int | None = None
    if query.event is not None:
        is_other_task = subject is not None and query.event[0] != subject
        subject, sequence = (subject, _NO_SEQUENCE) if is_other_task else query.event
    return DeliveryFilter(subscription=query.subscription, status=query.status, subject=subject, sequence=sequence)


def delivery_json(delivery: ListedDelivery) -> dict[str, Any]:
    """Return a delivery as JSON, without its attempts."""
    is_task = delivery.type is not None and delivery.type.startswith(_TASK_PREFIX)
    return {
        "id": delivery.key.text,
        "event": webhook_id(delivery.subject, delivery.sequence),
        "type": delivery.type,
        "task_id": str(delivery.subject) if is_task else None,
        "subscription": str(delivery.subscription),
        "status": delivery.status,
        "attempt_count": delivery.attempt,
        "held": delivery.held,
        "next_attempt_at": rfc3339(delivery.due_at) if delivery.due_at else None,
        "last_attempt_at": rfc3339(delivery.last_at) if delivery.last_at else None,
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
    }


async def list_deliveries(request: Request[DeliveryListQuery]) -> Response:
    """Return a page of deliveries, newest task first."""
    database, client, query = request.context.database, request.caller.client, request.query
    delivery_filter = filter_of(query)
    page = await listing.list_deliveries(database, client, delivery_filter, query.cursor, query.limit)
    for _ in range(_MAX_EMPTY_PAGES):
        if page.deliveries or page.after is None:
            break
        page = await listing.list_deliveries(database, client, delivery_filter, page.after, query.limit)
    return page_response([delivery_json(row) for row in page.deliveries], page.after.text if page.after else None)


async def show_delivery(request: Request[EmptyQuery]) -> Response:
    """Return one delivery with the body that is sent, the URL, and every attempt."""
    context, client = request.context, request.caller.client
    delivery = await find_delivery(request)
    subscription = await subscriptions.get(context.database, client, delivery.subscription)
    logged = await log.event(context.database, client, delivery.subject, delivery.sequence)
    attempts = await listing.attempts_of(context.database, delivery.key)
    if subscription is None:
        raise NotFound
    headers = stored_headers(context, subscription)
    body = None
    if logged is not None:
        event = Event(
            subject=delivery.subject,
            sequence=delivery.sequence,
            client=client,
            type=logged.type,
            at=logged.written_at,
            body=logged.body,
        )
        body = render(event, subscription.options.format, context.public_url).decode()
    return json_response(
        {
            **delivery_json(delivery),
            "url": subscription.options.url,
            "body": body,
            "attempts": [_attempt_json(attempt, headers) for attempt in attempts],
        }
    )


def _attempt_json(attempt: AttemptRow, headers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "attempt": attempt.attempt,
        "at": rfc3339(attempt.at),
        "latency_ms": round(attempt.latency * 1000, 1),
        "status": attempt.status,
        "outcome": attempt.outcome,
        "error": attempt.error,
        "answer": None if attempt.answer is None else hide_values(attempt.answer.decode("utf-8", "replace"), headers),
    }


ROUTES = (
    Route(
        name="list_deliveries",
        method="GET",
        path="/v1/deliveries",
        handler=list_deliveries,
        summary="List deliveries, newest task first",
        is_report=True,
        query=DeliveryListQuery,
        response=DeliveryPageResponse,
    ),
    Route(
        name="show_delivery",
        method="GET",
        path="/v1/deliveries/{delivery}",
        handler=show_delivery,
        summary="Get a delivery with its attempts",
        query=EmptyQuery,
        response=DeliveryDetailResponse,
        errors=(1203,),
    ),
)
