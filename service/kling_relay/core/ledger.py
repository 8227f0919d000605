"""The ledger: a task's money is a list of entries, and its balance is their sum. Entries are never changed.

Recording a task reserves its quote. The step that ends the task settles or releases it, in the same transaction. A
success after our deadline finds the reserve released and settles the charge alone: the third and last entry that a
task can have. A success without a file is charged when we stop asking for it; the file that comes later is free.
"""

from decimal import Decimal
from typing import Literal, NamedTuple, assert_never

from kling_relay.core.money import format_amount, parse_amount
from kling_relay.core.task import FINAL, Status

_ZERO = Decimal(0)
_SUCCEEDED = frozenset({Status.SUCCEED, Status.RESULT_MISSING})
_IRREVERSIBLE = _SUCCEEDED | {Status.FAILED}
LedgerState = Literal["reserved", "unknown", "settled", "released"]


class Entry(NamedTuple):
    """One entry. Both figures are added to the account, so a settlement's `reserved` is negative."""

    entry: Literal["reserve", "settle", "release"]
    reserved: Decimal
    charged: Decimal
    note: str = ""
    """Why the charge differs from the provider's figure, or empty."""


def on_record(quote: Decimal) -> Entry:
    """Return the entry of a task that is recorded: its quote is reserved."""
    return Entry(entry="reserve", reserved=quote, charged=Decimal(0))


def on_step(before: Status, after: Status, quote: Decimal, charge: str | None) -> Entry | None:
    """Return the entry of a step from `before` to `after`, or None if the step moves no money.

    `charge` is the provider's `final_unit_deduction`. Without a valid figure the quote is charged; if the figure is
    invalid, the entry's note says so.
    """
    if after not in FINAL or before in _IRREVERSIBLE:
        return None
    reserved = _ZERO if before is Status.EXPIRED else quote
    if after in _SUCCEEDED:
        charged, note = charge_of(charge, quote)
        return Entry("settle", -reserved, charged, note)
    return None if before is Status.EXPIRED else Entry("release", -reserved, _ZERO)


def charge_of(charge: str | None, quote: Decimal) -> tuple[Decimal, str]:
    """Return the cost of a success, and a note if the provider's figure is invalid."""
    if charge is None or not charge.strip():
        return quote, ""
    figure = parse_amount(charge)
    if figure is None:
        note = f"the provider's charge {charge[:40]!a} is not a figure; the quote {format_amount(quote)} is charged"
        return quote, note
    return figure, ""


def ledger_state(status: Status, *, is_unknown: bool = False) -> LedgerState:
    """Return the state of a task's money. It follows from the task's status, because both change together.

    `is_unknown` means that the provider's answer to the submission was lost: the quote stays reserved, because the
    provider may charge for the task.
    """
    match status:
        case Status.RECORDED | Status.SUBMITTED | Status.PROCESSING:
            return "unknown" if is_unknown else "reserved"
        case Status.SUCCEED | Status.RESULT_MISSING:
            return "settled"
        case Status.FAILED | Status.EXPIRED:
            return "released"
    assert_never(status)
