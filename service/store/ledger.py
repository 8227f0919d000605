"""The ledger's sums: what an spender, a client or one of its keys, has spent. There is no counter to keep right.

A limited spender adds up only what came since a time long past (`carried`), because the sum of everything before it
cannot change any more.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Text, Uuid, bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from service.core.budget import EVER, Limits, Spent, windows
from service.core.ids import lower_bound
from service.store.schema import Time, carried, ledger
from service.store.statement import Runner, Statement

SETTLED_AFTER = timedelta(minutes=15)
"""An entry is committed this long after its `at` at the latest: no request, retry or clock error lasts so long."""
CARRIED_AFTER = timedelta(hours=1)
"""Older sums are carried on; between the two times lie the entries that every check adds up."""
_FOR_GOOD = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spender:
    """Whose money is counted: a client's, or that of one key of it; and what it may spend."""

    client: UUID
    key: UUID | None
    name: str
    limits: Limits

    @property
    def id(self) -> UUID:
        return self.key or self.client


@dataclass(frozen=True, slots=True, kw_only=True)
class _Carried:
    """Sums of the entries before `until`; day and month are those that `until` lies in."""

    until: datetime
    spent: Spent

    def at(self, now: datetime) -> Spent:
        """Return the sums as they count at `now`: a day or a month that is over begins at nothing again."""
        then, today = windows(self.until), windows(now)
        return Spent(
            total=self.spent.total,
            day=self.spent.day if then[0] == today[0] else Spent().day,
            month=self.spent.month if then[1] == today[1] else Spent().month,
            open=self.spent.open,
        )


def _sums(*, of_key: bool) -> Statement:
    both = ledger.c.reserved + ledger.c.charged

    def added(amount: ColumnElement[object], *only: ColumnElement[bool]) -> ColumnElement[object]:
        total = func.sum(amount).filter(*only) if only else func.sum(amount)
        return func.coalesce(total, literal_column("0"))

    chosen = select(
        added(both).label("total"),
        added(both, ledger.c.task >= bindparam("day_from", type_=Uuid)).label("day"),
        added(both, ledger.c.task >= bindparam("month_from", type_=Uuid)).label("month"),
        added(ledger.c.reserved).label("open"),
    ).where(
        ledger.c.client == bindparam("client", type_=Uuid),
        ledger.c.at >= bindparam("since", type_=Time),
        ledger.c.at < bindparam("until", type_=Time),
        ledger.c.currency == bindparam("currency", type_=Text),
    )
    return Statement(chosen.where(ledger.c.key == bindparam("key", type_=Uuid)) if of_key else chosen)


_OF_CLIENT = _sums(of_key=False)
_OF_KEY = _sums(of_key=True)
_CARRIED = Statement(
    select(carried.c.until, carried.c.total, carried.c.day, carried.c.month, carried.c.open).where(
        carried.c.spender == bindparam("spender", type_=Uuid), carried.c.currency == bindparam("currency", type_=Text)
    )
)


def _carry() -> Statement:
    names = ("spender", "currency", "until", "total", "day", "month", "open")
    made = insert(carried).values({name: bindparam(f"new_{name}", type_=carried.c[name].type) for name in names})
    return Statement(
        made.on_conflict_do_update(
            index_elements=[carried.c.spender, carried.c.currency],
            set_={name: made.excluded[name] for name in names[2:]},
        )
    )


_CARRY = _carry()
_FIRST = Statement(select(func.min(ledger.c.at)).where(ledger.c.client == bindparam("client", type_=Uuid)))


async def spent(runner: Runner, spender: Spender, currency: str, now: datetime) -> Spent:
    """Return what counts against the spender's limits at `now`, by one look at what was carried and one sum."""
    before = await _carried(runner, spender, currency)
    return await _added(runner, spender, currency, before, _FOR_GOOD, now)


async def carry_on(
    runner: Runner, spender: Spender, currency: str, now: datetime, *, span: timedelta | None = None
) -> bool:
    """Carry the spender's sums on where that was long ago, by no more than `span`; return whether it did.

    Two at once do no harm: each writes sums that are right for the time that it writes beside them.
    """
    before = await _carried(runner, spender, currency)
    if now - before.until < CARRIED_AFTER:
        return False
    until = now - SETTLED_AFTER
    if span is not None:
        first = await _FIRST.scalar(runner, client=spender.client)
        until = min(until, max(before.until, first or until) + span)
    sums = await _added(runner, spender, currency, before, until, until)
    await _CARRY.run(
        runner,
        new_spender=spender.id,
        new_currency=currency,
        new_until=until,
        new_total=sums.total,
        new_day=sums.day,
        new_month=sums.month,
        new_open=sums.open,
    )
    return True


async def _carried(runner: Runner, spender: Spender, currency: str) -> _Carried:
    row = await _CARRIED.row(runner, spender=spender.id, currency=currency)
    if row is None:
        return _Carried(until=EVER, spent=Spent())
    sums = Spent(total=row["total"], day=row["day"], month=row["month"], open=row["open"])
    return _Carried(until=row["until"], spent=sums)


async def _added(
    runner: Runner, spender: Spender, currency: str, before: _Carried, until: datetime, now: datetime
) -> Spent:
    """Return what was carried and the entries from there to `until`, in the day and month of `now`."""
    day, month = windows(now)
    given = {
        "client": spender.client,
        "day_from": lower_bound(day),
        "month_from": lower_bound(month),
        "since": before.until,
        "until": until,
        "currency": currency,
    }
    if spender.key is None:
        row = await _OF_CLIENT.row(runner, **given)
    else:
        row = await _OF_KEY.row(runner, **given, key=spender.key)
    since = Spent(**dict(row.items())) if row else Spent()
    base = before.at(now)
    return Spent(
        total=base.total + since.total,
        day=base.day + since.day,
        month=base.month + since.month,
        open=base.open + since.open,
    )
