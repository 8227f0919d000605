"""How flows reach the outside: the provider and the subscribers. `provider` and `destinations` implement it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol
from uuid import UUID

from kling_relay.core.delivery import SubscriberResponse
from kling_relay.core.submission import PollResult, SubmitOutcome


class ProviderClient(Protocol):
    """Sends orders to the provider and asks about tasks. Neither raises because of what the provider does.

    `may_send` is asked right before each part of an order is written. Once it returns false, nothing more is written.
    """

    async def submit(
        self,
        operation_path: str,
        body: bytes,
        task: UUID,
        hook: str,
        now: datetime,
        trace: str | None = None,
        *,
        may_send: Callable[[], bool],
    ) -> SubmitOutcome: ...

    async def poll(
        self, operation_path: str, provider_task_id: str | None, task: UUID, now: datetime, trace: str | None = None
    ) -> PollResult: ...


class SubscriberClient(Protocol):
    """Posts events to subscribers. Never raises because of what a subscriber does."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, now: datetime) -> SubscriberResponse: ...
