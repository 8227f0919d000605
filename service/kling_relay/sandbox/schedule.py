"""What will happen to one order: the directives in its prompt decide first, then the shares of the profile.

A schedule is made once, when the order arrives. Shares of callbacks and polls are drawn when each of them is sent.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum, StrEnum

from kling_relay.sandbox.profile import Profile, RandomSource


class Ending(StrEnum):
    """How a task ends."""

    SUCCEED = "succeed"
    FAILED = "failed"
    MODERATED = "moderated"
    NEVER = "never"


class FaultKind(Enum):
    """How a request goes wrong on the wire."""

    CODE = "code"
    HTML = "html"
    BARE_429 = "bare 429"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class Fault:
    """A faulty answer. It happens `times` times for the same order, or always if `times` is None."""

    kind: FaultKind
    code: int = 0
    accepted: bool = False
    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSchedule:
    """What will happen to one order, in seconds; the default is a well-behaved provider."""

    takes: float | None = None
    ending: Ending = Ending.SUCCEED
    reason: str = ""
    charge: Decimal | None = None
    slow: float = 0.0
    overtake: bool = False
    submit_faults: tuple[Fault, ...] = ()
    poll_faults: tuple[Fault, ...] = ()
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
    no_url: bool = False
    no_url_polls: int | None = None
    late_url: float | None = None


DEFAULT = TaskSchedule()
"""The schedule of a prompt without directives."""


def happens(probability: float, rng: RandomSource) -> bool:
    """Return True with this probability. A probability of 0 draws no number, so that a seeded run stays the same."""
    return probability > 0 and rng.random() < probability


def randomize(schedule: TaskSchedule, profile: Profile, rng: RandomSource) -> TaskSchedule:
    """Return `schedule` with what its directives left open drawn from the shares of `profile`."""
    ending = schedule.ending
    if ending is Ending.SUCCEED and not schedule.contradict:
        ending = _draw_ending(profile, rng)
    slow = schedule.slow
    if not slow and happens(profile.slow, rng):
        slow = rng.uniform(*profile.slow_seconds)
    faults = schedule.submit_faults or _draw_submit_fault(profile, rng)
    contradict = schedule.contradict or happens(profile.contradiction, rng)
    before = (schedule.ending, schedule.slow, schedule.submit_faults, schedule.contradict)
    if (ending, slow, faults, contradict) == before:
        return schedule
    return replace(schedule, ending=ending, slow=slow, submit_faults=faults, contradict=contradict)


def _draw_ending(profile: Profile, rng: RandomSource) -> Ending:
    if happens(profile.failure, rng):
        return Ending.FAILED
    if happens(profile.moderation, rng):
        return Ending.MODERATED
    return Ending.NEVER if happens(profile.forever, rng) else Ending.SUCCEED


def _draw_submit_fault(profile: Profile, rng: RandomSource) -> tuple[Fault, ...]:
    """Return at most one fault."""
    for code, probability in profile.refusals:
        if happens(probability, rng):
            return (Fault(FaultKind.CODE, code),)
    for probability, kind, accepted in (
        (profile.html_502, FaultKind.HTML, False),
        (profile.html_502_after_accept, FaultKind.HTML, True),
        (profile.reset, FaultKind.RESET, False),
        (profile.reset_after_accept, FaultKind.RESET, True),
        (profile.timeout_after_accept, FaultKind.HANG, True),
    ):
        if happens(probability, rng):
            return (Fault(kind, accepted=accepted),)
    return ()
