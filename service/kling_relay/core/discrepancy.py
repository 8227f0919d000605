"""Where our ledger and the provider disagree about a task, and where the ledger disagrees with itself.

A task that costs something at one side and nothing at the other is the difference that others' users complain of:
it is looked for in both directions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, assert_never
from uuid import UUID

from kling_relay.core.money import money, plain
from kling_relay.core.submission import NoAnswer, NoSuchTask, PollResult
from kling_relay.core.task import FINAL, Signal, SignalKind, Status

About = Literal["books", "charge", "fate", "open", "missing", "unknown"]
"""books: our own entries do not add up. charge: it cost another sum there. fate: it ended otherwise there. open: it is
over there, and still reserved here. missing: the provider has no such task. unknown: nobody knows whether it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAccount:
    """What we hold of one task; `entries` are the names of its ledger entries."""

    task: UUID
    client: str
    kind: str
    status: Status
    quote: Decimal
    reserved: Decimal
    charged: Decimal
    entries: Sequence[str]
    is_unknown: bool
    provider_task_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """One disagreement about one task; `ours` and `theirs` are what it cost, None where nobody says."""

    task: UUID
    client: str
    about: About
    status: str
    ours: Decimal
    theirs: Decimal | None
    detail: str

    def to_json(self) -> dict[str, Any]:
        return {
            "task_id": str(self.task),
            "client": self.client,
            "about": self.about,
            "status": self.status,
            "ours": plain(self.ours),
            "theirs": None if self.theirs is None else plain(self.theirs),
            "detail": self.detail,
        }


def compare(books: TaskAccount, finding: PollResult) -> list[Discrepancy]:
    """Return every difference between our books and what the provider says of a task; none where they agree."""
    found = [_difference(books, "books", books.charged, says) for says in _faults(books)]
    match finding:
        case Signal():
            found += _against(books, finding)
        case NoSuchTask():
            if books.status not in {Status.FAILED, Status.EXPIRED}:
                held = (
                    f"{plain(books.quote)} reserved" if books.status not in FINAL else f"{plain(books.charged)} charged"
                )
                found.append(_difference(books, "missing", Decimal(0), f"the provider has no such task; {held} here"))
        case NoAnswer(reason):
            if books.is_unknown:
                says = f"still reserved: nobody knows whether the provider took it ({reason})"
                found.append(_difference(books, "unknown", None, says))
        case _:
            assert_never(finding)
    return found


def agreed_end(signals: Sequence[Signal]) -> Signal | None:
    """Return what the provider said of a task's end, where it said so and never contradicted itself."""
    ends = [signal for signal in signals if signal.kind in {SignalKind.SUCCEED, SignalKind.FAILED}]
    if len({signal.kind for signal in ends}) != 1:
        return None
    charges = {signal.charge for signal in ends if signal.charge is not None}
    if len(charges) > 1:
        return None
    return next((signal for signal in ends if signal.charge is not None), ends[0])


def _faults(books: TaskAccount) -> list[str]:
    """Return what is wrong with a task's entries, whatever the provider says."""
    entries = sorted(books.entries)
    allowed = {
        Status.SUCCEED: (["reserve", "settle"], ["release", "reserve", "settle"]),
        Status.FAILED: (["release", "reserve"],),
        Status.EXPIRED: (["release", "reserve"],),
    }.get(books.status, (["reserve"],))
    faults = []
    if entries not in allowed:
        faults.append(f"entries {', '.join(entries) or 'none'} of a task that is {books.status}")
    held = Decimal(0) if books.status in FINAL else books.quote
    if books.reserved != held:
        faults.append(f"{plain(books.reserved)} is reserved where {plain(held)} should be")
    if books.charged and books.status is not Status.SUCCEED:
        faults.append(f"{plain(books.charged)} is charged for a task that is {books.status}")
    return faults


def _against(books: TaskAccount, said: Signal) -> list[Discrepancy]:
    """Compare with what the provider says of the task."""
    cost = None if said.charge is None else money(said.charge)
    is_over, is_charged = books.status in FINAL, books.status is Status.SUCCEED
    found: list[tuple[About, str]]
    match said.kind:
        case SignalKind.SUCCEED if is_charged:
            found = [("charge", f"the provider charged {plain(cost)}")] if cost not in {None, books.charged} else []
        case SignalKind.SUCCEED if is_over:
            cost = books.quote if cost is None else cost
            found = [("fate", "it succeeded at the provider, and was released here")]
        case SignalKind.SUCCEED:
            found = [("open", "it succeeded at the provider, and is still reserved here")]
        case SignalKind.FAILED | SignalKind.EXPIRED if is_over and not is_charged:
            found = []
        case SignalKind.FAILED | SignalKind.EXPIRED:
            cost = Decimal(0)
            if is_charged:
                found = [("fate", "it failed at the provider, and was charged here")]
            else:
                found = [("open", "it failed at the provider, and is still reserved here")]
        case SignalKind.SUBMITTED | SignalKind.PROCESSING:
            found = [("fate", f"the provider still has it as {said.kind}")] if is_over else []
        case _:
            assert_never(said.kind)
    return [_difference(books, about, cost, says) for about, says in found]


def _difference(books: TaskAccount, about: About, theirs: Decimal | None, says: str) -> Discrepancy:
    return Discrepancy(
        task=books.task,
        client=books.client,
        about=about,
        status=books.status,
        ours=books.charged,
        theirs=theirs,
        detail=says,
    )
