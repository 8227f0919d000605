"""The way from a path's segments to its routes: a tree of literals, with one branch for whatever a parameter may be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kling_relay.web.http.request import Family, Route

KLING_PREFIXES = (("kling", "v1"), ("v1",), ("proxy", "kling", "v1"))
"""Kling's paths answer under each of these; the table has them under the first."""


@dataclass(slots=True)
class _Node:
    """A place in the tree: what may follow, and what answers here."""

    literals: "dict[str, _Node]" = field(default_factory=dict)
    parameter: "tuple[str, _Node] | None" = None
    routes: dict[str, Route] = field(default_factory=dict)
    is_kling: bool = False


class Found(NamedTuple):
    """The routes of one path, by method, what its parameters are, and whether it answers in Kling's manner."""

    routes: Mapping[str, Route]
    params: Mapping[str, str]
    is_kling: bool

    @property
    def methods(self) -> Iterable[str]:
        return [*self.routes, *(["HEAD"] if "GET" in self.routes else [])]


class Router:
    """Made of the route table once; `find` takes a path apart in one walk."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            for path in paths_of(route):
                self._add(path, route)

    def find(self, segments: tuple[str, ...]) -> Found | None:
        """Return what answers at a path, or None; a literal goes before a parameter."""
        node = self._root
        params: dict[str, str] = {}
        for segment in segments:
            following = node.literals.get(segment)
            if following is None and node.parameter is not None:
                name, following = node.parameter
                params[name] = segment
            if following is None:
                return None
            node = following
        return Found(node.routes, params, node.is_kling) if node.routes else None

    def _add(self, path: tuple[str, ...], route: Route) -> None:
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
        node.is_kling = node.is_kling or route.family is Family.KLING


def paths_of(route: Route) -> list[tuple[str, ...]]:
    """Return every path, in segments, at which a route answers."""
    path = tuple(part for part in route.path.split("/") if part)
    if route.family is not Family.KLING:
        return [path]
    return [prefix + path[len(KLING_PREFIXES[0]) :] for prefix in KLING_PREFIXES]
