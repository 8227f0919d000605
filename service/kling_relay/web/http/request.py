"""A request on its way through the service, and the state that all requests of one process share."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic
from uuid import UUID

from aiohttp import web
from typing_extensions import TypeVar

from kling_relay.core.errors import NotFound, Unauthenticated
from kling_relay.core.key import Caller
from kling_relay.flows.log_follower import LogFollower
from kling_relay.flows.lookup import TaskLookup
from kling_relay.flows.memory import BodyShare
from kling_relay.store.postgres.statement import CollisionError, StoreUnavailableError, read_id
from kling_relay.web.http.auth import Authenticator
from kling_relay.web.http.body import Body as RawBody
from kling_relay.web.http.body import read_body_of_route
from kling_relay.web.http.context import Context
from kling_relay.web.http.event_stream import EventStreams
from kling_relay.web.http.rate_limit import RateLimits
from kling_relay.web.http.reports import ReportTurns

if TYPE_CHECKING:
    from kling_relay.web.http.routing import AnyRoute

Query = TypeVar("Query", default=None)
Body = TypeVar("Body", default=None)

ANONYMOUS = Caller(client=UUID(int=0), key=UUID(int=0), scopes=frozenset(), name="")
"""The caller on routes that need no key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """What the requests of one process share.

    `load` counts waiters, in total and per key.
    """

    context: Context
    authenticator: Authenticator
    rates: RateLimits
    turns: ReportTurns
    log_follower: LogFollower
    lookup: TaskLookup
    streams: EventStreams
    load: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, eq=False)
class Request(Generic[Query, Body]):
    """One request; `http` is aiohttp's, `query` and `body` are the models that its route names.

    The dispatcher sets `route` and `params` when the path is known, then `caller`, `query` and `body`, then calls the
    handler. `rate_headers` tell the caller its rate; `error_code` is the code of an error response. `share` is what the
    body takes of the process's memory; the dispatcher releases it unless a handler has passed it on.
    """

    state: AppState
    http: web.BaseRequest
    now: datetime
    request_id: str
    route: "AnyRoute" = field(init=False)
    params: Mapping[str, str] = field(init=False)
    query: Query = field(init=False)
    body: Body = field(init=False)
    caller: Caller = field(default=ANONYMOUS, init=False)
    rate_headers: Mapping[str, str] | None = field(default=None, init=False)
    error_code: int = field(default=0, init=False)
    share: BodyShare | None = field(default=None, init=False)

    @property
    def context(self) -> Context:
        return self.state.context

    def id(self, name: str) -> UUID:
        """Return a parameter of the path as an id. Raises NotFound if it is not one."""
        try:
            return read_id(self.params[name])
        except ValueError:
            raise NotFound from None

    @property
    def is_disconnected(self) -> bool:
        """Whether the client has closed the connection."""
        return is_disconnected(self.http)

    async def is_still_authorized(self) -> bool:
        """Return whether the caller's key is still valid; long responses end when it is revoked."""
        try:
            await self.state.authenticator.authenticate(self.http.headers, self.context.now())
        except Unauthenticated:
            return False
        except (StoreUnavailableError, CollisionError):
            return True  # unknown for now
        return True

    async def read(self) -> RawBody:
        """Return the body, within the limit of its route; a bytearray if it arrived in pieces.

        Raises TooLarge, BodyTimeout, Unavailable, UndecodableBody.
        """
        memory = self.context.memory
        self.share = BodyShare(memory)
        return await read_body_of_route(self.http, self.route.body_limit, self.context.limits, memory, self.share)


AnyRequest = Request[Any, Any]


def is_disconnected(request: web.BaseRequest) -> bool:
    """Return whether the client of a request has closed the connection."""
    return request.transport is None or request.transport.is_closing()
