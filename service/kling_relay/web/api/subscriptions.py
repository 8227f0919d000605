"""Subscriptions over HTTP: made, read, changed, paused, rotated, tested, replayed and deleted by whose they are.

A secret is shown when it is made and never again, and a header that may be one not at all. What can be seen of an
address from its text is judged here; where it leads is judged when it is dialled.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from kling_relay.core.address import check_url
from kling_relay.core.errors import Conflict, Fault, InvalidRequest, NotFound
from kling_relay.core.event import rfc3339
from kling_relay.core.ids import RANDOM_BITS, new_id
from kling_relay.core.signature import new_secret
from kling_relay.core.subscription import SubscriptionOptions, mask_headers, restore_hidden
from kling_relay.store.access import headers, secrets
from kling_relay.store.access.encryption import DecryptionError
from kling_relay.store.deliveries import subscriptions, unsubscribe
from kling_relay.store.deliveries.subscriptions import Subscription, SubscriptionUpdate
from kling_relay.web.http.answers import listed, nothing, plain
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response

_SECRET_BITS = 256
_MAX_SECRETS = 3
"""The new one and those that still overlap."""


async def create(call: Request) -> Response:
    """Make a subscription; the answer holds its secret, this once."""
    asked = call.body
    options = SubscriptionOptions(
        url=_address(call, asked.url),
        events=tuple(asked.events),
        description=asked.description,
        format=asked.format,
        ordering=asked.ordering,
        max_in_flight=asked.max_in_flight or call.tools.limits.in_flight,
    )
    identifier = new_id(call.now, call.tools.chance(RANDOM_BITS))
    secret = _secret(call)
    new = Subscription(
        id=identifier,
        client=call.caller.client,
        options=options,
        headers=headers.encrypt(call.tools.encryptor, identifier, _whole(asked.headers, {})),
        secrets=secrets.encrypt_secrets(call.tools.encryptor, identifier, [secret]),
        created_at=call.now,
        updated_at=call.now,
    )
    if not await subscriptions.create(call.tools.database, new):
        raise Conflict(f"A client may have {subscriptions.MAX_PER_CLIENT} subscriptions at most.")
    return plain(
        {**_shown(call, new), "secret": secret}, status=201, headers={"Location": f"/v1/subscriptions/{identifier}"}
    )


async def index(call: Request) -> Response:
    """Answer with a page of subscriptions, newest first."""
    limit = call.query.limit
    before = _cursor(call.query.cursor)
    found = await subscriptions.page(call.tools.database, call.caller.client, before, limit + 1)
    more = str(found[limit - 1].id) if len(found) > limit else None
    return listed([_shown(call, each) for each in found[:limit]], more)


async def show(call: Request) -> Response:
    """Answer with one subscription, or one hook."""
    return plain(_shown(call, await _found(call)))


async def change(call: Request) -> Response:
    """Change what the body names."""
    asked = call.body
    found = await _found(call)
    anew = None if asked.headers is None else _whole(asked.headers, _headers(call, found))
    wanted = SubscriptionUpdate(
        url=None if asked.url is None else _address(call, asked.url),
        events=None if asked.events is None else tuple(asked.events),
        description=asked.description,
        headers=None if anew is None else headers.encrypt(call.tools.encryptor, found.id, anew),
        format=asked.format,
        ordering=asked.ordering,
        max_in_flight=asked.max_in_flight,
    )
    if found.hook and wanted.url is not None:
        raise InvalidRequest(faults=[Fault("url", "of a hook is the order's to say")])
    return _one(call, await subscriptions.update(call.tools.database, call.caller.client, found.id, wanted, call.now))


async def delete(call: Request) -> Response:
    """Delete a subscription and what was still to be delivered to it."""
    if not await unsubscribe.remove(call.tools.database, call.caller.client, call.id("subscription"), call.now):
        raise NotFound
    return nothing()


async def pause(call: Request) -> Response:
    """Let deliveries gather."""
    identifier = call.id("subscription")
    return _one(call, await subscriptions.pause(call.tools.database, call.caller.client, identifier, call.now))


async def resume(call: Request) -> Response:
    """Deliver again, also after it was disabled."""
    identifier = call.id("subscription")
    return _one(call, await subscriptions.resume(call.tools.database, call.caller.client, identifier, call.now))


async def rotate(call: Request) -> Response:
    """Make a new secret; the old ones sign too until the overlap is over."""
    found = await _found(call)
    if found.hook:
        raise NotFound("A hook has no secret of its own: what goes to it is signed with /v1/hook-secret.")
    overlap = timedelta(seconds=call.body.overlap_seconds)
    encryptor = call.tools.encryptor
    try:
        old = secrets.decrypt_secrets(encryptor, found.id, found.secrets)
    except DecryptionError:  # under a key that is lost: nobody can sign with it any more, here neither
        old = []
    if found.old_secrets_until is None or found.old_secrets_until <= call.now:
        old = old[:1]
    kept = old[: _MAX_SECRETS - 1] if overlap else []
    until = call.now + overlap if overlap else None
    secret = _secret(call)
    ciphertext = secrets.encrypt_secrets(encryptor, found.id, [secret, *kept])
    if not await subscriptions.set_secrets(call.tools.database, found, ciphertext, until, call.now):
        raise Conflict("Somebody else is rotating this secret.")
    return plain({"secret": secret, "old_secrets_until": rfc3339(until) if until else None})


def _shown(call: Request, subscription: Subscription) -> dict[str, Any]:
    """Return a subscription as clients see it, without its secrets."""
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
        "headers": mask_headers(_headers(call, subscription)),
        "format": options.format,
        "ordering": options.ordering,
        "max_in_flight": options.max_in_flight,
        "status": status,
        "is_hook": subscription.hook,
        "disabled_reason": subscription.disabled_reason,
        **times,
    }


async def _found(call: Request) -> Subscription:
    found = await subscriptions.get(call.tools.database, call.caller.client, call.id("subscription"))
    if found is None:
        raise NotFound
    return found


def _one(call: Request, found: Subscription | None) -> Response:
    if found is None:
        raise NotFound
    return plain(_shown(call, found))


def _address(call: Request, url: str) -> str:
    address = check_url(url, allowed=call.tools.allowed)
    if isinstance(address, str):
        raise InvalidRequest(faults=[Fault("url", address)])
    return address.url


def _headers(call: Request, subscription: Subscription) -> dict[str, str]:
    """Return its headers; none if their key is lost, so that it can be shown and given new ones."""
    try:
        return headers.decrypt(call.tools.encryptor, subscription.id, subscription.headers)
    except DecryptionError:
        return {}


def _whole(asked: Mapping[str, str], kept: Mapping[str, str]) -> dict[str, str]:
    match restore_hidden(asked, kept):
        case dict(found):
            return found
        case faults:
            raise InvalidRequest(faults=[Fault("headers", says) for says in faults])


def _secret(call: Request) -> str:
    return new_secret(call.tools.chance(_SECRET_BITS).to_bytes(_SECRET_BITS // 8, "big"))


def _cursor(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise InvalidRequest(faults=[Fault("cursor", "is none that we gave")]) from None
