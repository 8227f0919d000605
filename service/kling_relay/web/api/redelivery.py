"""Delivering on request: retry one delivery or many, replay a time span, send a test event."""

from collections import defaultdict
from uuid import UUID

from kling_relay.core.delivery import Delivery
from kling_relay.core.errors import Conflict, Fault, InvalidRequest, NotFound
from kling_relay.core.event import EventType, make_event, matching_types, webhook_id
from kling_relay.core.ids import RANDOM_BITS, new_id
from kling_relay.core.key import Scope
from kling_relay.store.deliveries import listing, redelivery
from kling_relay.web.api.deliveries import delivery_json, filter_of, find_delivery
from kling_relay.web.api.subscriptions import find_subscription
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response, json_response
from kling_relay.web.http.routing import Route
from kling_relay.web.models.deliveries import CountResponse, DeliveryResponse, RetryRequest
from kling_relay.web.models.fields import EmptyRequest
from kling_relay.web.models.subscriptions import ReplayRequest, TestEventResponse

_PAGE = 500


async def retry_delivery(request: Request[None, EmptyRequest]) -> Response:
    """Make a delivery due now, whatever its status."""
    delivery = await find_delivery(request)
    await redelivery.retry(request.context.database, [delivery.key])
    request.context.delivery_wakeup.notify()
    return json_response(delivery_json(await find_delivery(request)), status=202)


async def retry_deliveries(request: Request[None, RetryRequest]) -> Response:
    """Make the deliveries that match a filter due now, newest first, up to the limit."""
    database, client, limit = request.context.database, request.caller.client, request.body.limit
    delivery_filter = filter_of(request.body)
    by_subscription: defaultdict[UUID, list[Delivery]] = defaultdict(list)
    count, before = 0, None
    while count < limit:
        page = await listing.list_deliveries(database, client, delivery_filter, before, min(_PAGE, limit - count))
        for delivery in page.deliveries:
            by_subscription[delivery.subscription].append(delivery.key)
        count += len(page.deliveries)
        if page.after is None:
            break
        before = page.after
    for keys in by_subscription.values():
        await redelivery.retry(database, keys)
    request.context.delivery_wakeup.notify()
    return json_response({"count": count}, status=202)


async def replay_subscription(request: Request[None, ReplayRequest]) -> Response:
    """Deliver the events of a time span again: those that failed, or all that the subscription matches."""
    subscription = await find_subscription(request)
    database, body = request.context.database, request.body
    since, until = body.since, min(body.until or request.now, request.now)
    if since >= until:
        raise InvalidRequest(faults=[Fault("since", "must be before until, and in the past")])
    async with request.state.turns.turn(request.caller):
        if body.only == "failed":
            count = await redelivery.replay_failed(database, subscription.id, since, until)
        else:
            types = matching_types(subscription.options.events)
            count = await redelivery.replay_all(database, subscription, types, since, until)
    request.context.delivery_wakeup.notify()
    return json_response({"count": count}, status=202)


async def test_subscription(request: Request[None, EmptyRequest]) -> Response:
    """Send an event of type subscription.test to this subscription only."""
    subscription = await find_subscription(request)
    if subscription.disabled_at or subscription.paused_at:
        raise Conflict("The subscription is paused or disabled; resume it first.")
    event = make_event(
        subject=new_id(request.now, request.context.random_bits(RANDOM_BITS)),
        sequence=1,
        client=request.caller.client,
        event_type=EventType.SUBSCRIPTION_TEST,
        at=request.now,
        content={"subscription_id": str(subscription.id), "message": "It works."},
    )
    delivery = await redelivery.publish_to(request.context.database, event, subscription.id)
    if delivery is None:
        raise NotFound
    request.context.delivery_wakeup.notify()
    return json_response({"delivery": delivery.text, "event": webhook_id(event.subject, event.sequence)}, status=202)


ROUTES = (
    Route(
        name="test_subscription",
        method="POST",
        path="/v1/subscriptions/{subscription}/test",
        handler=test_subscription,
        summary="Send a test event to this subscription only",
        scope=Scope.ADMIN,
        body=EmptyRequest,
        response=TestEventResponse,
        status=202,
        errors=(1203, 1204),
    ),
    Route(
        name="replay_subscription",
        method="POST",
        path="/v1/subscriptions/{subscription}/replay",
        handler=replay_subscription,
        summary="Deliver the events of a time span again: those that failed, or all",
        scope=Scope.ADMIN,
        body=ReplayRequest,
        response=CountResponse,
        status=202,
        errors=(1203,),
    ),
    Route(
        name="retry_deliveries",
        method="POST",
        path="/v1/deliveries/retry",
        handler=retry_deliveries,
        summary="Retry the deliveries that match a filter; without a status, the exhausted ones",
        is_report=True,
        scope=Scope.ADMIN,
        body=RetryRequest,
        response=CountResponse,
        status=202,
    ),
    Route(
        name="retry_delivery",
        method="POST",
        path="/v1/deliveries/{delivery}/retry",
        handler=retry_delivery,
        summary="Retry a delivery now, whatever its status",
        scope=Scope.ADMIN,
        body=EmptyRequest,
        response=DeliveryResponse,
        status=202,
        errors=(1203,),
    ),
)
