"""What may be ordered and what it costs: rule book, price list, a quote before ordering, what was used, what may be."""

from datetime import timedelta
from typing import Any

from kling_relay.core import budget as budget_core
from kling_relay.core import price
from kling_relay.core.errors import Fault, InvalidOrder, InvalidRequest
from kling_relay.core.event import rfc3339
from kling_relay.core.operation import Kind, Operation, operation_of
from kling_relay.store.money import balances, budgets, usage
from kling_relay.store.money.usage import to_csv, to_json
from kling_relay.web.api.kling import checked
from kling_relay.web.http.answers import plain
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response

_USUAL = timedelta(days=30)
_AS_FILE = {"Content-Type": "text/csv; charset=utf-8", "Content-Disposition": 'attachment; filename="usage.csv"'}


async def rules(call: Request) -> Response:
    """Answer with the rule book that orders are checked by."""
    return plain(call.tools.rulebook.to_json())


async def prices(call: Request) -> Response:
    """Answer with the price list that orders are priced by."""
    return plain(call.tools.prices.to_json())


async def quote(call: Request) -> Response:
    """Price an order without sending it; the body is the order with an `operation` or a `kind`."""
    raw = await call.read()

    def opened(body: object) -> tuple[Operation, object]:
        if not isinstance(body, dict):
            raise InvalidRequest("The body must be a JSON object.")
        return _operation(body.pop("operation", None), body.pop("kind", None)), body

    order = await checked(call, raw, opened)
    return plain(price.quote(order, call.tools.prices).to_json() | {"kind": order.kind})


def _operation(operation: object, kind: object) -> Operation:
    """Return the operation that a quote names by itself or by a kind. Raises InvalidOrder unless it names one."""
    if (operation is None) is (kind is None):
        raise InvalidOrder([Fault("operation", "or kind must be given, and not both")])
    try:
        return operation_of(Kind(str(kind))) if operation is None else Operation(str(operation))
    except ValueError:
        name, values = ("kind", Kind) if operation is None else ("operation", Operation)
        raise InvalidOrder([Fault(name, f"must be one of {', '.join(values)}")]) from None


async def used(call: Request) -> Response:
    """Answer with what was ordered and charged, the last thirty days where nothing else is asked for."""
    until = call.query.until or call.now
    since = call.query.since or until - _USUAL
    if since >= until:
        raise InvalidRequest(faults=[Fault("since", "must be before until")])
    lines = await usage.usage(call.tools.database, call.caller.client, call.query.by, since, until)
    if _wants_csv(call):
        text = to_csv(lines, call.query.by)
        return Response(body=text.encode(), headers=_AS_FILE)
    return plain(
        {
            "since": rfc3339(since),
            "until": rfc3339(until),
            "data": [{"by": line.by, **to_json(line)} for line in lines],
        }
    )


def _wants_csv(call: Request) -> bool:
    """Return what ?format= says, else whether Accept names CSV before JSON."""
    if call.query.format is not None:
        return bool(call.query.format == "csv")
    accepted = call.request.headers.get("Accept", "").lower()
    csv, json = accepted.find("text/csv"), accepted.find("application/json")
    return csv >= 0 and not 0 <= json < csv


async def budget(call: Request) -> Response:
    """Answer with what the caller may spend, and has spent, as a client and by this key."""
    database, caller = call.tools.database, call.caller
    currency = call.tools.prices.currency
    day, month = budget_core.windows(call.now)
    said: dict[str, Any] = {
        "currency": currency,
        "day_since": rfc3339(day),
        "month_since": rfc3339(month),
        "client": None,
        "key": None,
    }
    for account in await budgets.accounts_of(database.pool, caller.client, caller.key):
        # closed here too: who has no limit has nobody else who would, and the sum of a long life takes a second
        spent = await balances.spent(
            database.pool, account, currency, call.now, checkpoint_after=balances.CHECKPOINT_AFTER
        )
        said["key" if account.key else "client"] = {
            "name": account.name,
            "limits": account.limits.to_json(),
            "spent": spent.to_json(),
            "left": account.limits.left(spent).to_json(),
        }
    return plain(said)
