"""Discrepancies: our ledger and the provider disagree about a task, or the ledger contradicts itself.

A task that is charged on one side only is looked for in both directions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, assert_never
from uuid import UUID

from kling_relay.core.money import format_amount, parse_amount
from kling_relay.core.submission import NoAnswer, NoSuchTask, PollResult
from kling_relay.core.task import FINAL, Signal, SignalKind, Status

About = Literal["books", "charge", "fate", "open", "missing", "unknown"]
"""books: our entries do not add up. charge: the provider charged another sum. fate: the task ended differently there.
open: it ended there and is still reserved here. missing: the provider does not have it. unknown: nobody knows."""

_CHARGED = frozenset({Status.SUCCEED, Status.RESULT_MISSING})
_SETTLED = (["reserve", "settle"], ["release", "reserve", "settle"])
_ENDS = frozenset({SignalKind.SUCCEED, SignalKind.INCOMPLETE, SignalKind.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAccount:
    """One task in our ledger. `entries` are the names of its entries."""

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
    """One discrepancy of one task. `ours` and `theirs` are its cost; `theirs` is None if it is not known."""

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
            "ours": format_amount(self.ours),
            "theirs": None if self.theirs is None else format_amount(self.theirs),
            "detail": self.detail,
        }


def compare(account: TaskAccount, result: PollResult) -> list[Discrepancy]:
    """Return every discrepancy between our ledger and the provider about a task."""
    discrepancies = [_discrepancy(account, "books", account.charged, fault) for fault in _faults(account)]
    match result:
        case Signal():
            discrepancies += _compare_signal(account, result)
        case NoSuchTask():
            if account.status not in {Status.FAILED, Status.EXPIRED}:
                is_open = account.status not in FINAL
                amount, state = (account.quote, "reserved") if is_open else (account.charged, "charged")
                detail = f"the provider has no such task; {format_amount(amount)} {state} here"
                discrepancies.append(_discrepancy(account, "missing", Decimal(0), detail))
        case NoAnswer(reason):
            if account.is_unknown:
                detail = f"still reserved: nobody knows whether the provider accepted it ({reason})"
                discrepancies.append(_discrepancy(account, "unknown", None, detail))
        case _:
            assert_never(result)
    return discrepancies


def agreed_end(signals: Sequence[Signal]) -> Signal | None:
    """Return the provider's final signal of a task, or None if it sent none or contradicted itself."""
    ends = [signal for signal in signals if signal.kind in _ENDS]
    if len({signal.kind is SignalKind.FAILED for signal in ends}) != 1:
        return None
    charges = {signal.charge for signal in ends if signal.charge is not None}
    if len(charges) > 1:
        return None
    return next((signal for signal in ends if signal.charge is not None), ends[0])


def _faults(account: TaskAccount) -> list[str]:
    """Return what is wrong with a task's entries by themselves."""
    entries = sorted(account.entries)
    valid_entries = {
        Status.SUCCEED: _SETTLED,
        Status.RESULT_MISSING: _SETTLED,
        Status.FAILED: (["release", "reserve"],),
        Status.EXPIRED: (["release", "reserve"],),
    }.get(account.status, (["reserve"],))
    faults = []
    if entries not in valid_entries:
        faults.append(f"entries {', '.join(entries) or 'none'} of a task that is {account.status}")
    expected = Decimal(0) if account.status in FINAL else account.quote
    if account.reserved != expected:
        faults.append(f"{format_amount(account.reserved)} is reserved instead of {format_amount(expected)}")
    if account.charged and account.status not in _CHARGED:
        faults.append(f"{format_amount(account.charged)} is charged for a task that is {account.status}")
    return faults


def _compare_signal(account: TaskAccount, signal: Signal) -> list[Discrepancy]:
    """Compare the ledger with the provider's signal."""
    cost = None if signal.charge is None else parse_amount(signal.charge)
    is_final, is_charged = account.status in FINAL, account.status in _CHARGED
    findings: list[tuple[About, str]]
    match signal.kind:
        case SignalKind.SUCCEED | SignalKind.INCOMPLETE | SignalKind.RESULT_MISSING if is_charged:
            findings = (
                [("charge", f"the provider charged {format_amount(cost)}")]
                if cost not in {None, account.charged}
                else []
            )
        case SignalKind.SUCCEED | SignalKind.INCOMPLETE | SignalKind.RESULT_MISSING if is_final:
            cost = account.quote if cost is None else cost
            findings = [("fate", "it succeeded at the provider and was released here")]
        case SignalKind.SUCCEED | SignalKind.INCOMPLETE | SignalKind.RESULT_MISSING:
            findings = [("open", "it succeeded at the provider and is still reserved here")]
        case SignalKind.FAILED | SignalKind.EXPIRED if is_final and not is_charged:
            findings = []
        case SignalKind.FAILED | SignalKind.EXPIRED:
            cost = Decimal(0)
            if is_charged:
                findings = [("fate", "it failed at the provider and was charged here")]
            else:
                findings = [("open", "it failed at the provider and is still reserved here")]
        case SignalKind.SUBMITTED | SignalKind.PROCESSING:
            findings = [("fate", f"the provider still has it as {signal.kind}")] if is_final else []
        case _:
            assert_never(signal.kind)
    return [_discrepancy(account, about, cost, detail) for about, detail in findings]


def _discrepancy(account: TaskAccount, about: About, theirs: Decimal | None, detail: str) -> Discrepancy:
    return Discrepancy(
        task=account.task,
        client=account.client,
        about=about,
        status=account.status,
        ours=account.charged,
        theirs=theirs,
        detail=detail,
    )
