"""A budget is up to four limits on what is spent (charged, and reserved because it may yet be); an order that would
pass any of them is refused before anything is sent. Days and months are UTC's.
"""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from kling_relay.core.errors import BudgetExceeded, Fault, InvalidRequest
from kling_relay.core.money import money, plain

THRESHOLDS = (80, 100)
"""Percentages of a limit whose crossing is announced."""
EVER = datetime(1970, 1, 1, tzinfo=UTC)
"""The start of the window of what is spent in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that may be spent in all, per day and per month, and be reserved at once; None is no limit."""

    total: Decimal | None = None
    day: Decimal | None = None
    month: Decimal | None = None
    open: Decimal | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The limits that are set."""
        return tuple(name for name in LIMIT_NAMES if getattr(self, name) is not None)

    def left(self, spent: "Spent") -> "Limits":
        """Return what may still be spent by each limit, never less than nothing."""
        rooms = {name: max(getattr(self, name) - getattr(spent, name), Decimal(0)) for name in self.names}
        return Limits(**rooms)

    def to_json(self) -> dict[str, str | None]:
        return {name: None if (limit := getattr(self, name)) is None else plain(limit) for name in LIMIT_NAMES}


LIMIT_NAMES = tuple(field.name for field in fields(Limits))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What counts against each limit now: charged plus reserved in all, of tasks recorded since the day's and the
    month's start, and what is reserved only.
    """

    total: Decimal = Decimal(0)
    day: Decimal = Decimal(0)
    month: Decimal = Decimal(0)
    open: Decimal = Decimal(0)

    def to_json(self) -> dict[str, str]:
        return {name: plain(getattr(self, name)) for name in LIMIT_NAMES}

    def plus(self, amount: Decimal) -> "Spent":
        """Return what would be spent with an order of `amount` more."""
        return Spent(
            total=self.total + amount, day=self.day + amount, month=self.month + amount, open=self.open + amount
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetAlert:
    """A threshold that what is spent has reached."""

    limit: str
    percent: int
    allowed: Decimal
    spent: Decimal

    def to_json(self) -> dict[str, Any]:
        return {
            "limit": self.limit,
            "percent": self.percent,
            "allowed": plain(self.allowed),
            "spent": plain(self.spent),
        }


def exceeded(limits: Limits, spent: Spent, amount: Decimal, *, whose: str = "this client") -> BudgetExceeded | None:
    """Return the refusal that an order of `amount` gets, naming the limit with the least room; None if it may go.

    An order that costs nothing always may.
    """
    rooms = {name: getattr(limits, name) - getattr(spent, name) for name in limits.names}
    tight = min(rooms, key=lambda name: rooms[name], default=None)
    if tight is None or amount <= 0 or amount <= rooms[tight]:
        return None
    left = max(rooms[tight], Decimal(0))
    words = {"total": "in all", "day": "today", "month": "this month", "open": "reserved at once"}
    return BudgetExceeded(
        f"The order costs {plain(amount)}, but {whose} has {plain(left)} left"
        f" of {plain(getattr(limits, tight))} {words[tight]}; nothing was sent.",
        limit=tight,
    )


def alerts(limits: Limits, spent: Spent) -> tuple[BudgetAlert, ...]:
    """Return every threshold at or below what is spent; each is announced when it is reached for the first time.

    It asks where things stand, not what a single order did, so that a charge above its quote is not overlooked.
    """
    return tuple(
        BudgetAlert(limit=name, percent=percent, allowed=allowed, spent=now_spent)
        for name in limits.names
        for percent in THRESHOLDS
        if (allowed := getattr(limits, name)) and (now_spent := getattr(spent, name)) >= allowed * percent / 100
    )


def window_of(limit: str, now: datetime) -> datetime:
    """Return the start of the window in which a threshold of this limit is announced once.

    What is reserved at once goes up and down, so its thresholds are announced once a day at most.
    """
    day, month = windows(now)
    return {"day": day, "month": month, "open": day}.get(limit, EVER)


def windows(now: datetime) -> tuple[datetime, datetime]:
    """Return when the day and the month of `now` (aware, UTC) began."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return day, day.replace(day=1)


def read_limits(written: object) -> Limits:
    """Return the limits that JSON says: figures as text or whole numbers, null for none. Raises InvalidRequest."""
    if not isinstance(written, dict):
        raise InvalidRequest("budget must be an object")
    faults = [Fault(f"budget.{name!s}"[:40], "is no limit") for name in written if name not in LIMIT_NAMES]
    limits: dict[str, Decimal | None] = {}
    for name in LIMIT_NAMES:
        value = written.get(name)
        limits[name] = None if value is None else money(value)
        if value is not None and limits[name] is None:
            faults.append(Fault(f"budget.{name}", 'must be a figure as text, such as "99.5", or null'))
    if faults:
        raise InvalidRequest(faults=faults)
    return Limits(**limits)
