"""Handlers for the rule book, the price list, quotes, usage and budgets."""

from datetime import timedelta
from functools import partial
from typing import Any

from kling_relay.core import budget as budget_core
from kling_relay.core import price
from kling_relay.core.errors import Fault, InvalidOrder, InvalidRequest
from kling_relay.core.event import rfc3339
from kling_relay.core.operation import operation_of
from kling_relay.core.rulebook import Rulebook
from kling_relay.store.money import balances, budgets, usage
from kling_relay.store.money.usage import to_csv, to_json
from kling_relay.web.api.kling import read_order, unknown_fields_header
from kling_relay.web.http.body import BodyLimit
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response, json_response
from kling_relay.web.http.routing import Route
from kling_relay.web.models.fields import EmptyQuery
from kling_relay.web.models.money import (
    BudgetsResponse,
    PriceListResponse,
    QuoteResponse,
    RulebookResponse,
    UsageQuery,
    UsageResponse,
)

_DEFAULT_SPAN = timedelta(days=30)
_CSV = {"Content-Type": "text/csv; charset=utf-8", "Content-Disposition": 'attachment; filename="usage.csv"'}


async def show_rulebook(request: Request[EmptyQuery]) -> Response:
    """Return the rule book that orders are checked against."""
    return json_response(request.context.rulebook.to_json())


async def show_prices(request: Request[EmptyQuery]) -> Response:
    """Return the price list in force."""
    return json_response(request.context.prices.to_json())


async def quote_order(request: Request) -> Response:
    """Price an order without sending it; the body is the order with an `operation` or a `kind`."""
    order = await read_order(request, partial(_unpack, request.context.rulebook), lambda order: order)
    quote = price.quote(order, request.context.prices).to_json() | {"kind": order.kind}
    return json_response(quote, headers=unknown_fields_header(order))


def _unpack(rulebook: Rulebook, body: object) -> tuple[str, object]:
    """Split the body of a quote into its operation and the order."""
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.")
    operation, kind = body.pop("operation", None), body.pop("kind", None)
    if (operation is None) is (kind is None):
        raise InvalidOrder([Fault("operation or kind", "must be given, but not both")])
    if operation is None and kind in rulebook.kinds:
        return operation_of(str(kind)), body
    if kind is None and isinstance(operation, str) and operation in rulebook.operations:
        return operation, body
    name, values = ("kind", rulebook.kinds) if operation is None else ("operation", tuple(rulebook.operations))
    raise InvalidOrder([Fault(name, f"must be one of {', '.join(values)}")])


async def show_usage(request: Request[UsageQuery]) -> Response:
    """Return what was ordered and charged, by default in the last thirty days."""
    query = request.query
    until = query.until or request.now
    since = query.since or until - _DEFAULT_SPAN
    if since >= until:
        raise InvalidRequest(faults=[Fault("since", "must be before until")])
    lines = await usage.usage(request.context.database, request.caller.client, query.by, since, until)
    if _wants_csv(request):
        return Response(body=to_csv(lines, query.by).encode(), headers=_CSV)
    return json_response(
        {
            "since": rfc3339(since),
            "until": rfc3339(until),
            "data": [{"by": line.by, **to_json(line)} for line in lines],
        }
    )


def _wants_csv(request: Request[UsageQuery]) -> bool:
    """Return whether ?format= asks for CSV, or else whether Accept names CSV before JSON."""
    if request.query.format is not None:
        return request.query.format == "csv"
    accept = request.http.headers.get("Accept", "").lower()
    csv, json = accept.find("text/csv"), accept.find("application/json")
    return csv >= 0 and not 0 <= json < csv


async def show_budget(request: Request[EmptyQuery]) -> Response:
    """Return the limits of the caller's client and key, and what is spent of them."""
    database, caller = request.context.database, request.caller
    currency = request.context.prices.currency
    day, month = budget_core.windows(request.now)
    content: dict[str, Any] = {
        "currency": currency,
        "day_since": rfc3339(day),
        "month_since": rfc3339(month),
        "client": None,
        "key": None,
    }
    for account in await budgets.accounts_of(database.reports, caller.client, caller.key):
        # this also writes ledger checkpoints: nothing else does so for a client without limits, and summing up years
        # takes a second
        spent = await balances.spent(
            database.reports, account, currency, request.now, checkpoint_after=balances.CHECKPOINT_AFTER
        )
        content["key" if account.key else "client"] = {
            "name": account.name,
            "limits": account.limits.to_json(),
            "spent": spent.to_json(),
            "left": account.limits.left(spent).to_json(),
        }
    return json_response(content)


ROUTES = (
    Route(
        name="show_rulebook",
        method="GET",
        path="/v1/rulebook",
        handler=show_rulebook,
        summary="Get the rule book that orders are checked against",
        query=EmptyQuery,
        response=RulebookResponse,
    ),
    Route(
        name="show_prices",
        method="GET",
        path="/v1/prices",
        handler=show_prices,
        summary="Get the price list",
        query=EmptyQuery,
        response=PriceListResponse,
    ),
    Route(
        name="quote",
        method="POST",
        path="/v1/quotes",
        handler=quote_order,
        summary="Price an order without sending it; the body is the order with an `operation` or a `kind`",
        response=QuoteResponse,
        body_limit=BodyLimit.ORDER,
        errors=(1200, 1201, 1205),
    ),
    Route(
        name="show_usage",
        method="GET",
        path="/v1/usage",
        handler=show_usage,
        summary="Get what was ordered and charged; as CSV with ?format=csv or Accept: text/csv",
        is_report=True,
        query=UsageQuery,
        response=UsageResponse,
        text_media_type="text/csv",
    ),
    Route(
        name="show_budget",
        method="GET",
        path="/v1/budget",
        handler=show_budget,
        summary="Get what this client and this key may spend, have spent and have left",
        is_report=True,
        query=EmptyQuery,
        response=BudgetsResponse,
    ),
)
