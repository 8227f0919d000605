"""A rule book says, as data, what one provider takes: limits, models and what each of them can do.

Every door has a table of fields; a model may override a field's rule (`{...}`) or not take the field (`false`). The
model "*" makes the rules of models that the book does not know; where it is absent, or a model is `false`, the
model is refused.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast

from kling_relay.core.errors import ConfigurationError, Fault
from kling_relay.core.operation import Operation
from kling_relay.core.rule import RULES, Choice, Number, Rule, kind_of_rule

BOOKS = Path(__file__).parents[1] / "provider" / "rulebooks"
ANY_MODEL = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRules:
    """What one door takes. A field that is None for a model is not taken by it."""

    default_model: str
    fields: Mapping[str, Rule]
    models: Mapping[str, Mapping[str, Rule | None]]
    refused_models: frozenset[str]
    at_least_one: tuple[tuple[str, ...], ...]
    exclusive: tuple[tuple[str, ...], ...]

    def rules_for(self, model: str) -> Mapping[str, Rule | None] | None:
        """Return the rules of `model`'s fields, or None where this door refuses the model."""
        if model in self.refused_models or model == ANY_MODEL:
            return None
        return self.models.get(model, self.models.get(ANY_MODEL))

    @property
    def known_models(self) -> tuple[str, ...]:
        return tuple(model for model in self.models if model != ANY_MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rulebook:
    """What one provider takes, and where that is known from."""

    name: str
    version: str
    source: str
    aliases: Mapping[str, str]
    hooks: tuple[str, ...]
    unknown_members: Literal["forward", "drop", "refuse"]
    operations: Mapping[Operation, OperationRules]


def load(name_or_path: str | Path) -> Rulebook:
    """Return the rule book of that name, or the one in that file. ConfigurationError names every fault in it."""
    named = BOOKS / f"{name_or_path}.json"
    path = named if named.is_file() else Path(name_or_path)
    try:
        written: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(str(path), [Fault("file", f"cannot be read as JSON: {error}")]) from error
    return read(written, str(path))


def read(written: object, where: str) -> Rulebook:
    """Return the rule book that a file's JSON says. ConfigurationError names `where` and every fault at once."""
    faults: list[Fault] = []
    book = _members(written, "file", faults)
    operations = _members(book.get("operations"), "operations", faults)
    policy = book.get("unknown_members", "forward")
    if policy not in {"forward", "drop", "refuse"}:
        faults.append(Fault("unknown_members", "must be forward, drop or refuse"))
    faults += [Fault(f"doors.{name}", "is no door") for name in operations if name not in set(Operation)]
    rulebook = Rulebook(
        name=_word(book.get("name"), "name", faults),
        version=_word(book.get("version"), "version", faults),
        source=_word(book.get("source"), "source", faults),
        aliases={k: _word(v, f"aliases.{k}", faults) for k, v in _optional(book, "aliases", faults).items()},
        hooks=_words(book.get("hooks"), "hooks", faults),
        unknown_members=cast('Literal["forward", "drop", "refuse"]', policy),
        operations={
            operation: _operation(operations.get(operation), f"doors.{operation}", faults) for operation in Operation
        },
    )
    if faults:
        raise ConfigurationError(where, faults)
    return rulebook


def describe(rulebook: Rulebook) -> dict[str, Any]:
    """Return the book as JSON, every model's rules written out, for the console's forms and for documents."""

    def written(rules: Mapping[str, Rule | None]) -> dict[str, Any]:
        return {k: {"takes": kind_of_rule(rule), **asdict(rule)} for k, rule in rules.items() if rule is not None}

    return {
        "name": rulebook.name,
        "version": rulebook.version,
        "source": rulebook.source,
        "unknown_members": rulebook.unknown_members,
        "operations": {
            operation.value: {
                "default_model": rules.default_model,
                "unknown_models": "forward" if ANY_MODEL in rules.models else "refuse",
                "at_least_one": [list(group) for group in rules.at_least_one],
                "exclusive": [list(group) for group in rules.exclusive],
                "models": {model: written(taken) for model, taken in rules.models.items()},
            }
            for operation, rules in rulebook.operations.items()
        },
    }


def _operation(written: object, where: str, faults: list[Fault]) -> OperationRules:
    operation = _members(written, where, faults)
    specs = _members(operation.get("fields"), f"{where}.fields", faults)
    base = {name: _rule(spec, f"{where}.fields.{name}", faults) for name, spec in specs.items()}
    models: dict[str, dict[str, Rule | None]] = {}
    refused: set[str] = set()
    for model, overrides in _members(operation.get("models"), f"{where}.models", faults).items():
        if overrides is False:
            refused.add(model)
            continue
        at = f"{where}.models.{model}"
        models[model] = dict(base)
        for name, override in _members(overrides, at, faults).items():
            if name not in specs:
                faults.append(Fault(f"{at}.{name}", "is no field of this door"))
            elif override is False:
                models[model][name] = None
            elif isinstance(spec := specs[name], dict):
                merged = {**spec, **_members(override, f"{at}.{name}", faults)}
                models[model][name] = _rule(merged, f"{at}.{name}", faults)
    default = _word(operation.get("default_model"), f"{where}.default_model", faults)
    if default not in models:
        faults.append(Fault(f"{where}.default_model", "must be one of models"))
    return OperationRules(
        default_model=default,
        fields={name: rule for name, rule in base.items() if rule is not None},
        models=models,
        refused_models=frozenset(refused),
        at_least_one=_groups(operation.get("at_least_one", []), f"{where}.at_least_one", faults),
        exclusive=_groups(operation.get("exclusive", []), f"{where}.exclusive", faults),
    )


def _rule(written: object, where: str, faults: list[Fault]) -> Rule | None:
    """Return the rule that a field's JSON says, or None after adding what is wrong with it to `faults`."""
    spec = _members(written, where, faults)
    kind = RULES.get(str(spec.get("takes")))
    if kind is None:
        faults.append(Fault(f"{where}.takes", f"must be one of {', '.join(RULES)}"))
        return None
    known = {field.name: field for field in fields(kind)}
    before = len(faults)
    settings: dict[str, Any] = {}
    for name, value in spec.items():
        if name == "takes":
            continue
        if name not in known or name not in _READERS:
            faults.append(Fault(f"{where}.{name}", f"means nothing for {spec['takes']}"))
        elif (read_value := _READERS[name](value)) is None and value is not None:
            faults.append(Fault(f"{where}.{name}", "has a value of the wrong kind"))
        else:
            settings[name] = read_value
    if len(faults) > before:
        return None
    try:
        rule = kind(**settings)
    except TypeError:
        faults.append(Fault(where, f"must say {', '.join(n for n in known if n not in settings)}"))
        return None
    if isinstance(rule, Choice) and rule.default is not None and rule.default not in rule.of:
        faults.append(Fault(f"{where}.default", "must be one of the choices"))
    if isinstance(rule, Number) and rule.low > rule.high:
        faults.append(Fault(where, "has low above high"))
    return rule


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _strings(value: object) -> tuple[str, ...] | None:
    good = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
    return tuple(cast("list[str]", value)) if good else None


def _circumstances(value: object) -> tuple[dict[str, str], ...] | None:
    good = isinstance(value, list) and all(
        isinstance(item, dict) and all(isinstance(wanted, str) for wanted in item.values()) for item in value
    )
    return tuple(cast("list[dict[str, str]]", value)) if good else None


_READERS: dict[str, Callable[[object], object]] = {
    "required": lambda value: value if isinstance(value, bool) else None,
    "whole": lambda value: value if isinstance(value, bool) else None,
    "max_length": lambda value: value if _is_number(value) else None,
    "max_bytes": lambda value: value if _is_number(value) else None,
    "min_side": lambda value: value if _is_number(value) else None,
    "max_ratio": lambda value: value if _is_number(value) else None,
    "low": lambda value: value if _is_number(value) else None,
    "high": lambda value: value if _is_number(value) else None,
    "span": lambda value: value if _is_number(value) else None,
    "default": lambda value: value if _is_number(value) or isinstance(value, str) else None,
    "of": _strings,
    "types": _strings,
    "axes": _strings,
    "only": _circumstances,
}


def _members(value: object, where: str, faults: list[Fault]) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    faults.append(Fault(where, "must be an object"))
    return {}


def _optional(book: dict[str, Any], name: str, faults: list[Fault]) -> dict[str, Any]:
    return _members(book.get(name, {}), name, faults)


def _word(value: object, where: str, faults: list[Fault]) -> str:
    if isinstance(value, str) and value:
        return value
    faults.append(Fault(where, "must be text"))
    return ""


def _words(value: object, where: str, faults: list[Fault]) -> tuple[str, ...]:
    words = _strings(value)
    if words is None:
        faults.append(Fault(where, "must be a list of texts"))
    return words or ()


def _groups(value: object, where: str, faults: list[Fault]) -> tuple[tuple[str, ...], ...]:
    if isinstance(value, list):
        return tuple(_words(group, where, faults) for group in value)
    faults.append(Fault(where, "must be a list of lists of fields"))
    return ()
