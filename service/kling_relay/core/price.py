"""A quote is the price of one rule, multiplied by one factor for each field that matters.

The first rule that names the order's kind and model applies. Every list has a rule for unlisted models and every
factor covers unlisted values, so every valid order has a price. Such a quote says that it is not `listed`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kling_relay.core.money import format_amount, parse_amount
from kling_relay.core.order import Order

ANY_MODEL = "*"
MAX_QUOTES = 1000
"""How many quotes a `Quoter` caches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """What a field's value multiplies the price by: the listed factor, else `value / per`, else `otherwise`."""

    listed: Mapping[str, Decimal]
    per: Decimal | None = None
    otherwise: Decimal = Decimal(1)

    def factor_for(self, value: str) -> tuple[Decimal, bool]:
        """Return the factor for `value`, and whether it is listed."""
        if value in self.listed:
            return self.listed[value], True
        amount = parse_amount(value)
        if self.per and amount is not None:
            return amount / self.per, not self.listed
        return self.otherwise, False

    def to_json(self) -> dict[str, str]:
        """Return the factor as it is written in a file."""
        unlisted = (
            {"otherwise": format_amount(self.otherwise)} if self.per is None else {"per": format_amount(self.per)}
        )
        return {value: format_amount(factor) for value, factor in self.listed.items()} | unlisted


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRule:
    """The price of some kinds and models, and the factors by field, such as `n` (images), `mode` or `duration`."""

    kinds: frozenset[str]
    models: frozenset[str]
    price: Decimal
    factors: Mapping[str, Factor]
    listed: bool = True
    """False for a rule that fills a gap in the provider's list."""

    def to_json(self) -> dict[str, Any]:
        """Return the rule as it is written in a file."""
        return {
            "kinds": sorted(self.kinds),
            "models": sorted(self.models),
            "listed": self.listed,
            "price": format_amount(self.price),
            "times": {field: factor.to_json() for field, factor in self.factors.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """A price list. A version never changes its content; a changed list has a new version."""

    name: str
    version: str
    currency: str
    source: str
    rules: tuple[PriceRule, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the list as it is written in a file."""
        return {
            "name": self.name,
            "version": self.version,
            "currency": self.currency,
            "source": self.source,
            "rules": [rule.to_json() for rule in self.rules],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What an order costs, in `currency`. `version` is the price list's name and version."""

    amount: Decimal
    currency: str
    version: str
    listed: bool
    lines: tuple[str, ...]
    """The calculation: the price, then one line per factor."""

    def to_json(self) -> dict[str, Any]:
        """Return the quote as JSON. The amount is text, because most JSON readers turn numbers into floats."""
        return {
            "amount": format_amount(self.amount),
            "currency": self.currency,
            "prices": self.version,
            "listed": self.listed,
            "lines": list(self.lines),
        }


def quote(order: Order, prices: Prices) -> Quote:
    """Return what `order` costs by `prices`; equal orders have equal quotes."""
    rule = next(
        rule
        for rule in prices.rules
        if order.kind in rule.kinds and (order.model in rule.models or ANY_MODEL in rule.models)
    )
    unit = "picture" if order.makes == "images" else f"{order.model} video"
    amount, listed, lines = rule.price, rule.listed, [f"{format_amount(rule.price)} per {unit}"]
    for field, factor in rule.factors.items():
        value = order.text_of(field)
        if value is None:  # the order has no such field
            continue
        multiplier, is_listed = factor.factor_for(value)
        amount, listed = amount * multiplier, listed and is_listed
        if multiplier != 1:
            lines.append(
                f"x {format_amount(multiplier)} for {field} {value}" + ("" if is_listed else " (not in the list)")
            )
    return Quote(
        amount=Decimal(format_amount(amount)),
        currency=prices.currency,
        version=f"{prices.name}@{prices.version}",
        listed=listed,
        lines=tuple(lines),
    )


class Quoter:
    """Quotes from one list. A price depends on a few fields of an order, and quotes are cached by those."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._fields = tuple(sorted({field for rule in prices.rules for field in rule.factors}))
        self._quotes: dict[tuple[Any, ...], Quote] = {}

    @property
    def cached(self) -> int:
        """The number of cached quotes."""
        return len(self._quotes)

    def __call__(self, order: Order) -> Quote:
        """Return what `order` costs, as `quote` does."""
        key = (order.kind, order.model, *map(order.text_of, self._fields))
        order_quote = self._quotes.get(key)
        if order_quote is None:
            if len(self._quotes) >= MAX_QUOTES:  # unlisted models may have any name
                self._quotes.clear()
            order_quote = self._quotes[key] = quote(order, self._prices)
        return order_quote
