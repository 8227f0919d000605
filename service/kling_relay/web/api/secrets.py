"""Signing secrets: rotate a subscription's secret; show or rotate the secret of a client's hooks.

A hook is the `notify_hook` of an order. All hooks of a client share one secret. A rotation is answered once every
worker signs with the new secret.
"""

import asyncio
from datetime import timedelta

from kling_relay.core.delivery import MAX_ENDPOINT_AGE
from kling_relay.core.errors import Conflict, NotFound, Unauthenticated
from kling_relay.core.event import rfc3339
from kling_relay.core.key import Scope
from kling_relay.store.access import client_keys, secrets
from kling_relay.store.access.encryption import DecryptionError
from kling_relay.store.deliveries import subscriptions
from kling_relay.web.api.subscriptions import find_subscription, generate_secret
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response, json_response
from kling_relay.web.http.routing import Route
from kling_relay.web.models.fields import EmptyQuery, EmptyRequest
from kling_relay.web.models.subscriptions import HookSecretResponse, RotateSecretRequest, SecretResponse

_IN_FORCE_AFTER = MAX_ENDPOINT_AGE + 0.5
"""Seconds after which every attempt is signed with a new secret, wherever it is made."""
_MAX_SECRETS = 3
"""The new secret and old ones that still sign."""


async def rotate_secret(request: Request[None, RotateSecretRequest]) -> Response:
    """Replace a subscription's secret; from the response on both sign, until the overlap ends."""
    subscription = await find_subscription(request)
    if subscription.hook:
        raise NotFound("A hook has no secret of its own: its events are signed with the secret from /v1/hook-secret.")
    context = request.context
    overlap = timedelta(seconds=request.body.overlap_seconds)
    try:
        old_secrets = secrets.decrypt_secrets(context.encryptor, subscription.id, subscription.secrets)
    except DecryptionError:  # their key is lost, so they can sign nothing more
        old_secrets = []
    if subscription.old_secrets_until is None or subscription.old_secrets_until <= request.now:
        old_secrets = old_secrets[:1]
    overlap_secrets = old_secrets[: _MAX_SECRETS - 1] if overlap else []
    until = request.now + overlap if overlap else None
    secret = generate_secret(context)
    ciphertext = secrets.encrypt_secrets(context.encryptor, subscription.id, [secret, *overlap_secrets])
    if not await subscriptions.set_secrets(context.database, subscription, ciphertext, until, request.now):
        raise Conflict("Another request is rotating this secret.")
    await asyncio.sleep(_IN_FORCE_AFTER)  # then every worker signs with the new secret
    return json_response({"secret": secret, "old_secrets_until": rfc3339(until) if until else None})


async def show_hook_secret(request: Request[EmptyQuery]) -> Response:
    """Return the secret of the client's hooks; there is no other way to get it.

    Raises Unauthenticated if its signing key was removed, because nobody can be given it then.
    """
    context, client = request.context, request.caller.client
    ciphertext = await client_keys.hook_secret(context.database, client)
    if ciphertext is None:
        raise NotFound
    try:
        secret = secrets.decrypt_hook_secret(context.encryptor, client, ciphertext)
    except DecryptionError:
        raise Unauthenticated(
            "The secret of your hooks cannot be read any more, because the signing key under which the service keeps it"
            " was removed; nothing is delivered to hooks. POST /v1/hook-secret/rotate makes a new one."
        ) from None
    return json_response({"secret": secret})


async def rotate_hook_secret(request: Request[None, EmptyRequest]) -> Response:
    """Replace the secret of the client's hooks; the old one stops signing at once."""
    context, client = request.context, request.caller.client
    secret = generate_secret(context)
    ciphertext = secrets.encrypt_hook_secret(context.encryptor, client, secret)
    if not await client_keys.set_hook_secret(context.database, client, ciphertext):
        raise NotFound
    await asyncio.sleep(_IN_FORCE_AFTER)
    return json_response({"secret": secret})


ROUTES = (
    Route(
        name="rotate_secret",
        method="POST",
        path="/v1/subscriptions/{subscription}/rotate-secret",
        handler=rotate_secret,
        summary="Replace the secret of a subscription; the old one also signs for a while",
        scope=Scope.ADMIN,
        body=RotateSecretRequest,
        response=SecretResponse,
        errors=(1203, 1204),
    ),
    Route(
        name="show_hook_secret",
        method="GET",
        path="/v1/hook-secret",
        handler=show_hook_secret,
        summary="Get the secret that signs events for notify_hook",
        scope=Scope.ADMIN,
        query=EmptyQuery,
        response=HookSecretResponse,
    ),
    Route(
        name="rotate_hook_secret",
        method="POST",
        path="/v1/hook-secret/rotate",
        handler=rotate_hook_secret,
        summary="Replace the secret for notify_hook; the old one stops signing at once",
        scope=Scope.ADMIN,
        body=EmptyRequest,
        response=HookSecretResponse,
    ),
)
