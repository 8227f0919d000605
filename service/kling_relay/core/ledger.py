"""Every task's money is entries that only ever add: reserve when it is recorded, then settle or release by the step
that ends it, in that step's transaction. The sum of entries is the balance; nothing is ever changed or counted up.

A success after our own deadline has released the reserve settles with the charge alone: the third and last entry
that a task can have.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple, assert_never

from kling_relay.core.money import money, plain
from kling_relay.core.task import FINAL, Status

_NOTHING = Decimal(0)
_OVER = frozenset({Status.SUCCEED, Status.FAILED})
LedgerState = Literal["reserved", "unknown", "settled", "released"]


class Entry(NamedTuple):
    """One entry; both figures are what it adds to the account, so that a settlement's `reserved` is negative."""

    entry: Literal["reserve", "settle", "release"]
    reserved: Decimal
    charged: Decimal
    note: str = ""
    """Why the charge is not what the provider said, where it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What an account holds: open reservations, and what was charged for good."""

    reserved: Decimal = Decimal(0)
    charged: Decimal = Decimal(0)

    @property
    def spent(self) -> Decimal:
        """What a budget counts: charged and what may yet be."""
        return self.reserved + self.charged


def balance(entries: Iterable[Entry]) -> Balance:
    """Return the sum of entries, whatever their order."""
    reserved = charged = Decimal(0)
    for entry in entries:
        reserved += entry.reserved
        charged += entry.charged
    return Balance(reserved=reserved, charged=charged)


def on_record(quote: Decimal) -> Entry:
    """Return the entry of a task that is being recorded: its quote is reserved."""
    return Entry(entry="reserve", reserved=quote, charged=Decimal(0))


def on_step(before: Status, after: Status, quote: Decimal, charge: str | None) -> Entry | None:
    """Return the entry of a step from `before` to `after`, or None where it moves no money.

    `charge` is the provider's `final_unit_deduction`; where it is absent or no sane figure the quote is charged,
    and the entry says so.
    """
    if after not in FINAL or before in _OVER:
        return None
    held = _NOTHING if before is Status.EXPIRED else quote
    if after is Status.SUCCEED:
        charged, note = charge_of(charge, quote)
        return Entry("settle", -held, charged, note)
    return None if before is Status.EXPIRED else Entry("release", -held, _NOTHING)


def charge_of(charge: str | None, quote: Decimal) -> tuple[Decimal, str]:
    """Return what a success costs, and a note where the provider's figure is not what it costs."""
    if charge is None or not charge.strip():
        return quote, ""
    figure = money(charge)
    if figure is None:
        return quote, f"the provider's figure {charge[:40]!a} is no charge; the quote {plain(quote)} is charged"
    return figure, ""


def ledger_state(status: Status, *, is_unknown: bool = False) -> LedgerState:
    """Return the state of a task's money; it follows from the task's own state, because they move together.

    `is_unknown` is a submission whose answer was lost: still reserved, because the provider may charge for it.
    """
    match status:
        case Status.RECORDED | Status.SUBMITTED | Status.PROCESSING:
            return "unknown" if is_unknown else "reserved"
        case Status.SUCCEED:
            return "settled"
        case Status.FAILED | Status.EXPIRED:
            return "released"
    assert_never(status)
