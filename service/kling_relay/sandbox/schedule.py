"""What will become of one order: the words of its prompt first, then the dice of the temper.

A plan is made once, when the order arrives; what is thrown per callback or per poll is thrown where it is sent.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum, StrEnum

from kling_relay.sandbox.profile import Chance, Temper


class Fate(StrEnum):
    """How a task ends."""

    SUCCEED = "succeed"
    FAILED = "failed"
    MODERATED = "moderated"
    FOREVER = "forever"


class Fault(Enum):
    """How a request goes wrong on the wire."""

    CODE = "code"
    HTML = "html"
    BARE_429 = "bare 429"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault of an answer; `times` of None is always, else so often for the same order, then never again."""

    fault: Fault
    code: int = 0
    accepted: bool = False
    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one order will meet; the default is an honest provider. Times are seconds."""

    takes: float | None = None
    fate: Fate = Fate.SUCCEED
    reason: str = ""
    charge: Decimal | None = None
    slow: float = 0.0
    overtake: bool = False
    troubles: tuple[Trouble, ...] = ()
    polls: tuple[Trouble, ...] = ()
    lose: frozenset[str] = frozenset()
    copies: int = 1
    reorder: bool = False
    delay: float = 0.0
    contradict: bool = False
    foreign_id: bool = False
    style: str | None = None
    garbage: bool = False
    huge: bool = False
    unsigned: bool = False
    forged: bool = False


NOTHING = Plan()
"""The plan of a prompt without words."""


def happens(probability: float, chance: Chance) -> bool:
    """Throw the dice, but only where a share was asked for: an honest sandbox throws none."""
    return probability > 0 and chance.random() < probability


def throw(plan: Plan, temper: Temper, chance: Chance) -> Plan:
    """Return `plan` with the temper's dice thrown where the words left it open."""
    fate = _fate(temper, chance) if plan.fate is Fate.SUCCEED and not plan.contradict else plan.fate
    slow = chance.uniform(*temper.slow_seconds) if not plan.slow and happens(temper.slow, chance) else plan.slow
    troubles = plan.troubles or _troubles(temper, chance)
    contradict = plan.contradict or happens(temper.contradiction, chance)
    if (fate, slow, troubles, contradict) == (plan.fate, plan.slow, plan.troubles, plan.contradict):
        return plan
    return replace(plan, fate=fate, slow=slow, troubles=troubles, contradict=contradict)


def _fate(temper: Temper, chance: Chance) -> Fate:
    if happens(temper.failure, chance):
        return Fate.FAILED
    if happens(temper.moderation, chance):
        return Fate.MODERATED
    return Fate.FOREVER if happens(temper.forever, chance) else Fate.SUCCEED


def _troubles(temper: Temper, chance: Chance) -> tuple[Trouble, ...]:
    """Return the one trouble that the dice brought, or none."""
    for code, probability in temper.refusals:
        if happens(probability, chance):
            return (Trouble(Fault.CODE, code),)
    for probability, fault, accepted in (
        (temper.html_502, Fault.HTML, False),
        (temper.html_502_after_accept, Fault.HTML, True),
        (temper.reset, Fault.RESET, False),
        (temper.reset_after_accept, Fault.RESET, True),
        (temper.timeout_after_accept, Fault.HANG, True),
    ):
        if happens(probability, chance):
            return (Trouble(fault, accepted=accepted),)
    return ()
