"""Rule books are JSON files. A model's entry overrides the rules of fields (`{...}`) or refuses a field (`false`)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, StrictBool, StrictInt, StrictStr, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from kling_relay.core.errors import ConfigurationError, Fault
from kling_relay.core.rule import Camera, Choice, Number, Picture, Rule, Text
from kling_relay.core.rulebook import OperationRules, Rulebook
from kling_relay.provider.data_file import FileModel, load_json, members, parse

RULEBOOKS = Path(__file__).parent / "rulebooks"
"""The books that are shipped, one file each."""


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic reads ValueError alone
    return value


Name = Annotated[StrictStr, Field(min_length=1)]
Names = Annotated[tuple[StrictStr, ...], Field(min_length=1)]
OperationPath = Annotated[
    StrictStr, Field(pattern=r"^[a-z0-9]+(?:[-_.][a-z0-9]+)*(?:/[a-z0-9]+(?:[-_.][a-z0-9]+)*){1,3}$")
]
Positive = Annotated[StrictInt, Field(gt=0)]
AnyNumber = Annotated[float, PlainValidator(_number)]


class TextFile(FileModel):
    """A rule for text, as written in a file."""

    type: Literal["text"]
    max_length: Positive
    required: StrictBool = False
    default: None = None

    def rule(self) -> Rule:
        return Text(max_length=self.max_length, required=self.required)


class NumberFile(FileModel):
    """A rule for a number, as written in a file."""

    type: Literal["number"]
    low: AnyNumber
    high: AnyNumber
    whole: StrictBool = False
    required: StrictBool = False
    default: AnyNumber | None = None

    @field_validator("high")
    @classmethod
    def _check_range(cls, high: float, info: ValidationInfo) -> float:
        if high < info.data.get("low", high):
            raise ValueError("must not be below low")
        return high

    def rule(self) -> Rule:
        return Number(low=self.low, high=self.high, whole=self.whole, required=self.required, default=self.default)


class ChoiceFile(FileModel):
    """A rule for one of several words, as written in a file."""

    type: Literal["choice"]
    values: Names
    required: StrictBool = False
    default: StrictStr | None = None

    @field_validator("default")
    @classmethod
    def _check_default(cls, default: str | None, info: ValidationInfo) -> str | None:
        if default is not None and default not in info.data.get("values", [default]):
            raise ValueError("must be one of the choices")
        return default

    def rule(self) -> Rule:
        return Choice(values=self.values, required=self.required, default=self.default)


class PictureFile(FileModel):
    """A rule for an image, as written in a file."""

    type: Literal["picture"]
    max_bytes: Positive
    min_side: Positive | None = None
    max_ratio: AnyNumber | None = None
    required: StrictBool = False
    default: None = None

    def rule(self) -> Rule:
        return Picture(
            max_bytes=self.max_bytes, min_side=self.min_side, max_ratio=self.max_ratio, required=self.required
        )


class CameraFile(FileModel):
    """A rule for camera control, as written in a file."""

    type: Literal["camera"]
    types: Names
    axes: Names
    span: AnyNumber
    only: tuple[dict[str, StrictStr], ...] = ()
    required: StrictBool = False
    default: None = None

    def rule(self) -> Rule:
        return Camera(types=self.types, axes=self.axes, span=self.span, only=self.only, required=self.required)


RuleFile = TextFile | NumberFile | ChoiceFile | PictureFile | CameraFile
_RULE_FILES: dict[object, type[RuleFile]] = {
    Text.type: TextFile,
    Number.type: NumberFile,
    Choice.type: ChoiceFile,
    Picture.type: PictureFile,
    Camera.type: CameraFile,
}


def _rule(value: object) -> Rule:
    """Return the rule in `value`, by its `type`."""
    name = value.get("type") if isinstance(value, dict) else None
    model = _RULE_FILES.get(name) if isinstance(name, str) else None
    if model is None:
        fault = PydanticCustomError("type", f"must be one of {', '.join(map(str, _RULE_FILES))}")
        raise ValidationError.from_exception_data(
            "rule", [InitErrorDetails(type=fault, loc=("type",), input=name)], hide_input=True
        )
    return model.model_validate(value).rule()


class OperationFile(FileModel):
    """One operation, as written in a file; `slots` names the field with the number of slots that a task holds."""

    makes: Literal["images", "videos"]
    fields: dict[str, Annotated[Rule, PlainValidator(_rule)]]
    models: dict[str, object]
    """Overrides by model; `read_rulebook` checks them against `fields`."""
    slots: StrictStr | None = None
    default_model: Name
    at_least_one: tuple[Names, ...] = ()
    exclusive: tuple[Names, ...] = ()

    @field_validator("slots")
    @classmethod
    def _check_slots(cls, slots: str | None, info: ValidationInfo) -> str | None:
        rule = info.data.get("fields", {}).get(slots)
        if (
            slots is not None
            and "fields" in info.data
            and not (isinstance(rule, Number) and rule.whole and rule.low > 0)
        ):
            raise ValueError("must be a field with a whole number above 0")
        return slots

    @field_validator("default_model")
    @classmethod
    def _check_default(cls, default: str, info: ValidationInfo) -> str:
        if info.data.get("models", {default: {}}).get(default, False) is False:
            raise ValueError("must be one of models")
        return default


class RulebookFile(FileModel):
    """A rule book, as written in a file."""

    name: Name
    version: Name
    source: Name
    aliases: dict[str, Name] = Field(default_factory=dict)
    hooks: Names
    unknown_members: Literal["forward", "drop", "refuse"] = "forward"
    operations: Annotated[dict[OperationPath, OperationFile], Field(min_length=1)]


def load_rulebook(name_or_path: str | Path) -> Rulebook:
    """Return the rule book of that name, or the one in that file. Raises ConfigurationError with every fault."""
    return read_rulebook(*load_json(name_or_path, RULEBOOKS))


def read_rulebook(data: object, where: str) -> Rulebook:
    """Return the rule book in a file's JSON. Raises ConfigurationError with `where` and every fault."""
    faults: list[Fault] = []
    file = parse(RulebookFile.model_validate, data, faults)
    # Overrides are read from the JSON itself, so that their faults are reported beside those of the rest.
    operations = members(data, "operations")
    models = {
        operation: _models(members(operations, operation), f"operations.{operation}", faults)
        for operation in operations
    }
    if file is None or faults:
        raise ConfigurationError(where, faults)
    return Rulebook(
        name=file.name,
        version=file.version,
        source=file.source,
        aliases=file.aliases,
        hooks=file.hooks,
        unknown_members=file.unknown_members,
        operations={path: _operation(operation, models[path]) for path, operation in file.operations.items()},
    )


def _operation(file: OperationFile, models: dict[str, dict[str, Rule | None]]) -> OperationRules:
    return OperationRules(
        makes=file.makes,
        slots=file.slots,
        default_model=file.default_model,
        fields=file.fields,
        models={model: {**file.fields, **overrides} for model, overrides in models.items()},
        refused_models=frozenset(model for model, overrides in file.models.items() if overrides is False),
        at_least_one=file.at_least_one,
        exclusive=file.exclusive,
    )


def _models(operation: dict[str, object], path: str, faults: list[Fault]) -> dict[str, dict[str, Rule | None]]:
    """Return what each accepted model overrides; None is a field that it refuses."""
    rules = members(operation, "fields")
    models: dict[str, dict[str, Rule | None]] = {}
    for model, overrides in members(operation, "models").items():
        if isinstance(overrides, dict):
            models[model] = _overrides(rules, overrides, f"{path}.models.{model}", faults)
        elif overrides is not False:
            faults.append(Fault(f"{path}.models.{model}", "must be an object or false"))
    return models


def _overrides(
    rules: dict[str, object], overrides: dict[str, object], path: str, faults: list[Fault]
) -> dict[str, Rule | None]:
    """Return the overridden rules. A field whose own rule is wrong is left out: that fault is reported already."""
    overridden: dict[str, Rule | None] = {}
    for name, override in overrides.items():
        rule = rules.get(name)
        if name not in rules:
            faults.append(Fault(f"{path}.{name}", "is not a field of this operation"))
        elif override is False:
            overridden[name] = None
        elif not isinstance(override, dict):
            faults.append(Fault(f"{path}.{name}", "must be an object or false"))
        elif isinstance(rule, dict) and parse(_rule, rule, []) is not None:
            overridden[name] = parse(_rule, {**rule, **override}, faults, path=f"{path}.{name}")
    return overridden
