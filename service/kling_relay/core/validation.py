"""Checks one value against one rule and puts it into the form that the provider gets."""

import re
from typing import Any, assert_never
from urllib.parse import urlsplit

from kling_relay.core.errors import Fault, InvalidOrder
from kling_relay.core.image import HEAD, Base64Image, ImageFacts, format_of_text, other_format, read_base64
from kling_relay.core.json_limits import printable
from kling_relay.core.rule import Camera, Choice, Number, Picture, Rule, Text

MAX_URL = 2048
MAX_PICTURE_URL = 8192
"""Presigned URLs of images carry long signatures."""
SIMPLE = "simple"
"""The only type of camera control that takes a config."""

_NO_PICTURE = "is neither an http(s) URL nor Base64"
_NUMBER = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_EXACT = 2**53
"""Floats from here on have no fraction, so they are not converted to int."""


def validate(rule: Rule, value: object, name: str) -> Any:
    """Return `value` as the provider gets it. Raises InvalidOrder if the rule does not allow it."""
    match rule:
        case Text():
            return _text(rule, value, name)
        case Number():
            return _number(rule, value, name)
        case Choice():
            return _choice(rule, value, name)
        case Picture():
            return _picture(rule, value, name)
        case Camera():
            return _camera(rule, value, name)
    assert_never(rule)


def url_fault(text: str, max_length: int = MAX_URL) -> str | None:
    """Return why `text` is not an http(s) URL of reasonable length, or None. Its destination is not checked here."""
    if len(text) > max_length:
        return f"is longer than {max_length} characters"
    if not text.isprintable() or " " in text:
        return "contains spaces or control characters"
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_valid = False
    return None if is_valid else "is not an http or https URL"


def _refuse(name: str, detail: str) -> InvalidOrder:
    return InvalidOrder([Fault(name, detail)])


def _text(rule: Text, value: object, name: str) -> str:
    if not isinstance(value, str):
        raise _refuse(name, "must be text")
    if len(value) > rule.max_length:
        raise _refuse(name, f"must have at most {rule.max_length} characters, but has {len(value)}")
    if rule.required and not value.strip():
        raise _refuse(name, "must not be blank")
    return value


def number(value: object) -> int | float | None:
    """Return a JSON number, or text that spells one, as an int if it is whole. Returns None for anything else."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if abs(value) < _EXACT and value == int(value) else value


def _number(rule: Number, value: object, name: str) -> int | float:
    amount = number(value)
    low, high = rule.low, rule.high
    if amount is None or (rule.whole and not isinstance(amount, int)):
        raise _refuse(name, f"must be a {'whole ' if rule.whole else ''}number in [{low}, {high}]")
    if not low <= amount <= high:
        raise _refuse(name, f"must be in [{low}, {high}], but is {amount}")
    return amount


def _choice(rule: Choice, value: object, name: str) -> str:
    word = value.strip() if isinstance(value, str) else str(number(value))
    if word not in rule.values and isinstance(value, str):
        word = str(number(value)) if number(value) is not None else word
    if word not in rule.values:
        actual = f", but is {printable(word)}" if isinstance(value, str | int | float) else ""
        raise _refuse(name, f"must be one of {', '.join(rule.values)}{actual}")
    return word


def _picture(rule: Picture, value: object, name: str) -> str:
    if not isinstance(value, str):
        raise _refuse(name, "must be an image URL or Base64 text")
    if "://" in value[:16]:
        if fault := url_fault(value, MAX_PICTURE_URL):
            raise _refuse(name, fault)
        return value
    image = read_base64(value)
    if image is None:
        other = format_of_text(value)
        raise _refuse(name, f"must be jpg or png in Base64, but is {other}" if other else _NO_PICTURE)
    faults = [Fault(name, detail) for detail in _picture_faults(rule, image)]
    if faults:
        raise InvalidOrder(faults)
    return image.text


def _picture_faults(rule: Picture, image: Base64Image) -> list[str]:
    faults = []
    if image.size > rule.max_bytes:
        faults.append(f"must be at most {rule.max_bytes / 2**20:g} MB, but is {image.size / 2**20:.1f} MB")
    if image.facts is None:
        foreign = other_format(image.read(0, HEAD))
        faults.append(f"must be jpg or png, but is {foreign}" if foreign else "is not a readable jpg or png")
    else:
        faults += _side_faults(rule, image.facts)
    return faults


def _side_faults(rule: Picture, facts: ImageFacts) -> list[str]:
    short, long = sorted((facts.width, facts.height))
    faults = []
    if rule.min_side is not None and short < rule.min_side:
        faults.append(f"must be at least {rule.min_side} px on each side, but is {facts.width}x{facts.height}")
    if rule.max_ratio is not None and long > short * rule.max_ratio:
        bounds = f"between 1:{rule.max_ratio} and {rule.max_ratio}:1"
        faults.append(f"must have an aspect ratio {bounds}, but is {facts.width}x{facts.height}")
    return faults


def _camera(rule: Camera, value: object, name: str) -> dict[str, Any] | None:
    """Return the control without its unset members, or None if all are unset; then the provider chooses."""
    if not isinstance(value, dict):
        raise _refuse(name, "must be an object")
    control = {member: item for member, item in value.items() if item not in (None, "", {})}
    if not control:
        return None
    kind = control.setdefault("type", SIMPLE)
    if kind not in rule.types:
        raise _refuse(f"{name}.type", f"must be one of {', '.join(rule.types)}")
    config = control.pop("config", {})
    if not isinstance(config, dict):
        raise _refuse(f"{name}.config", "must be an object")
    moves, faults = _moves(rule, config, f"{name}.config")
    if not faults and kind == SIMPLE and len(moves) != 1:
        faults.append(Fault(f"{name}.config", f"must have exactly one of {', '.join(rule.axes)} that is not 0"))
    if not faults and kind != SIMPLE and moves:
        faults.append(Fault(f"{name}.config", f"must be empty for type {kind}"))
    if faults:
        raise InvalidOrder(faults)
    return {**control, "config": moves} if moves else control


def _moves(rule: Camera, config: dict[str, Any], name: str) -> tuple[dict[str, int | float], list[Fault]]:
    """Return the axes that move (0, null and "" do not), and every fault."""
    moves: dict[str, int | float] = {}
    faults = []
    for axis, value in config.items():
        if value in (None, ""):
            continue
        amount = number(value)
        if axis not in rule.axes:
            axes = ", ".join(rule.axes)
            faults.append(Fault(f"{name}.{printable(axis)}", f"is not a known axis; the axes are {axes}"))
        elif amount is None or abs(amount) > rule.span:
            faults.append(Fault(f"{name}.{axis}", f"must be a number in [-{rule.span:g}, {rule.span:g}]"))
        elif amount:
            moves[axis] = amount
    return moves, faults
