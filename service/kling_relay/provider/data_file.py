"""Reads the JSON files that describe a provider. A wrong file is reported with all its faults at once."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from kling_relay.core.errors import ConfigurationError, Fault
from kling_relay.core.suggestion import did_you_mean

Value = TypeVar("Value")


class FileModel(BaseModel):
    """A part of a file: every member is known, and nothing is changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def load_json(name_or_path: str | Path, shipped: Path) -> tuple[object, str]:
    """Return the JSON of `name_or_path` and its path: a name in the folder `shipped`, or else a path.

    Raises ConfigurationError if the file cannot be read as JSON.
    """
    named = shipped / f"{name_or_path}.json"
    path = named if named.is_file() else Path(name_or_path)
    if not path.exists():
        names = sorted(file.stem for file in shipped.glob("*.json"))
        reason = f"does not exist, and is not one of {', '.join(names)}{did_you_mean(str(name_or_path), names)}"
        raise ConfigurationError(str(path), [Fault("file", reason.rstrip("."))])
    try:
        return json.loads(path.read_text(encoding="utf-8")), str(path)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(str(path), [Fault("file", f"cannot be read as JSON: {error}")]) from error


def parse(read: Callable[[object], Value], data: object, faults: list[Fault], *, path: str = "") -> Value | None:
    """Return what `read` makes of `data`, or None after adding every fault to `faults`, with paths below `path`."""
    try:
        return read(data)
    except ValidationError as error:
        faults += _faults(error, path)
        return None


def members(data: object, name: str) -> dict[str, object]:
    """Return the object `name` inside `data`, or an empty object if it is missing."""
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def _faults(error: ValidationError, path: str) -> Iterator[Fault]:
    for details in error.errors(include_url=False, include_input=False):
        yield Fault(_path(path, details["loc"]), _sentence(details))


def _path(path: str, location: tuple[int | str, ...]) -> str:
    """Return a location as a path such as `rules[0].times.n`."""
    for part in location:
        if part != "[key]":  # pydantic's mark for a fault in a member's name
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or "file"


_SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "none_required": "must be null",
    "string_pattern_mismatch": "must be a path of small letters, such as videos/lip-sync",
}


def _sentence(details: ErrorDetails) -> str:
    if details["type"] == "value_error":
        return str(details["ctx"]["error"])
    return _SENTENCES.get(details["type"], details["msg"].replace("Input should be", "must be").replace("'", ""))
