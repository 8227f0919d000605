"""The secret by which a client's hooks (an order's own `notify_hook`) are signed: shown to who administers, rotated."""

from service.core.errors import NotFound
from service.core.signature import new_secret
from service.store import keys, secrets
from service.web.answers import plain
from service.web.call import Call
from service.web.response import Response

_SECRET_BITS = 256


async def show(call: Call) -> Response:
    """Answer with the secret; unlike a subscription's it is made with the client, so that it can be asked for."""
    sealed = await keys.hook_secret(call.tools.database, call.caller.client)
    if sealed is None:
        raise NotFound
    return plain({"secret": secrets.open_hook_secret(call.tools.sealer, call.caller.client, sealed)})


async def rotate(call: Call) -> Response:
    """Make a new secret; the old one signs nothing more."""
    secret = new_secret(call.tools.chance(_SECRET_BITS).to_bytes(_SECRET_BITS // 8, "big"))
    sealed = secrets.seal_hook_secret(call.tools.sealer, call.caller.client, secret)
    if not await keys.set_hook_secret(call.tools.database, call.caller.client, sealed):
        raise NotFound
    return plain({"secret": secret})
