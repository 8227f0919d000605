"""The ledger's sums: what a spender, a client or one of its keys, has spent. There is no counter to keep right.

An entry carries the number of the transaction that wrote it. Below the oldest one that still runs nothing can come in
any more, so the sums of those entries are closed now and then; a limited spender adds up only what came since.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Text,
    Uuid,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from kling_relay.core.budget import Limits, Spent, windows
from kling_relay.core.ids import lower_bound
from kling_relay.store.postgres.statement import Row, Runner, Statement
from kling_relay.store.tables import ledger, ledger_checkpoints

CLOSED_FROM = 1000
"""So many entries are added up again and again before they are closed."""
_NO_END = 2**63 - 1


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
class _Closing:
    """Sums of the entries below the transaction `until`; day and month are those that `at` lies in."""

    until: int
    at: datetime
    spent: Spent

    def counted_at(self, now: datetime) -> Spent:
        """Return the sums as they count at `now`: a day or a month that is over begins at nothing again."""
        then, today = windows(self.at), windows(now)
        return Spent(
            total=self.spent.total,
            day=self.spent.day if then[0] == today[0] else Spent().day,
            month=self.spent.month if then[1] == today[1] else Spent().month,
            open=self.spent.open,
        )


def _sums(*, of_key: bool) -> Statement:
    """Return the sums of the entries in [since, bound) of transactions, and of those of them that can be closed."""
    both = ledger.c.reserved + ledger.c.charged
    horizon = cast(cast(func.pg_snapshot_xmin(func.pg_current_snapshot()), Text), BigInteger)
    is_over = ledger.c.tx < horizon
    amounts: dict[str, tuple[ColumnElement[object], list[ColumnElement[bool]]]] = {
        "total": (both, []),
        "day": (both, [ledger.c.task >= bindparam("day_from", type_=Uuid)]),
        "month": (both, [ledger.c.task >= bindparam("month_from", type_=Uuid)]),
        "open": (ledger.c.reserved, []),
    }

    def added(amount: ColumnElement[object], *only: ColumnElement[bool]) -> ColumnElement[object]:
        total = func.sum(amount).filter(*only) if only else func.sum(amount)
        return func.coalesce(total, literal_column("0"))

    chosen = select(
        *(added(amount, *only).label(name) for name, (amount, only) in amounts.items()),
        *(added(amount, *only, is_over).label(f"closed_{name}") for name, (amount, only) in amounts.items()),
        func.count().filter(is_over).label("closed"),
        func.max(ledger.c.tx).filter(is_over).label("newest"),
    ).where(
        ledger.c.client == bindparam("client", type_=Uuid),
        # both ends, because a plan is made without knowing them, and of a range it expects little
        ledger.c.tx >= bindparam("since", type_=BigInteger),
        ledger.c.tx < bindparam("bound", type_=BigInteger),
        ledger.c.currency == bindparam("currency", type_=Text),
    )
    return Statement(chosen.where(ledger.c.key == bindparam("key", type_=Uuid)) if of_key else chosen)


_OF_CLIENT = _sums(of_key=False)
_OF_KEY = _sums(of_key=True)
_CLOSING = Statement(
    select(
        ledger_checkpoints.c.below_tx,
        ledger_checkpoints.c.at,
        ledger_checkpoints.c.total,
        ledger_checkpoints.c.day,
        ledger_checkpoints.c.month,
        ledger_checkpoints.c.open,
    ).where(
        ledger_checkpoints.c.spender == bindparam("spender", type_=Uuid),
        ledger_checkpoints.c.currency == bindparam("currency", type_=Text),
    )
)
_EDGE = Statement(
    select(ledger.c.tx)
    .where(
        ledger.c.client == bindparam("client", type_=Uuid),
        or_(bindparam("key", type_=Uuid).is_(None), ledger.c.key == bindparam("key", type_=Uuid)),
        ledger.c.tx >= bindparam("since", type_=BigInteger),
        ledger.c.tx < literal_column(str(_NO_END)),
    )
    .order_by(ledger.c.tx)
    .offset(bindparam("limit", type_=Integer))
    .limit(literal_column("1"))
)


def _close() -> Statement:
    names = ("spender", "currency", "below_tx", "at", "total", "day", "month", "open")
    made = insert(ledger_checkpoints).values(
        {name: bindparam(f"new_{name}", type_=ledger_checkpoints.c[name].type) for name in names}
    )
    return Statement(
        made.on_conflict_do_update(
            index_elements=[ledger_checkpoints.c.spender, ledger_checkpoints.c.currency],
            set_={name: made.excluded[name] for name in names[2:]},
        )
    )


_CLOSE = _close()


async def spent(
    runner: Runner, spender: Spender, currency: str, now: datetime, *, closed_from: int | None = None
) -> Spent:
    """Return what counts against the spender's limits at `now`: what was closed, and the entries since.

    Where `closed_from` of those can be closed, they are.
    """
    before = await _closing(runner, spender, currency, now)
    row = await _added(runner, spender, currency, before.until, _NO_END, now)
    base = before.counted_at(now)
    if closed_from is not None and row["closed"] >= closed_from:
        await _write(runner, spender, currency, _plus(base, row, "closed_"), row["newest"] + 1, now)
    return _plus(base, row)


async def close(runner: Runner, spender: Spender, currency: str, now: datetime, *, limit: int) -> bool:
    """Close the spender's sums, about `limit` entries further; return whether there was anything to close.

    Two at once do no harm: each writes sums that are right for the number that it writes beside them.
    """
    before = await _closing(runner, spender, currency, now)
    edge: int | None = await _EDGE.scalar(
        runner, client=spender.client, key=spender.key, since=before.until, limit=limit
    )
    bound = _NO_END if edge is None else edge + 1  # with all of the edge's transaction, or there would be no end
    row = await _added(runner, spender, currency, before.until, bound, now)
    if not row["closed"]:
        return False
    await _write(runner, spender, currency, _plus(before.counted_at(now), row, "closed_"), row["newest"] + 1, now)
    return True


async def _closing(runner: Runner, spender: Spender, currency: str, now: datetime) -> _Closing:
    row = await _CLOSING.row(runner, spender=spender.id, currency=currency)
    if row is None:
        return _Closing(until=0, at=now, spent=Spent())
    sums = Spent(total=row["total"], day=row["day"], month=row["month"], open=row["open"])
    return _Closing(until=row["below_tx"], at=row["at"], spent=sums)


async def _added(runner: Runner, spender: Spender, currency: str, since: int, bound: int, now: datetime) -> Row:
    """Return the sums of the entries of these transactions, in the day and month of `now`."""
    day, month = windows(now)
    given = {
        "client": spender.client,
        "day_from": lower_bound(day),
        "month_from": lower_bound(month),
        "since": since,
        "bound": bound,
        "currency": currency,
    }
    if spender.key is None:
        row = await _OF_CLIENT.row(runner, **given)
    else:
        row = await _OF_KEY.row(runner, **given, key=spender.key)
    assert row is not None  # sums without GROUP BY are always one row
    return row


def _plus(base: Spent, row: Row, prefix: str = "") -> Spent:
    return Spent(
        total=base.total + row[f"{prefix}total"],
        day=base.day + row[f"{prefix}day"],
        month=base.month + row[f"{prefix}month"],
        open=base.open + row[f"{prefix}open"],
    )


async def _write(runner: Runner, spender: Spender, currency: str, sums: Spent, until: int, now: datetime) -> None:
    await _CLOSE.run(
        runner,
        new_spender=spender.id,
        new_currency=currency,
        new_below_tx=until,
        new_at=now,
        new_total=sums.total,
        new_day=sums.day,
        new_month=sums.month,
        new_open=sums.open,
    )
