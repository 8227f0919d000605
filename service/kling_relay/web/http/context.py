"""What the web works with: the flows, the database, the data of rules and prices, and the limits on what comes in."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from kling_relay.core.address import NOWHERE, Allowed
from kling_relay.core.key import Caller
from kling_relay.core.order import Order
from kling_relay.core.price import Prices
from kling_relay.core.rulebook import Rulebook
from kling_relay.core.subscription import DEFAULT_IN_FLIGHT
from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.postgres.database import Database

Clock = Callable[[], datetime]
Chance = Callable[[int], int]
"""So many bits of chance."""


class Submit(Protocol):
    """The flow that makes an order a task and returns it as it is shown."""

    async def __call__(
        self, caller: Caller, order: Order, *, word: str | None, trace: str | None, now: datetime
    ) -> Mapping[str, Any]: ...


class Ingest(Protocol):
    """The flow that makes a callback a step; returns when it is recorded."""

    async def callback(self, task: UUID, body: bytes, headers: Mapping[str, str], now: datetime) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what comes in; times in seconds, sizes in bytes."""

    order_bytes: int = 32 * 1024 * 1024
    callback_bytes: int = 1024 * 1024
    body_bytes: int = 1024 * 1024
    header_bytes: int = 16 * 1024
    """One line of a head: its first, or one header."""
    in_flight: int = DEFAULT_IN_FLIGHT
    """Attempts at once for a subscription that does not say."""
    json_depth: int = 32
    bytes_in_hand: int = 512 * 1024 * 1024
    """All bodies being read at once; beyond it 503."""
    body_seconds: float = 60.0
    idle_seconds: float = 75.0
    max_wait: float = 60.0
    waiters: int = 10_000
    waiters_per_key: int = 1_000
    streams: int = 5_000
    streams_per_key: int = 20
    stream_buffer: int = 1_000
    """Events that wait for one reader; a slower one is cut."""
    stream_stall: float = 10.0
    heartbeat: float = 15.0
    rate: float | None = None
    """Requests a second per key and process; None is without limit."""
    burst: int = 100


class Seen(NamedTuple):
    """One request and its answer, for the log and the metrics; `route` is the operation's name, never a path."""

    route: str
    method: str
    status: int
    seconds: float
    request_id: str
    key: UUID | None
    code: int


def _unseen(_: Seen) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What `kling_relay.app` hands to the web, each made once.

    `callback_keys` are the keys of callback tokens, newest first; `is_draining` turns readiness red before shutdown;
    `wake` hints to this process's worker that something is due; `ready` says what else of the process is not ready;
    `chance` is for secrets and names, `new_id` names requests; `slots` is how many tasks may be in flight at the
    provider, None without limit.
    """

    submit: Submit
    ingest: Ingest
    database: Database
    encryptor: Encryptor
    callback_keys: Sequence[bytes] = field(repr=False)
    rulebook: Rulebook
    prices: Prices
    now: Clock
    chance: Chance
    new_id: Callable[[datetime], UUID]
    wakeup: Wakeup
    limits: Limits = Limits()
    allowed: Allowed = NOWHERE
    public_url: str = ""
    slots: int | None = None
    wake: Callable[[], None] = lambda: None
    is_draining: Callable[[], bool] = lambda: False
    ready: Callable[[], Awaitable[str | None]] | None = None
    seen: Callable[[Seen], None] = _unseen
