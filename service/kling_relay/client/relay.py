"""The asynchronous client: tasks, the event log, subscriptions and deliveries."""

from collections.abc import Callable
from secrets import SystemRandom, token_hex
from types import TracebackType
from typing import Self

from kling_relay.client.events import EventLog
from kling_relay.client.subscriptions import Subscriptions
from kling_relay.client.tasks import Tasks
from kling_relay.client.transport import Transport

_RANDOM = SystemRandom().random


class Relay(Tasks, EventLog, Subscriptions):
    """A client of one service. Every method raises RelayError if the service refuses or does not answer.

    `key` is a client key. `timeout` limits one request, in seconds. A request that is safe to repeat is sent up to
    `retries` times more after no answer, 429 or 503. `jitter` returns a random number in [0, 1), and `new_key` an
    idempotency key.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 3,
        jitter: Callable[[], float] = _RANDOM,
        new_key: Callable[[], str] = token_hex,
    ) -> None:
        self._transport = Transport(url, key, timeout=timeout, retries=retries, jitter=jitter)
        self._new_key = new_key

    @property
    def url(self) -> str:
        """The service's address, without a slash at the end."""
        return self._transport.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()
