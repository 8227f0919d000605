"""A call is one request on its way through the web: who asks, for what, when, and with which tools."""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel

from kling_relay.core.errors import NotFound, Unauthenticated
from kling_relay.core.key import Caller, Scope
from kling_relay.flows.follow_log import LogFollower
from kling_relay.flows.lookup import TaskLookup
from kling_relay.store.postgres.statement import CollisionError, StoreUnavailableError, read_id
from kling_relay.web.http import body as bodies
from kling_relay.web.http.auth import Authenticator
from kling_relay.web.http.body import Size
from kling_relay.web.http.context import Context
from kling_relay.web.http.response import Response

Model = TypeVar("Model", bound=BaseModel)


class Family(StrEnum):
    """In whose manner a path answers: Kling's envelope, or ours (plain JSON, problem+json)."""

    KLING = "kling"
    OURS = "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """What one process's web has beside its tools.

    `in_hand` counts bytes of bodies, streams, and waiters in all and by key; `streams` are the streams of each key.
    """

    tools: Context
    doorman: Authenticator
    tail: LogFollower
    lookup: TaskLookup
    in_hand: Counter[str] = field(default_factory=Counter)
    streams: defaultdict[UUID, list[web.BaseRequest]] = field(default_factory=lambda: defaultdict(list))


NOBODY = Caller(client=UUID(int=0), key=UUID(int=0), scopes=frozenset(), name="")
"""Who asks where nobody has to say who they are."""


@dataclass(slots=True, eq=False)
class Request:
    """One request on its way; `Dispatch` adds what path, key, query and body say, as it judges them.

    `route` and `params` are there once the path was found, `caller` on every route that asks for a scope. `told` are
    the headers of its key's rate, `code` is that of its refusal.
    """

    site: AppState
    request: web.BaseRequest
    now: datetime
    request_id: str
    route: "Route" = field(init=False)
    params: Mapping[str, str] = field(init=False)
    caller: Caller = field(default=NOBODY, init=False)
    body: Any = field(default=None, init=False)
    query: Any = field(default=None, init=False)
    told: Mapping[str, str] | None = field(default=None, init=False)
    code: int = field(default=0, init=False)

    @property
    def tools(self) -> Context:
        return self.site.tools

    def id(self, name: str) -> UUID:
        """Return a path's parameter as an id; what is no id is nothing that could be found."""
        try:
            return read_id(self.params[name])
        except ValueError:
            raise NotFound from None

    @property
    def is_gone(self) -> bool:
        """Whether nobody is there any more to be answered."""
        return is_gone(self.request)

    async def is_still_welcome(self) -> bool:
        """Return whether the caller's key still holds: what is answered for long is ended when it is revoked."""
        try:
            await self.site.doorman.admit(self.request.headers.get("Authorization"), self.tools.now())
        except Unauthenticated:
            return False
        except (StoreUnavailableError, CollisionError):
            return True  # nobody can say at present
        return True

    async def read(self) -> bytes:
        """Return the body, within the limit of its route. Raises TooLarge, TooSlow, Unavailable."""
        return await bodies.read_for(self.request, self.route.size, self.tools.limits, self.site.in_hand)


def is_gone(request: web.BaseRequest) -> bool:
    """Return whether a request's connection was closed."""
    return request.transport is None or request.transport.is_closing()


Answer = Response | web.StreamResponse
"""What is there at once, or a stream, which is over when it is returned."""
Act = Callable[[Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One line of the route table: what is answered where, to whom, and by which function.

    `scope` None asks for no key. `body` and `query` are checked before `act` is called; a `body` of None with a POST
    on Kling's paths is an order, which the rule book checks. `answer` is what a good answer (`status`) looks like.
    """

    name: str
    method: str
    path: str
    act: Act
    summary: str
    scope: Scope | None = Scope.READ
    family: Family = Family.OURS
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    media: str = "application/json"
    text: str | None = None
    """The media type of an answer in text that may be asked for instead."""
    status: int = 200
    size: Size = Size.OTHER
    refusals: tuple[int, ...] = ()
