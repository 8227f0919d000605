"""Subscriptions: create, list, show, change, pause, resume and delete those of the caller's client.

A secret is shown only when it is created, and a header that may hold a secret is never shown. Nor does it follow the
subscription to another origin, where whoever stole a key could read it. The text of a URL is checked here; the address
that it leads to is checked when it is dialled.
"""

from collections.abc import Mapping
from typing import Any

from kling_relay.core.address import Address, check_url
from kling_relay.core.errors import Conflict, Fault, InvalidRequest, NotFound
from kling_relay.core.event import rfc3339
from kling_relay.core.ids import RANDOM_BITS, new_id
from kling_relay.core.key import Scope
from kling_relay.core.signature import new_secret
from kling_relay.core.subscription import HIDDEN, SubscriptionOptions, mask_headers, restore_hidden
from kling_relay.store.access import secrets, subscription_headers
from kling_relay.store.access.encryption import DecryptionError
from kling_relay.store.deliveries import subscriptions, unsubscribe
from kling_relay.store.deliveries.subscriptions import Subscription, SubscriptionUpdate
from kling_relay.web.http.context import Context
from kling_relay.web.http.request import AnyRequest, Request
from kling_relay.web.http.response import Response, json_response, no_content, page_response
from kling_relay.web.http.routing import Route
from kling_relay.web.models.fields import EmptyQuery, EmptyRequest, PageQuery
from kling_relay.web.models.subscriptions import (
    SubscriptionChangeRequest,
    SubscriptionPageResponse,
    SubscriptionRequest,
    SubscriptionResponse,
    SubscriptionWithSecretResponse,
)

_SECRET_BITS = 256
_ONE = "/v1/subscriptions/{subscription}"
_MAX_TRIES = 3
"""Times that a change is made again because another request changed the subscription meanwhile."""
_HEADERS_REQUIRED = (
    "must be given again, in full, because the URL has another scheme, host or port: stored headers go only to the"
    " origin that they were given for ({} means none)"
)
_VALUE_REQUIRED = "must have its value again, because the URL has another scheme, host or port"


def generate_secret(context: Context) -> str:
    """Return a new signing secret."""
    return new_secret(context.random_bits(_SECRET_BITS).to_bytes(_SECRET_BITS // 8, "big"))


async def find_subscription(request: AnyRequest) -> Subscription:
    """Return the subscription in the path. Raises NotFound if it is not the client's."""
    identifier = request.id("subscription")
    return _existing(await subscriptions.get(request.context.database, request.caller.client, identifier))


async def create_subscription(request: Request[None, SubscriptionRequest]) -> Response:
    """Create a subscription; only this response has its secret."""
    context, body = request.context, request.body
    options = SubscriptionOptions(
        url=_checked_address(context, body.url).url,
        events=tuple(body.events),
        description=body.description,
        format=body.format,
        ordering=body.ordering,
        max_in_flight=body.max_in_flight or context.limits.in_flight,
    )
    identifier = new_id(request.now, context.random_bits(RANDOM_BITS))
    secret = generate_secret(context)
    subscription = Subscription(
        id=identifier,
        client=request.caller.client,
        options=options,
        headers=subscription_headers.encrypt(context.encryptor, identifier, _with_hidden_values(body.headers, {})),
        secrets=secrets.encrypt_secrets(context.encryptor, identifier, [secret]),
        created_at=request.now,
        updated_at=request.now,
    )
    if not await subscriptions.create(context.database, subscription):
        raise Conflict(f"A client may have at most {subscriptions.MAX_PER_CLIENT} subscriptions.")
    content = {**_to_json(context, subscription), "secret": secret}
    return json_response(content, status=201, headers={"Location": f"/v1/subscriptions/{identifier}"})


async def list_subscriptions(request: Request[PageQuery]) -> Response:
    """Return a page of subscriptions, newest first."""
    context, query = request.context, request.query
    rows = await subscriptions.page(context.database, request.caller.client, query.cursor, query.limit + 1)
    next_cursor = str(rows[query.limit - 1].id) if len(rows) > query.limit else None
    return page_response([_to_json(context, row) for row in rows[: query.limit]], next_cursor)


async def show_subscription(request: Request[EmptyQuery]) -> Response:
    """Return one subscription, which may be a hook."""
    return json_response(_to_json(request.context, await find_subscription(request)))


async def change_subscription(request: Request[None, SubscriptionChangeRequest]) -> Response:
    """Change the members that the body has, unless another request changes the URL or the headers meanwhile."""
    context = request.context
    for _ in range(_MAX_TRIES):
        subscription = await find_subscription(request)
        update = _update_of(context, subscription, request.body)
        changed_row = await subscriptions.update(context.database, subscription, update, request.now)
        if changed_row is not None:
            return json_response(_to_json(context, changed_row))
    raise Conflict("Other requests are changing this subscription.")


def _update_of(context: Context, subscription: Subscription, body: SubscriptionChangeRequest) -> SubscriptionUpdate:
    """Return the changes to a subscription as it was read. Raises InvalidRequest."""
    if subscription.hook and body.url is not None:
        raise InvalidRequest(faults=[Fault("url", "of a hook cannot be changed: it comes from an order")])
    address = None if body.url is None else _checked_address(context, body.url)
    is_moved = address is not None and not _is_at_origin(context, subscription, address)
    if is_moved:
        _require_new_headers(subscription, body.headers)
    encrypted = None
    if body.headers is not None:
        changed = _with_hidden_values(body.headers, {} if is_moved else stored_headers(context, subscription))
        encrypted = subscription_headers.encrypt(context.encryptor, subscription.id, changed)
    return SubscriptionUpdate(
        url=None if address is None else address.url,
        events=None if body.events is None else tuple(body.events),
        description=body.description,
        headers=encrypted,
        format=body.format,
        ordering=body.ordering,
        max_in_flight=body.max_in_flight,
    )


def _is_at_origin(context: Context, subscription: Subscription, address: Address) -> bool:
    """Return whether the subscription's URL has the scheme, host and port of `address`."""
    current = check_url(subscription.options.url, context.dial_policy)
    return isinstance(current, Address) and current.origin == address.origin


def _require_new_headers(subscription: Subscription, new_headers: Mapping[str, str] | None) -> None:
    """Raise InvalidRequest if stored headers would go to an origin that they were not given for."""
    if new_headers is None and subscription.headers:
        raise InvalidRequest(faults=[Fault("headers", _HEADERS_REQUIRED)])
    faults = [
        Fault("headers", f"{name} {_VALUE_REQUIRED}") for name, text in (new_headers or {}).items() if text == HIDDEN
    ]
    if faults:
        raise InvalidRequest(faults=faults)


async def delete_subscription(request: Request[EmptyQuery]) -> Response:
    """Delete a subscription and its pending deliveries."""
    database, client = request.context.database, request.caller.client
    if not await unsubscribe.remove(database, client, request.id("subscription"), request.now):
        raise NotFound
    return no_content()


async def pause_subscription(request: Request[None, EmptyRequest]) -> Response:
    """Stop delivering; events are kept until the subscription is resumed, for RELAY_RETENTION at most."""
    database, identifier = request.context.database, request.id("subscription")
    paused = await subscriptions.pause(database, request.caller.client, identifier, request.now)
    return json_response(_to_json(request.context, _existing(paused)))


async def resume_subscription(request: Request[None, EmptyRequest]) -> Response:
    """Deliver again, also after the subscription was disabled."""
    database, identifier = request.context.database, request.id("subscription")
    resumed = await subscriptions.resume(database, request.caller.client, identifier, request.now)
    return json_response(_to_json(request.context, _existing(resumed)))


def _existing(subscription: Subscription | None) -> Subscription:
    if subscription is None:
        raise NotFound
    return subscription


def _to_json(context: Context, subscription: Subscription) -> dict[str, Any]:
    """Return a subscription without its secrets."""
    options = subscription.options
    status = "disabled" if subscription.disabled_at else "paused" if subscription.paused_at else "active"
    times = {
        name: rfc3339(at) if (at := getattr(subscription, name)) else None
        for name in ("failing_since", "old_secrets_until", "created_at", "updated_at")
    }
    return {
        "id": str(subscription.id),
        "url": options.url,
        "events": list(options.events),
        "description": options.description,
        "headers": mask_headers(stored_headers(context, subscription)),
        "format": options.format,
        "ordering": options.ordering,
        "max_in_flight": options.max_in_flight,
        "status": status,
        "is_hook": subscription.hook,
        "disabled_reason": subscription.disabled_reason,
        "expired_deliveries": subscription.expired_deliveries,
        **times,
    }


def _checked_address(context: Context, url: str) -> Address:
    address = check_url(url, context.dial_policy)
    if isinstance(address, str):
        raise InvalidRequest(faults=[Fault("url", address)])
    return address


def stored_headers(context: Context, subscription: Subscription) -> dict[str, str]:
    """Return its headers; none if their key is lost, so that the subscription can be shown and changed."""
    try:
        return subscription_headers.decrypt(context.encryptor, subscription.id, subscription.headers)
    except DecryptionError:
        return {}


def _with_hidden_values(new_headers: Mapping[str, str], current: Mapping[str, str]) -> dict[str, str]:
    """Return headers in which each hidden value is replaced by the current one."""
    match restore_hidden(new_headers, current):
        case dict(restored):
            return restored
        case faults:
            raise InvalidRequest(faults=[Fault("headers", fault) for fault in faults])


ROUTES = (
    Route(
        name="create_subscription",
        method="POST",
        path="/v1/subscriptions",
        handler=create_subscription,
        summary="Create a subscription; only this response has its secret",
        scope=Scope.ADMIN,
        body=SubscriptionRequest,
        response=SubscriptionWithSecretResponse,
        status=201,
        errors=(1204,),
    ),
    Route(
        name="list_subscriptions",
        method="GET",
        path="/v1/subscriptions",
        handler=list_subscriptions,
        summary="List subscriptions, newest first",
        is_report=True,
        query=PageQuery,
        response=SubscriptionPageResponse,
    ),
    Route(
        name="show_subscription",
        method="GET",
        path=_ONE,
        handler=show_subscription,
        summary="Get a subscription",
        query=EmptyQuery,
        response=SubscriptionResponse,
        errors=(1203,),
    ),
    Route(
        name="change_subscription",
        method="PATCH",
        path=_ONE,
        handler=change_subscription,
        summary="Change a subscription; a URL with another origin needs the headers again",
        scope=Scope.ADMIN,
        body=SubscriptionChangeRequest,
        response=SubscriptionResponse,
        errors=(1203, 1204),
    ),
    Route(
        name="delete_subscription",
        method="DELETE",
        path=_ONE,
        handler=delete_subscription,
        summary="Delete a subscription and its pending deliveries",
        scope=Scope.ADMIN,
        query=EmptyQuery,
        status=204,
        errors=(1203,),
    ),
    Route(
        name="pause_subscription",
        method="POST",
        path=_ONE + "/pause",
        handler=pause_subscription,
        summary="Pause a subscription; its events are kept until it is resumed, for RELAY_RETENTION at most",
        scope=Scope.ADMIN,
        body=EmptyRequest,
        response=SubscriptionResponse,
        errors=(1203,),
    ),
    Route(
        name="resume_subscription",
        method="POST",
        path=_ONE + "/resume",
        handler=resume_subscription,
        summary="Resume a subscription that is paused or disabled",
        scope=Scope.ADMIN,
        body=EmptyRequest,
        response=SubscriptionResponse,
        errors=(1203,),
    ),
)
