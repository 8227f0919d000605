"""A quote is one rule's price multiplied by one factor per field that matters; the rules are data, versioned.

The first rule that names the order's kind and model counts. Each list must have a rule for models it does not
know, and each factor an answer for values it does not know, so that every valid order has a price; such a quote
says that it is not `listed`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from kling_relay.core.errors import ConfigurationError, Fault
from kling_relay.core.money import money, plain
from kling_relay.core.operation import Kind
from kling_relay.core.order import Order

LISTS = Path(__file__).parents[1] / "provider" / "prices"
ANY_MODEL = "*"
MAX_QUOTES = 1000
"""So many are remembered."""
FIELDS = ("n", "mode", "duration")
"""What a price can depend on besides kind and model; `n` is the number of pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """What a field's value multiplies the price by: as listed, else by `value / per`, else `otherwise`."""

    listed: Mapping[str, Decimal]
    per: Decimal | None = None
    otherwise: Decimal = Decimal(1)

    def of(self, value: str) -> tuple[Decimal, bool]:
        """Return the factor of a value, and whether the list says so."""
        if value in self.listed:
            return self.listed[value], True
        amount = money(value)
        if self.per and amount is not None:
            return amount / self.per, not self.listed
        return self.otherwise, False


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRule:
    """The price of some kinds and models, and what multiplies it."""

    kinds: frozenset[Kind]
    models: frozenset[str]
    price: Decimal
    times: Mapping[str, Factor]
    listed: bool = True
    """False for a rule that only fills the gap that the provider's list leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """A price list. `version` names exactly one content; a changed list has another."""

    name: str
    version: str
    currency: str
    source: str
    rules: tuple[PriceRule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What an order will cost, in `currency`; `version` is the price list's name and version."""

    amount: Decimal
    currency: str
    version: str
    listed: bool
    lines: tuple[str, ...]
    """How it comes about: the price, then one line per factor."""

    def to_json(self) -> dict[str, Any]:
        """Return the quote as JSON; the amount is text, because JSON numbers are floats to most readers."""
        return {
            "amount": plain(self.amount),
            "currency": self.currency,
            "prices": self.version,
            "listed": self.listed,
            "lines": list(self.lines),
        }


def quote(order: Order, prices: Prices) -> Quote:
    """Return what `order` costs by `prices`: the same for the same order, always."""
    rule = next(
        rule
        for rule in prices.rules
        if order.kind in rule.kinds and (order.model in rule.models or ANY_MODEL in rule.models)
    )
    thing = "picture" if order.kind.makes_images else f"{order.model} video"
    amount, listed, lines = rule.price, rule.listed, [f"{plain(rule.price)} per {thing}"]
    values = {"n": str(order.n), "mode": order.mode, "duration": order.duration}
    for field, factor in rule.times.items():
        value = values[field]
        if value is None:  # the order has no such field: nothing to multiply by
            continue
        times, is_listed = factor.of(value)
        amount, listed = amount * times, listed and is_listed
        if times != 1:
            lines.append(f"x {plain(times)} for {field} {value}" + ("" if is_listed else " (not in the list)"))
    return Quote(
        amount=Decimal(plain(amount)),
        currency=prices.currency,
        version=f"{prices.name}@{prices.version}",
        listed=listed,
        lines=tuple(lines),
    )


class Quoter:
    """Quotes by one list. A price depends on five fields of an order, so what was quoted is remembered by those."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._known: dict[tuple[Any, ...], Quote] = {}

    @property
    def remembered(self) -> int:
        return len(self._known)

    def __call__(self, order: Order) -> Quote:
        """Return what `order` costs, as `quote` has it."""
        fields = (order.kind, order.model, order.n, order.mode, order.duration)
        known = self._known.get(fields)
        if known is None:
            if len(self._known) >= MAX_QUOTES:  # models that nobody lists may have any name
                self._known.clear()
            known = self._known[fields] = quote(order, self._prices)
        return known


def load(name_or_path: str | Path) -> Prices:
    """Return the price list of that name, or the one in that file. ConfigurationError names every fault in it."""
    named = LISTS / f"{name_or_path}.json"
    path = named if named.is_file() else Path(name_or_path)
    try:
        written: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(str(path), [Fault("file", f"cannot be read as JSON: {error}")]) from error
    return read(written, str(path))


def read(written: object, where: str) -> Prices:
    """Return the price list that JSON says. ConfigurationError names `where` and every fault at once."""
    faults: list[Fault] = []
    listing = written if isinstance(written, dict) else {}
    words = {}
    for name in ("name", "version", "currency", "source"):
        words[name] = listing.get(name)
        if not isinstance(words[name], str) or not words[name]:
            faults.append(Fault(name, "must be text"))
    specs = listing.get("rules")
    rules = [_rule(spec, f"rules[{at}]", faults) for at, spec in enumerate(specs if isinstance(specs, list) else [])]
    faults += [
        Fault("rules", f'must have one of model "*" for {kind}')
        for kind in Kind
        if not any(kind in rule.kinds and ANY_MODEL in rule.models for rule in rules)
    ]
    if faults:
        raise ConfigurationError(where, faults)
    return Prices(**words, rules=tuple(rules))  # type: ignore[arg-type]  # the loop above has seen that they are text


def describe(prices: Prices) -> dict[str, Any]:
    """Return the list as the JSON that `read` makes it from."""
    return {
        "name": prices.name,
        "version": prices.version,
        "currency": prices.currency,
        "source": prices.source,
        "rules": [
            {
                "kinds": sorted(rule.kinds),
                "models": sorted(rule.models),
                "listed": rule.listed,
                "price": plain(rule.price),
                "times": {field: _described(factor) for field, factor in rule.times.items()},
            }
            for rule in prices.rules
        ],
    }


def _described(factor: Factor) -> dict[str, str]:
    listed = {value: plain(times) for value, times in factor.listed.items()}
    return (
        {**listed, "otherwise": plain(factor.otherwise)} if factor.per is None else {**listed, "per": plain(factor.per)}
    )


def _rule(written: object, where: str, faults: list[Fault]) -> PriceRule:
    spec = written if isinstance(written, dict) else {}
    kinds = spec.get("kinds")
    if not isinstance(kinds, list) or not kinds or any(kind not in set(Kind) for kind in kinds):
        faults.append(Fault(f"{where}.kinds", f"must be a list of {', '.join(Kind)}"))
        kinds = []
    models = spec.get("models")
    if not isinstance(models, list) or not models or not all(isinstance(model, str) for model in models):
        faults.append(Fault(f"{where}.models", 'must be a list of models, or ["*"]'))
        models = []
    times = spec.get("times", {})
    if not isinstance(times, dict):
        faults.append(Fault(f"{where}.times", "must be an object"))
        times = {}
    return PriceRule(
        kinds=frozenset(Kind(kind) for kind in kinds),
        models=frozenset(models),
        price=_figure(spec.get("price"), f"{where}.price", faults),
        times={field: _factor(field, table, f"{where}.times.{field}", faults) for field, table in times.items()},
        listed=spec.get("listed", True) is True,
    )


def _factor(field: str, written: object, where: str, faults: list[Fault]) -> Factor:
    if field not in FIELDS:
        faults.append(Fault(where, f"must be one of {', '.join(FIELDS)}"))
    table = dict(written) if isinstance(written, dict) else {}
    if ("per" in table) == ("otherwise" in table):
        faults.append(Fault(where, "must say either `otherwise` or `per`, for values that are not listed"))
    per = _figure(table.pop("per"), f"{where}.per", faults) if "per" in table else None
    if per == 0:
        faults.append(Fault(f"{where}.per", "must not be 0"))
    otherwise = _figure(table.pop("otherwise"), f"{where}.otherwise", faults) if "otherwise" in table else Decimal(1)
    listed = {str(value): _figure(times, f"{where}.{value}", faults) for value, times in table.items()}
    return Factor(listed=listed, per=per, otherwise=otherwise)


def _figure(written: object, where: str, faults: list[Fault]) -> Decimal:
    """Return a figure; in files it is text, because a JSON number has been a float before we see it."""
    figure = money(written) if isinstance(written, str) else None
    if figure is None:
        faults.append(Fault(where, 'must be a figure as text, such as "3.5"'))
    return figure or Decimal(0)
