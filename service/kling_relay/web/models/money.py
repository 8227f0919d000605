"""Queries and responses about rules, prices, usage and budgets; amounts are decimal text."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from kling_relay.web.models.fields import Moment, RequestModel, ResponseModel, split

GroupBy = Literal["day", "month", "kind", "model", "mode", "key", "client", "currency"]


class UsageQuery(RequestModel):
    since: Moment | None = None
    until: Moment | None = None
    by: Annotated[list[GroupBy], BeforeValidator(split)] = Field(["day"])
    format: Literal["json", "csv"] | None = Field(None, description="takes precedence over the header Accept")


class RulebookResponse(ResponseModel):
    """The rule book; docs/money.md describes its members."""

    model_config = ConfigDict(extra="allow")


class PriceListResponse(ResponseModel):
    """The price list; docs/money.md describes its members."""

    model_config = ConfigDict(extra="allow")


class QuoteResponse(ResponseModel):
    amount: str
    currency: str
    prices: str = Field(description="the price list, name@version")
    listed: bool = Field(description="whether the price list has a price for the order's model")
    lines: list[str] = Field(description="how the amount is made up")
    kind: str


class UsageLineResponse(ResponseModel):
    """The usage of one group of tasks."""

    by: dict[str, str | None]
    currency: str
    tasks: int
    succeeded: int
    failed: int
    reserved: str
    charged: str


class UsageResponse(ResponseModel):
    since: str
    until: str
    data: list[UsageLineResponse]


class AmountsResponse(ResponseModel):
    """One amount per limit: in total, today, this month (UTC), and reserved at one time."""

    total: str | None
    day: str | None
    month: str | None
    open: str | None


class BudgetResponse(ResponseModel):
    """What a client or a key may spend; null means without limit."""

    name: str
    limits: AmountsResponse
    spent: AmountsResponse
    left: AmountsResponse


class BudgetsResponse(ResponseModel):
    currency: str
    day_since: str
    month_since: str
    client: BudgetResponse | None
    key: BudgetResponse | None
