"""Which route a request is for: a look into a table, then at the few patterns that begin alike."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from solver.gateway.route import Route


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What is served at a path: a route for each method; none where nothing is."""

    path: str
    """As the table of routes writes it."""
    routes: Mapping[str, Route]
    named: Mapping[str, str]
    """What the names in the path stand for."""


class Router:
    """Finds what is served at a path, as it was sent."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._plain: dict[str, Found] = {}
        self._patterns: dict[str, list[tuple[re.Pattern[str], Found]]] = {}
        for path, methods in _by_path(routes).items():
            found = Found(path=path, routes=methods, named={})
            pattern = next(iter(methods.values())).pattern
            if "{" in path:
                self._patterns.setdefault(_start(path), []).append((re.compile(pattern), found))
            else:
                self._plain[path] = found

    def find(self, path: str) -> Found:
        """What is served there."""
        return self._plain.get(path) or self._matching(path)

    def _matching(self, path: str) -> Found:
        for pattern, found in self._patterns.get(_start(path), ()):
            match = pattern.fullmatch(path)
            if match is not None:
                return Found(path=found.path, routes=found.routes, named=match.groupdict())
        return _NOTHING


def _by_path(routes: Sequence[Route]) -> dict[str, dict[str, Route]]:
    methods: dict[str, dict[str, Route]] = {}
    for route in routes:
        methods.setdefault(route.path, {})[route.method] = route
    return methods


def _start(path: str) -> str:
    """The first two parts of a path, of which no route has a name."""
    return "/".join(path.split("/", 3)[:3])


_NOTHING: Final = Found(path="", routes={}, named={})
