"""Reconcile: our ledger against the provider's own figures, task by task; it changes nothing.

What the provider said of a task's end is kept, and is believed where it never contradicted itself. About all other
tasks, and about every one with `ask_all`, the provider is asked.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from kling_relay.core import callback
from kling_relay.core.discrepancy import Discrepancy, TaskAccount, agreed_end, compare
from kling_relay.core.money import plain
from kling_relay.core.operation import Kind, operation_of
from kling_relay.core.resource_packs import ResourcePack
from kling_relay.core.submission import NoAnswer, PollResult
from kling_relay.core.task import Signal
from kling_relay.core.untrusted import UnreadableError
from kling_relay.store.money import reconciliation
from kling_relay.store.postgres.database import Database

AT_ONCE = 8
"""Questions in flight at the provider."""


class Answers(Protocol):
    """The provider, as far as questions go."""

    async def poll(
        self, operation_path: str, provider_task_id: str | None, task: UUID, now: datetime
    ) -> PollResult: ...

    async def resource_packs(self, now: datetime) -> "list[ResourcePack] | NoAnswer": ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The whole account beside the whole ledger; it counts what else spends from it, and may be hours old."""

    packs: Sequence[ResourcePack]
    ours: Decimal

    @property
    def used(self) -> Decimal:
        return sum((pack.used for pack in self.packs), Decimal(0))

    def to_json(self) -> dict[str, Any]:
        return {"used": plain(self.used), "ours": plain(self.ours), "difference": plain(self.used - self.ours)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of it; `silent` counts tasks that could not be compared, `account` may be why there is none."""

    tasks: int
    asked: int
    silent: int
    differences: Sequence[Discrepancy]
    account: Account | str

    def to_json(self) -> dict[str, Any]:
        return {
            "tasks": self.tasks,
            "asked": self.asked,
            "silent": self.silent,
            "differences": [each.to_json() for each in self.differences],
            "account": {"detail": self.account} if isinstance(self.account, str) else self.account.to_json(),
        }


class Reconcile:
    """The flow; see the module."""

    def __init__(
        self, database: Database, provider: Answers | None, *, currency: str, now: Callable[[], datetime]
    ) -> None:
        """Without a provider only what it has said is compared; `currency` is that of its account."""
        self._database = database
        self._provider = provider
        self._currency = currency
        self._now = now

    async def __call__(self, since: datetime, until: datetime, *, ask_all: bool = False) -> Report:
        """Compare all tasks recorded in [since, until). Raises StoreUnavailableError."""
        tasks = asked = silent = 0
        differences: list[Discrepancy] = []
        async for page in reconciliation.task_accounts(self._database, since, until):
            findings = {} if ask_all else await self._kept(page)
            left = [books for books in page if books.task not in findings]
            findings |= await self._asked(left)
            tasks += len(page)
            asked += len(left) if self._provider else 0
            silent += sum(isinstance(finding, NoAnswer) for finding in findings.values())
            for books in page:
                differences += compare(books, findings[books.task])
        return Report(tasks=tasks, asked=asked, silent=silent, differences=differences, account=await self._account())

    async def _kept(self, page: Sequence[TaskAccount]) -> dict[UUID, PollResult]:
        """Return what was kept of the ends of these tasks."""
        found: dict[UUID, PollResult] = {}
        for task, bodies in (
            await reconciliation.believed_callbacks(self._database, [books.task for books in page])
        ).items():
            if end := agreed_end([signal for body in bodies if (signal := _read(body))]):
                found[task] = end
        return found

    async def _asked(self, page: Sequence[TaskAccount]) -> dict[UUID, PollResult]:
        """Return what the provider says of these tasks now."""
        provider = self._provider
        if provider is None:
            return {books.task: NoAnswer("there is no provider to ask") for books in page}
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(books: TaskAccount) -> PollResult:
            async with gate:
                operation = operation_of(Kind(books.kind))
                return await provider.poll(operation, books.provider_task_id, books.task, self._now())

        findings = await asyncio.gather(*(one(books) for books in page))
        return {books.task: finding for books, finding in zip(page, findings, strict=True)}

    async def _account(self) -> Account | str:
        if self._provider is None:
            return "there is no provider to ask"
        packs = await self._provider.resource_packs(self._now())
        if isinstance(packs, NoAnswer):
            return packs.reason
        return Account(packs=packs, ours=await reconciliation.total_spent(self._database, self._currency))


def _read(body: bytes) -> Signal | None:
    try:
        return callback.read(body)
    except UnreadableError:
        return None
