"""The secret by which a client's hooks (an order's own `notify_hook`) are signed: shown to who administers, rotated."""

from kling_relay.core.errors import NotFound
from kling_relay.core.signature import new_secret
from kling_relay.store.access import client_keys, secrets
from kling_relay.web.http.answers import plain
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response

_SECRET_BITS = 256


async def show(call: Request) -> Response:
    """Answer with the secret; unlike a subscription's it is made with the client, so that it can be asked for."""
    ciphertext = await client_keys.hook_secret(call.tools.database, call.caller.client)
    if ciphertext is None:
        raise NotFound
    return plain({"secret": secrets.decrypt_hook_secret(call.tools.encryptor, call.caller.client, ciphertext)})


async def rotate(call: Request) -> Response:
    """Make a new secret; the old one signs nothing more."""
    secret = new_secret(call.tools.chance(_SECRET_BITS).to_bytes(_SECRET_BITS // 8, "big"))
    ciphertext = secrets.encrypt_hook_secret(call.tools.encryptor, call.caller.client, secret)
    if not await client_keys.set_hook_secret(call.tools.database, call.caller.client, ciphertext):
        raise NotFound
    return plain({"secret": secret})
