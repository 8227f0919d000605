"""The settings as a table, for `kling-relay settings` and docs/settings.md."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from kling_relay.settings.groups import GROUPS, SettingsGroup
from kling_relay.settings.units import Unset


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One setting: its environment variable, its default in words, and its meaning.

    `value` is its present value, or None if it is not set or was not requested. Secrets are masked.
    """

    group: str
    name: str
    default: str
    meaning: str
    is_secret: bool
    value: str | None


def describe(settings: BaseModel | None = None) -> list[Row]:
    """Return a row for each setting, in the order of the groups; with `settings`, also the values."""
    now = settings.model_dump() if settings else {}
    return [
        Row(
            group=group.__doc__ or "",
            name=f"RELAY_{name.upper()}",
            default=_default(group, name, field),
            meaning=" ".join((field.description or "").split()),
            is_secret=holds_secret(field),
            value=_display(now.get(name), field),
        )
        for group in GROUPS
        for name, field in group.model_fields.items()
    ]


def holds_secret(field: FieldInfo) -> bool:
    """Return whether a field's value is secret."""
    return "SecretStr" in repr(field.annotation)


def _display(value: Any, field: FieldInfo) -> str | None:
    if value is None or value == "":
        return None
    return "********" if holds_secret(field) else _text(value)


def _default(group: type[SettingsGroup], name: str, field: FieldInfo) -> str:
    for mark in field.metadata:
        if isinstance(mark, Unset):
            return mark.means
    return _text(group.model_construct().model_dump()[name])


def _text(value: Any) -> str:
    match value:
        case bool():
            return "1" if value else "0"
        case SecretStr():
            return "********"
        case _:
            return str(value)
