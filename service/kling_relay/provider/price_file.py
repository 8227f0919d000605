"""Price lists are JSON files. Figures are text, because a JSON number has been a float before we see it."""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field, PlainValidator, StrictBool, StrictStr, model_validator

from kling_relay.core.errors import ConfigurationError, Fault
from kling_relay.core.money import parse_amount
from kling_relay.core.price import ANY_MODEL, Factor, PriceRule, Prices
from kling_relay.provider.data_file import FileModel, load_json, parse

PRICES = Path(__file__).parent / "prices"
"""The lists that are shipped, one file each."""


def _figure(value: object) -> Decimal:
    figure = parse_amount(value) if isinstance(value, str) else None
    if figure is None:
        raise ValueError('must be a figure as text, such as "3.5"')
    return figure


def _divisor(value: object) -> Decimal:
    figure = _figure(value)
    if not figure:
        raise ValueError("must not be 0")
    return figure


Name = Annotated[StrictStr, Field(min_length=1)]
Figure = Annotated[Decimal, PlainValidator(_figure)]


class FactorFile(FileModel):
    """What a field's value multiplies the price by, as written in a file. Other members are listed values."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Figure] = Field(init=False)

    per: Annotated[Decimal | None, PlainValidator(_divisor)] = None
    otherwise: Figure | None = None

    @model_validator(mode="after")
    def _check_unlisted(self) -> Self:
        if (self.per is None) == (self.otherwise is None):
            raise ValueError("must have either `otherwise` or `per`, for values that are not listed")
        return self

    def factor(self) -> Factor:
        otherwise = Decimal(1) if self.otherwise is None else self.otherwise
        return Factor(listed=self.__pydantic_extra__, per=self.per, otherwise=otherwise)


class PriceRuleFile(FileModel):
    """One rule, as written in a file."""

    kinds: Annotated[frozenset[StrictStr], Field(min_length=1)]
    models: Annotated[frozenset[StrictStr], Field(min_length=1)]
    price: Figure
    times: dict[Name, FactorFile] = Field(default_factory=dict)
    listed: StrictBool = True

    def rule(self) -> PriceRule:
        factors: dict[str, Factor] = {field: factor.factor() for field, factor in self.times.items()}
        return PriceRule(kinds=self.kinds, models=self.models, price=self.price, factors=factors, listed=self.listed)


class PricesFile(FileModel):
    """A price list, as written in a file."""

    name: Name
    version: Name
    currency: Name
    source: Name
    rules: list[PriceRuleFile]


def load_prices(name_or_path: str | Path, kinds: Iterable[str] = ()) -> Prices:
    """Return the price list of that name, or the one in that file, which has a price for every order of `kinds`.

    Raises ConfigurationError with every fault.
    """
    return read_prices(*load_json(name_or_path, PRICES), kinds)


def read_prices(data: object, where: str, kinds: Iterable[str] = ()) -> Prices:
    """Return the price list in a file's JSON, as `load_prices` does. Raises ConfigurationError with `where`."""
    faults: list[Fault] = []
    file = parse(PricesFile.model_validate, data, faults)
    # Read from the JSON itself, so that a missing rule is reported beside the faults of the others.
    rules = data.get("rules") if isinstance(data, dict) else None
    covered = {kind for rule in rules for kind in _any_model_kinds(rule)} if isinstance(rules, list) else set()
    faults += [Fault("rules", f'must have a rule with model "*" for {kind}') for kind in kinds if kind not in covered]
    if file is None or faults:
        raise ConfigurationError(where, faults)
    return Prices(
        name=file.name,
        version=file.version,
        currency=file.currency,
        source=file.source,
        rules=tuple(rule.rule() for rule in file.rules),
    )


def _any_model_kinds(rule: object) -> list[str]:
    """Return the kinds that this rule prices for every model."""
    match rule:
        case {"kinds": [*kinds], "models": [*models]} if ANY_MODEL in models:
            return [kind for kind in kinds if isinstance(kind, str)]
        case _:
            return []
