"""Reconcile: compares our ledger with the provider's figures, task by task. It changes nothing.

What the provider said about a task's end is stored, and is believed if it never contradicted itself. For all other
tasks, and for all tasks with `ask_all`, the provider is asked.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from kling_relay.core import callback
from kling_relay.core.discrepancy import Discrepancy, TaskAccount, agreed_end, compare
from kling_relay.core.money import format_amount
from kling_relay.core.operation import operation_of
from kling_relay.core.resource_packs import ResourcePack
from kling_relay.core.submission import NoAnswer, PollResult
from kling_relay.core.task import Signal
from kling_relay.core.untrusted import UnreadableError
from kling_relay.store.money import reconciliation
from kling_relay.store.postgres.database import Database

MAX_POLLS = 8
"""Polls in flight at the provider."""
_NO_PROVIDER = "there is no provider to ask"


class AccountClient(Protocol):
    """Asks the provider about tasks and about the resource packs of our account."""

    async def poll(
        self, operation_path: str, provider_task_id: str | None, task: UUID, now: datetime
    ) -> PollResult: ...

    async def resource_packs(self, now: datetime) -> "list[ResourcePack] | NoAnswer": ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountComparison:
    """The whole account beside the whole ledger. The account counts other users of it, and may be hours old."""

    packs: Sequence[ResourcePack]
    ours: Decimal

    @property
    def used(self) -> Decimal:
        return sum((pack.used for pack in self.packs), Decimal(0))

    def to_json(self) -> dict[str, Any]:
        return {
            "used": format_amount(self.used),
            "ours": format_amount(self.ours),
            "difference": format_amount(self.used - self.ours),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result. `silent` counts tasks that could not be compared; `account` is why it could not be, if a string."""

    tasks: int
    polled: int
    silent: int
    differences: Sequence[Discrepancy]
    account: AccountComparison | str

    def to_json(self) -> dict[str, Any]:
        return {
            "tasks": self.tasks,
            "polled": self.polled,
            "silent": self.silent,
            "differences": [difference.to_json() for difference in self.differences],
            "account": {"detail": self.account} if isinstance(self.account, str) else self.account.to_json(),
        }


@dataclass(frozen=True, eq=False)
class Reconcile:
    """Without a provider only what it said before is compared. `currency` is that of its account."""

    database: Database
    provider: AccountClient | None
    _: KW_ONLY
    currency: str
    now: Callable[[], datetime]

    async def __call__(self, since: datetime, until: datetime, *, ask_all: bool = False) -> Report:
        """Compare all tasks recorded in [since, until). Raises StoreUnavailableError."""
        tasks = polled = silent = 0
        differences: list[Discrepancy] = []
        async for page in reconciliation.task_accounts(self.database, since, until):
            ends = {} if ask_all else await self._stored_ends(page)
            unknown = [account for account in page if account.task not in ends]
            ends |= await self._poll(unknown)
            tasks += len(page)
            polled += len(unknown) if self.provider else 0
            silent += sum(isinstance(end, NoAnswer) for end in ends.values())
            for account in page:
                differences += compare(account, ends[account.task])
        return Report(
            tasks=tasks, polled=polled, silent=silent, differences=differences, account=await self._compare_account()
        )

    async def _stored_ends(self, page: Sequence[TaskAccount]) -> dict[UUID, PollResult]:
        """Return the ends of these tasks on which everything that the provider sent agrees."""
        ends: dict[UUID, PollResult] = {}
        for task, bodies in (
            await reconciliation.accepted_callbacks(self.database, [account.task for account in page])
        ).items():
            if end := agreed_end([signal for body in bodies if (signal := _read(body))]):
                ends[task] = end
        return ends

    async def _poll(self, page: Sequence[TaskAccount]) -> dict[UUID, PollResult]:
        """Return what the provider says about these tasks now."""
        provider = self.provider
        if provider is None:
            return {account.task: NoAnswer(_NO_PROVIDER) for account in page}
        gate = asyncio.Semaphore(MAX_POLLS)

        async def poll(account: TaskAccount) -> PollResult:
            async with gate:
                operation = operation_of(account.kind)
                return await provider.poll(operation, account.provider_task_id, account.task, self.now())

        results = await asyncio.gather(*(poll(account) for account in page))
        return {account.task: result for account, result in zip(page, results, strict=True)}

    async def _compare_account(self) -> AccountComparison | str:
        if self.provider is None:
            return _NO_PROVIDER
        packs = await self.provider.resource_packs(self.now())
        if isinstance(packs, NoAnswer):
            return packs.reason
        return AccountComparison(packs=packs, ours=await reconciliation.total_spent(self.database, self.currency))


def _read(body: bytes) -> Signal | None:
    try:
        return callback.read(body)
    except UnreadableError:
        return None
