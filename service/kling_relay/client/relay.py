"""The service as an object, asynchronous: orders and tasks, the log of events, subscriptions and deliveries."""

from collections.abc import Callable
from secrets import SystemRandom, token_hex
from types import TracebackType
from typing import Self

from kling_relay.client.events import Log
from kling_relay.client.subscriptions import Subscriptions
from kling_relay.client.tasks import Tasks
from kling_relay.client.transport import Transport

_CHANCE = SystemRandom().random


class Relay(Tasks, Log, Subscriptions):
    """A client's view of one service; everything raises RelayError where the service, or the way there, says no.

    `key` is a client key; `seconds` is how long one request may take, `repeats` how often one that may be repeated
    safely is sent again when there was no answer, 429 or 503.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        key: str | None = None,
        *,
        seconds: float = 30.0,
        repeats: int = 3,
        chance: Callable[[], float] = _CHANCE,
        word: Callable[[], str] = token_hex,
    ) -> None:
        self._transport = Transport(url, key, seconds=seconds, repeats=repeats, chance=chance)
        self._word = word

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
