"""A budget is up to four limits on spending: what is charged, and what is reserved because it may be charged yet.

An order that would exceed any limit is refused before anything is sent. Days and months are in UTC.
"""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from kling_relay.core.errors import BudgetExceeded
from kling_relay.core.money import format_amount

THRESHOLDS = (80, 100)
"""Percentages of a limit that cause an alert."""
EVER = datetime(1970, 1, 1, tzinfo=UTC)
"""The start of the window for the limit `total`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits in all, per day, per month, and on what may be reserved at once (`open`). None means no limit."""

    total: Decimal | None = None
    day: Decimal | None = None
    month: Decimal | None = None
    open: Decimal | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the limits that are set."""
        return tuple(name for name in LIMIT_NAMES if getattr(self, name) is not None)

    def left(self, spent: "Spending") -> "Limits":
        """Return what may still be spent under each limit; never negative."""
        remaining = {name: max(getattr(self, name) - getattr(spent, name), Decimal(0)) for name in self.names}
        return Limits(**remaining)

    def to_json(self) -> dict[str, str | None]:
        return {name: None if (limit := getattr(self, name)) is None else format_amount(limit) for name in LIMIT_NAMES}


LIMIT_NAMES = tuple(field.name for field in fields(Limits))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What counts against each limit now: charged plus reserved in all, since the start of the day and of the month;
    and, for `open`, what is reserved.
    """

    total: Decimal = Decimal(0)
    day: Decimal = Decimal(0)
    month: Decimal = Decimal(0)
    open: Decimal = Decimal(0)

    def to_json(self) -> dict[str, str]:
        return {name: format_amount(getattr(self, name)) for name in LIMIT_NAMES}

    def plus(self, amount: Decimal) -> "Spending":
        """Return the spending after another order that costs `amount`."""
        return Spending(
            total=self.total + amount, day=self.day + amount, month=self.month + amount, open=self.open + amount
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetAlert:
    """A threshold of a limit that spending has reached."""

    limit: str
    percent: int
    allowed: Decimal
    spent: Decimal

    def to_json(self) -> dict[str, Any]:
        return {
            "limit": self.limit,
            "percent": self.percent,
            "allowed": format_amount(self.allowed),
            "spent": format_amount(self.spent),
        }


def budget_refusal(
    limits: Limits, spent: Spending, amount: Decimal, *, owner: str = "this client"
) -> BudgetExceeded | None:
    """Return the refusal of an order that costs `amount`, which names the tightest limit; None if the order fits.

    An order that costs nothing always fits.
    """
    remaining = {name: getattr(limits, name) - getattr(spent, name) for name in limits.names}
    tightest = min(remaining, key=lambda name: remaining[name], default=None)
    if tightest is None or amount <= 0 or amount <= remaining[tightest]:
        return None
    left = max(remaining[tightest], Decimal(0))
    words = {"total": "in all", "day": "today", "month": "this month", "open": "reserved at once"}
    return BudgetExceeded(
        f"The order costs {format_amount(amount)}, but {owner} has {format_amount(left)} left"
        f" of {format_amount(getattr(limits, tightest))} {words[tightest]}; nothing was sent.",
        limit=tightest,
    )


def alerts(limits: Limits, spent: Spending) -> tuple[BudgetAlert, ...]:
    """Return every threshold at or below what is spent. The caller reports each of them once per window.

    The current sums decide, not a single order, so a charge above its quote counts too.
    """
    return tuple(
        BudgetAlert(limit=name, percent=percent, allowed=allowed, spent=now_spent)
        for name in limits.names
        for percent in THRESHOLDS
        if (allowed := getattr(limits, name)) and (now_spent := getattr(spent, name)) >= allowed * percent / 100
    )


def window_of(limit: str, now: datetime) -> datetime:
    """Return the start of the window in which a threshold of this limit is reported once.

    What is reserved goes up and down, so its thresholds are reported at most once a day.
    """
    day, month = windows(now)
    return {"day": day, "month": month, "open": day}.get(limit, EVER)


def windows(now: datetime) -> tuple[datetime, datetime]:
    """Return the start of the day and of the month of `now` (aware, UTC)."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return day, day.replace(day=1)
