"""What may be ordered and what it costs: the rule book, the price list, a quote before ordering, and what was used."""

from datetime import timedelta

from aiohttp import web

from service.core import price, rulebook
from service.core.errors import Fault, InvalidOrder, InvalidRequest
from service.core.event import rfc3339
from service.core.kind import Door
from service.core.money import plain as money
from service.store import usage
from service.web.answers import InvalidMembers, plain
from service.web.call import Call
from service.web.kling import checked

_USUAL = timedelta(days=30)


async def rules(call: Call) -> web.Response:
    """Answer with the rule book that orders are checked by."""
    return plain(rulebook.describe(call.tools.rulebook))


async def prices(call: Call) -> web.Response:
    """Answer with the price list that orders are priced by."""
    return plain(price.describe(call.tools.prices))


async def quote(call: Call) -> web.Response:
    """Price an order without sending it; the body is the order with its `door` (videos/text2video and so on)."""
    raw = await call.read()

    def opened(body: object) -> tuple[Door, object]:
        if not isinstance(body, dict):
            raise InvalidRequest("The body must be a JSON object.")
        try:
            door = Door(str(body.pop("door", None)))
        except ValueError:
            raise InvalidOrder([Fault("door", f"must be one of {', '.join(Door)}")]) from None
        return door, body

    order = await checked(call, raw, opened)
    return plain(price.quote(order, call.tools.prices).shown() | {"kind": order.kind})


async def used(call: Call) -> web.Response:
    """Answer with what was ordered and charged, the last thirty days where nothing else is asked for."""
    until = call.query.until or call.now
    since = call.query.since or until - _USUAL
    if since >= until:
        raise InvalidMembers([Fault("since", "must be before until")])
    lines = await usage.usage(call.tools.database, call.caller.client, call.query.by, since, until)
    return plain(
        {
            "since": rfc3339(since),
            "until": rfc3339(until),
            "data": [
                {
                    "by": line.by,
                    "currency": line.currency,
                    "tasks": line.tasks,
                    "succeeded": line.succeeded,
                    "failed": line.failed,
                    "reserved": money(line.reserved),
                    "charged": money(line.charged),
                }
                for line in lines
            ],
        }
    )
