"""The ledger's sums: what an account, which is a client or one of its keys, has spent. No counter has to be kept right.

An entry carries the number of the transaction that wrote it. Below the oldest transaction that still runs nothing can
be added, so a checkpoint keeps the sums of those entries, and a check adds up only the entries since.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from kling_relay.core.budget import Limits, Spending, windows
from kling_relay.core.ids import lower_bound
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Row, Runner, Statement
from kling_relay.store.postgres.tx_numbers import OLDEST_TX

CHECKPOINT_AFTER = 1000
"""Entries that are added up at every check before a checkpoint covers them."""
_MAX_TX = 2**63 - 1

_SQL = load_sql(__name__, oldest_tx=OLDEST_TX)
_SUM_OF_ENTRIES = Statement(_SQL["sum_of_entries"])
_CHECKPOINT = Statement(_SQL["checkpoint"])
_NTH_ENTRY = Statement(_SQL["nth_entry"])
_SAVE_CHECKPOINT = Statement(_SQL["save_checkpoint"])


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerAccount:
    """A client, or one of its keys, with the limits of what it may spend."""

    client: UUID
    key: UUID | None
    name: str
    limits: Limits

    @property
    def id(self) -> UUID:
        return self.key or self.client


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checkpoint:
    """Sums of the entries of transactions below `below_tx`; day and month are those of `at`."""

    below_tx: int
    at: datetime
    spent: Spending

    def spent_at(self, now: datetime) -> Spending:
        """Return the sums as of `now`: if the day or month of `at` is over, its sum is zero."""
        then, today = windows(self.at), windows(now)
        return Spending(
            total=self.spent.total,
            day=self.spent.day if then[0] == today[0] else Spending().day,
            month=self.spent.month if then[1] == today[1] else Spending().month,
            open=self.spent.open,
        )


async def spent(
    runner: Runner, account: LedgerAccount, currency: str, now: datetime, *, checkpoint_after: int | None = None
) -> Spending:
    """Return what counts against the account's limits at `now`: the checkpoint plus the entries since.

    If at least `checkpoint_after` of those entries are final, a new checkpoint is written.
    """
    checkpoint = await _checkpoint(runner, account, currency, now)
    row = await _sum_of_entries(runner, account, currency, checkpoint.below_tx, _MAX_TX, now)
    base = checkpoint.spent_at(now)
    if checkpoint_after is not None and row["final_count"] >= checkpoint_after:
        await _save(runner, account, currency, _plus(base, row, "final_"), row["final_tx"] + 1, now)
    return _plus(base, row)


async def advance_checkpoint(
    runner: Runner, account: LedgerAccount, currency: str, now: datetime, *, limit: int
) -> bool:
    """Move the account's checkpoint on by about `limit` entries; return False if no entry was final.

    Two at once do no harm: each writes sums that are right for its own `below_tx`.
    """
    checkpoint = await _checkpoint(runner, account, currency, now)
    tx: int | None = await _NTH_ENTRY.scalar(
        runner, client=account.client, key=account.key, since=checkpoint.below_tx, offset=limit
    )
    below = _MAX_TX if tx is None else tx + 1  # the whole of a transaction, so that one with many entries is passed
    row = await _sum_of_entries(runner, account, currency, checkpoint.below_tx, below, now)
    if not row["final_count"]:
        return False
    await _save(runner, account, currency, _plus(checkpoint.spent_at(now), row, "final_"), row["final_tx"] + 1, now)
    return True


async def _checkpoint(runner: Runner, account: LedgerAccount, currency: str, now: datetime) -> _Checkpoint:
    row = await _CHECKPOINT.row(runner, account=account.id, currency=currency)
    # one of a day that has not begun lacks the sum of today: a clock was wrong, or ran ahead of a new primary's
    if row is None or windows(row["at"])[0] > windows(now)[0]:
        return _Checkpoint(below_tx=0, at=now, spent=Spending())
    sums = Spending(total=row["total"], day=row["day"], month=row["month"], open=row["open"])
    return _Checkpoint(below_tx=row["below_tx"], at=row["at"], spent=sums)


async def _sum_of_entries(
    runner: Runner, account: LedgerAccount, currency: str, since: int, below: int, now: datetime
) -> Row:
    day, month = windows(now)
    row = await _SUM_OF_ENTRIES.row(
        runner,
        client=account.client,
        key=account.key,
        day_from=lower_bound(day),
        month_from=lower_bound(month),
        since=since,
        below=below,
        currency=currency,
    )
    assert row is not None  # an aggregate without GROUP BY is always one row
    return row


def _plus(base: Spending, row: Row, prefix: str = "") -> Spending:
    return Spending(
        total=base.total + row[f"{prefix}total"],
        day=base.day + row[f"{prefix}day"],
        month=base.month + row[f"{prefix}month"],
        open=base.open + row[f"{prefix}open"],
    )


async def _save(
    runner: Runner, account: LedgerAccount, currency: str, sums: Spending, below_tx: int, now: datetime
) -> None:
    await _SAVE_CHECKPOINT.run(
        runner,
        account=account.id,
        currency=currency,
        below_tx=below_tx,
        at=now,
        total=sums.total,
        day=sums.day,
        month=sums.month,
        open=sums.open,
    )
