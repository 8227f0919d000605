"""An order is a client's request in canonical form, checked against a rule book, with every fault reported at once.

Canonical means: defaults are written out and clients' spellings are normalised. The fields are exactly what the
provider gets, except for the hook and the external id.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kling_relay.core.errors import Fault, InvalidOrder
from kling_relay.core.image import read_base64
from kling_relay.core.json_limits import find_fault, printable
from kling_relay.core.operation import kind_of, operation_of
from kling_relay.core.rule import Camera, Rule
from kling_relay.core.rulebook import OperationRules, Rulebook
from kling_relay.core.validation import url_fault, validate

MAX_EXTERNAL_ID = 128
_LONG = 4096
"""Longer text is treated as a Base64 image, not as a prompt, in any member."""
MODEL_NAME = "^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$"
_MODEL_NAME = re.compile(MODEL_NAME)
_CAMERA_MEMBERS = frozenset({"type", "config"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A valid order. `fields` is what the provider gets; `hook` is the client's http(s) URL.

    `unknown_fields` are the members of the client's order that the rule book does not know. `makes` is what the order
    is for, and `units` the number of the provider's slots that its task holds until it is final.
    """

    kind: str
    makes: str
    units: int
    fields: dict[str, Any]
    external_task_id: str | None
    hook: str | None
    unknown_fields: tuple[str, ...] = ()

    @property
    def operation(self) -> str:
        return operation_of(self.kind)

    @property
    def model(self) -> str:
        return str(self.fields["model_name"])

    @property
    def mode(self) -> str | None:
        """std, pro or 4k; None for models and operations without modes."""
        return self.text_of("mode")

    @property
    def duration(self) -> str | None:
        """Seconds, as Kling writes them; None for operations without a duration."""
        return self.text_of("duration")

    def text_of(self, name: str) -> str | None:
        """Return the value of a field as text; None if it is unset, unknown to the rule book, or not one value."""
        value = self.fields.get(name)
        if name in self.unknown_fields or not isinstance(value, str | int | float):
            return None
        return value if isinstance(value, str) else str(value)

    def to_json(self) -> dict[str, Any]:
        """Return the fields for display: a Base64 image is replaced by a description, a URL is kept."""
        return {name: _describe(value, always=name in {"image", "image_tail"}) for name, value in self.fields.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedOrder:
    """An order whose images are in `payload` alone, the JSON for the provider; its own fields describe them.

    `fingerprint` is empty if the order cannot be repeated.
    """

    order: Order
    payload: bytes
    fingerprint: bytes


def pack(order: Order, to_payload: Callable[[Mapping[str, Any]], bytes], *, is_repeatable: bool) -> PackedOrder:
    """Return the order as it is recorded and sent. `to_payload` makes the provider's JSON of its fields."""
    return PackedOrder(
        order=replace(order, fields=order.to_json()),
        payload=to_payload(order.fields),
        fingerprint=fingerprint(order) if is_repeatable else b"",
    )


def check(operation: str, body: object, rulebook: Rulebook) -> Order:
    """Return the order in `body` (any JSON value) for `operation`. Raises InvalidOrder with every fault.

    `null` and "" mean unset. The rule book's `unknown_members` decides about members that it does not list.
    """
    if not isinstance(body, dict):
        raise InvalidOrder([Fault("body", "must be a JSON object")])
    faults: list[Fault] = []
    members, refused_names = _set_members(body, rulebook, faults)
    hook = _hook(members, rulebook.hooks, faults)
    external_task_id = _external_id(members.pop("external_task_id", None), faults)
    fields = _fields(operation, rulebook, members, refused_names, faults)
    if faults:
        raise InvalidOrder(faults)
    rules = rulebook.operations[operation]
    return Order(
        kind=kind_of(operation, has_image="image" in fields),
        makes=rules.makes,
        units=int(fields.get(rules.slots, 1)) if rules.slots else 1,
        fields=fields,
        external_task_id=external_task_id,
        hook=hook,
        unknown_fields=unknown_fields(rules, {**members, **fields}),
    )


def unknown_fields(rules: OperationRules, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names among `fields` that the rules do not know; one inside camera_control has its path in front."""
    unknown = []
    for name, value in fields.items():
        rule = rules.fields.get(name)
        if rule is None:
            if name != "model_name":
                unknown.append(name)
        elif isinstance(rule, Camera) and isinstance(value, dict):
            unknown += [f"{name}.{member}" for member in value if member not in _CAMERA_MEMBERS]
    return tuple(unknown)


def fingerprint(order: Order) -> bytes:
    """Return a 32-byte digest, equal exactly if two orders ask for the same thing.

    Takes about 20 ms for 20 MB of images.
    """
    content = [order.kind, _digest(order.fields), order.external_task_id, order.hook]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).digest()


def _set_members(body: dict[Any, Any], rulebook: Rulebook, faults: list[Fault]) -> tuple[dict[str, Any], set[str]]:
    """Return the members that are set, under their canonical names, and the names of those that must be refused."""
    members: dict[str, Any] = {}
    refused_names: set[str] = set()
    for name, value in body.items():
        if not isinstance(name, str):
            faults.append(Fault("body", "has a member whose name is not text"))
        elif fault := find_fault(name, value):
            faults.append(fault)
            refused_names.add(rulebook.aliases.get(name, name))
        elif value is not None and value != "":
            members[name] = value
    for alias, name in rulebook.aliases.items():
        if alias in members:
            value = members.pop(alias)
            if members.setdefault(name, value) != value:
                faults.append(Fault(alias, f"contradicts {name}"))
    return members, refused_names


def _hook(members: dict[str, Any], spellings: tuple[str, ...], faults: list[Fault]) -> str | None:
    hooks = {spelling: members.pop(spelling) for spelling in spellings if spelling in members}
    valid: dict[str, str] = {}
    for spelling, hook in hooks.items():
        if not isinstance(hook, str):
            faults.append(Fault(spelling, "must be text"))
        elif fault := url_fault(hook):
            faults.append(Fault(spelling, fault))
        else:
            valid[spelling] = hook
    if len(set(valid.values())) > 1:
        faults.append(Fault(" and ".join(valid), "contradict one another"))
    return next(iter(valid.values()), None)


def _external_id(value: object, faults: list[Fault]) -> str | None:
    """Return the client's own name for the task. A number becomes its digits."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        faults.append(Fault("external_task_id", "must be text"))
    elif len(value) > MAX_EXTERNAL_ID:
        faults.append(Fault("external_task_id", f"must have at most {MAX_EXTERNAL_ID} characters"))
    elif not value.isprintable() or not value.strip():
        faults.append(Fault("external_task_id", "must be printable characters"))
    else:
        return value
    return None


def _fields(
    operation: str, rulebook: Rulebook, members: dict[str, Any], refused_names: set[str], faults: list[Fault]
) -> dict[str, Any]:
    rules = rulebook.operations[operation]
    model = members.pop("model_name", rules.default_model)
    model_rules = _rules_of_model(rules, model, faults) if "model_name" not in refused_names else rules.fields
    fields: dict[str, Any] = {"model_name": model}
    faulty_names = set(refused_names)
    for name, rule in model_rules.items():
        if name not in members and rule is not None and not rule.required:  # the common case
            if rule.default is not None:
                fields[name] = rule.default
            continue
        fault_count = len(faults)
        value = _field(name, rule or rules.fields[name], members, refused_names, faults)
        if value is not None and rule is None:
            if value != rules.fields[name].default:  # real clients send the default to every model
                faults.append(Fault(name, f"is not supported by {model}"))
        elif value is not None:
            fields[name] = value
        elif rule is not None and rule.default is not None:
            fields[name] = rule.default
        if len(faults) > fault_count:
            faulty_names.add(name)
    unknown = {name: value for name, value in members.items() if name not in rules.fields}
    _check_combinations(rules, {**unknown, **fields}, model_rules, faulty_names, faults)
    if rulebook.unknown_members == "refuse":
        faults += [Fault(printable(name), "is not known here") for name in unknown]
    return {**fields, **unknown} if rulebook.unknown_members == "forward" else fields


def _rules_of_model(rules: OperationRules, model: object, faults: list[Fault]) -> Mapping[str, Rule | None]:
    """Return the rules of `model`, or else the operation's, so that the other faults are reported too."""
    if not isinstance(model, str) or not _MODEL_NAME.fullmatch(model):
        faults.append(Fault("model_name", "must be the name of a model"))
    elif (model_rules := rules.rules_for(model)) is not None:
        return model_rules
    else:
        faults.append(Fault("model_name", f"must be one of {', '.join(rules.known_models)}, but is {model}"))
    return rules.fields


def _field(name: str, rule: Rule, members: dict[str, Any], refused_names: set[str], faults: list[Fault]) -> Any:
    """Return the canonical value of a field, or None if it is unset or wrong."""
    if name not in members:
        if rule.required and name not in refused_names:
            faults.append(Fault(name, "is required"))
        return None
    try:
        return validate(rule, members[name], name)
    except InvalidOrder as refusal:
        faults += refusal.faults
        return None


def _check_combinations(
    rules: OperationRules,
    fields: dict[str, Any],
    model_rules: Mapping[str, Rule | None],
    faulty_names: set[str],
    faults: list[Fault],
) -> None:
    """Add the faults of combinations, except for fields that are already reported as wrong."""
    faults += [
        Fault(" or ".join(group), "is required")
        for group in rules.at_least_one
        if not any(name in fields or name in faulty_names for name in group)
    ]
    present = [[name for name in group if name in fields] for group in rules.exclusive]
    if sum(map(bool, present)) > 1:
        faults.append(Fault(" and ".join(name for group in present for name in group), "exclude one another"))
    for name, rule in model_rules.items():
        if isinstance(rule, Camera) and name in fields and rule.only:
            matching = [
                case for case in rule.only if all(k in faulty_names or fields.get(k) == v for k, v in case.items())
            ]
            if not matching:
                cases = " or ".join(" and ".join(f"{k} {v}" for k, v in case.items()) for case in rule.only)
                faults.append(Fault(name, f"is supported only with {cases}"))


def _describe(value: Any, *, always: bool = False) -> Any:
    match value:
        case str() if (always or len(value) > _LONG) and "://" not in value[:16]:
            image = read_base64(value)
            if image is None:
                return f"text of {len(value)} characters"
            facts = image.facts
            sides = f"{facts.format} {facts.width}x{facts.height}, " if facts else ""
            return f"Base64 image, {sides}{image.size / 2**20:.2f} MB"
        case dict():
            return {name: _describe(item) for name, item in value.items()}
        case list():
            return [_describe(item) for item in value]
        case _:
            return value


def _digest(value: Any) -> Any:
    """Return `value` with its digest in place of every long text, so that long texts are not copied and escaped."""
    match value:
        case str() if len(value) > _LONG:
            return {"sha256": hashlib.sha256(value.encode()).hexdigest()}
        case dict():
            return {name: _digest(item) for name, item in value.items()}
        case list():
            return [_digest(item) for item in value]
        case _:
            return value
