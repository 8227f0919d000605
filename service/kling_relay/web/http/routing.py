"""Routes, and the router that finds them: a tree of path segments, in which a parameter matches any segment."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, NamedTuple

from aiohttp import web
from pydantic import BaseModel

from kling_relay.core.key import Scope
from kling_relay.web.http.aiohttp_internals import Takeover
from kling_relay.web.http.body import BodyLimit
from kling_relay.web.http.request import Body, Query, Request
from kling_relay.web.http.response import Response

AnyResponse = Response | web.StreamResponse | Takeover
"""A whole response, a stream that has ended, or one that goes on without aiohttp."""


class Api(StrEnum):
    """The API that a path belongs to: Kling's, in its envelope, or ours, in plain JSON and problem+json."""

    KLING = "kling"
    RELAY = "relay"


KLING_PREFIXES = (("kling", "v1"), ("v1",), ("proxy", "kling", "v1"))
"""Every path of Kling's API is served under each of these; routes are written with the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Generic[Query, Body]):
    """A method and path with its handler, and what the OpenAPI document says of it.

    `query` and `body` are validated before the handler is called. A POST on Kling's paths has no `body` model: the
    rule book checks orders. `scope` None means that no key is needed. A route that `is_report` may read many rows, on
    connections of its own, in its turn and within a time. `errors` are the codes that are the route's own.
    """

    name: str
    method: str
    path: str
    handler: Callable[[Request[Query, Body]], Awaitable[AnyResponse]]
    summary: str
    scope: Scope | None = Scope.READ
    is_report: bool = False
    api: Api = Api.RELAY
    query: type[Query] | None = None
    body: type[Body] | None = None
    response: type[BaseModel] | None = None
    status: int = 200
    media_type: str = "application/json"
    text_media_type: str | None = None
    """The media type of a response in text that a client may ask for instead."""
    body_limit: BodyLimit = BodyLimit.OTHER
    errors: tuple[int, ...] = ()


AnyRoute = Route[Any, Any]


class Match(NamedTuple):
    """The routes of a path by method, its parameters, and whether it belongs to Kling's API."""

    routes: Mapping[str, AnyRoute]
    params: Mapping[str, str]
    is_kling: bool

    @property
    def methods(self) -> Iterable[str]:
        return [*self.routes, *(["HEAD"] if "GET" in self.routes else [])]


@dataclass(slots=True)
class _Node:
    """A place in the tree: the segments that may follow, and the routes that end here."""

    literals: "dict[str, _Node]" = field(default_factory=dict)
    parameter: "tuple[str, _Node] | None" = None
    routes: dict[str, AnyRoute] = field(default_factory=dict)
    is_kling: bool = False


class Router:
    """Finds the routes of a path in one walk through the tree."""

    def __init__(self, routes: Iterable[AnyRoute]) -> None:
        self._root = _Node()
        for route in routes:
            for path in _paths(route):
                self._add(path, route)

    def match(self, segments: tuple[str, ...]) -> Match | None:
        """Return the routes of a path, or None; a literal segment goes before a parameter."""
        node = self._root
        params: dict[str, str] = {}
        for segment in segments:
            child = node.literals.get(segment)
            if child is None and node.parameter is not None:
                name, child = node.parameter
                params[name] = segment
            if child is None:
                return None
            node = child
        return Match(node.routes, params, node.is_kling) if node.routes else None

    def _add(self, path: tuple[str, ...], route: AnyRoute) -> None:
        node = self._root
        for part in path:
            if part.startswith("{"):
                if node.parameter is None:
                    node.parameter = (part[1:-1], _Node())
                node = node.parameter[1]
            else:
                node = node.literals.setdefault(part, _Node())
        if route.method in node.routes:
            raise ValueError(f"two routes for {route.method} {'/'.join(path)}")
        node.routes[route.method] = route
        node.is_kling = node.is_kling or route.api is Api.KLING


def _paths(route: AnyRoute) -> list[tuple[str, ...]]:
    """Return the segments of every path that a route is served at."""
    path = tuple(part for part in route.path.split("/") if part)
    if route.api is not Api.KLING:
        return [path]
    return [prefix + path[len(KLING_PREFIXES[0]) :] for prefix in KLING_PREFIXES]
