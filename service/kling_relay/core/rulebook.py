"""A rule book says what one provider accepts: limits, models, and what each model can do.

Every operation has a table of fields. A model may override a field's rule, or not accept the field at all. The model
"*" holds the rules of unlisted models; without it, unlisted models are refused.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kling_relay.core.operation import kinds_of, makes_of, operation_of
from kling_relay.core.rule import Rule

ANY_MODEL = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRules:
    """What one operation makes and accepts. A field whose rule is None is not accepted by that model.

    `makes` is the member of Kling's `task_result` that its files are in. A task holds as many of the provider's slots
    as the number in the field `slots`, or one.
    """

    makes: str
    slots: str | None
    default_model: str
    fields: Mapping[str, Rule]
    models: Mapping[str, Mapping[str, Rule | None]]
    refused_models: frozenset[str]
    at_least_one: tuple[tuple[str, ...], ...]
    exclusive: tuple[tuple[str, ...], ...]

    def rules_for(self, model: str) -> Mapping[str, Rule | None] | None:
        """Return the rules of `model`'s fields, or None if this operation refuses the model."""
        if model in self.refused_models or model == ANY_MODEL:
            return None
        return self.models.get(model, self.models.get(ANY_MODEL))

    @property
    def known_models(self) -> tuple[str, ...]:
        return tuple(model for model in self.models if model != ANY_MODEL)

    def to_json(self) -> dict[str, Any]:
        """Return the rules as JSON, written out for every model."""
        return {
            "makes": self.makes,
            "slots": self.slots,
            "default_model": self.default_model,
            "unknown_models": "forward" if ANY_MODEL in self.models else "refuse",
            "at_least_one": [list(group) for group in self.at_least_one],
            "exclusive": [list(group) for group in self.exclusive],
            "models": {
                model: {name: {"type": rule.type, **asdict(rule)} for name, rule in rules.items() if rule is not None}
                for model, rules in self.models.items()
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rulebook:
    """What one provider accepts, and the source that says so."""

    name: str
    version: str
    source: str
    aliases: Mapping[str, str]
    hooks: tuple[str, ...]
    unknown_members: Literal["forward", "drop", "refuse"]
    operations: Mapping[str, OperationRules]
    """By path."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of all its orders."""
        return tuple(kind for operation in self.operations for kind in kinds_of(operation))

    def makes(self, kind: str) -> str:
        """Return what tasks of `kind` make, even if the book does not list their operation any more."""
        operation = operation_of(kind)
        rules = self.operations.get(operation)
        return makes_of(operation) if rules is None else rules.makes

    def to_json(self) -> dict[str, Any]:
        """Return the book as JSON, for the console's forms and for documents."""
        return {
            "name": self.name,
            "version": self.version,
            "source": self.source,
            "unknown_members": self.unknown_members,
            "operations": {operation: rules.to_json() for operation, rules in self.operations.items()},
        }
