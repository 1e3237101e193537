"""
The table of routes that the edge matches paths with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from ..observability.record import Named
from .asgi import ASGIApp

REST = "{rest}"
"""The parameter at the end of a template that stands for the whole rest of a path."""


Kept: TypeAlias = Callable[[bytes, str], tuple[bytes, bytes, Named | None] | None]
"""
Returns the kept answer to a request with a body and a user agent, None if there is none now: its
content type, its body, and the model that it is of.
"""


class Route(NamedTuple):
    """
    One path template and its methods, in the order of registration.

    `app` serves the path, if it has no parameters and needs no framework. `kept` has the answers of
    methods that are kept.
    """

    template: str
    methods: tuple[str, ...]
    app: ASGIApp | None = None
    kept: Mapping[str, Kept] = MappingProxyType({})


class RouteTable:
    """The paths that exist, and the applications of those that are asked for most."""

    def __init__(
        self,
        entries: Iterable[tuple[str, str]],
        mounts: Iterable[str],
        apps: Mapping[str, ASGIApp] = MappingProxyType({}),
        kept: Mapping[str, Mapping[str, Kept]] = MappingProxyType({}),
    ) -> None:
        """
        Take (method, template) pairs in the order of registration, and the mounted prefixes.

        `apps` serve templates without parameters, and prefixes; `kept` has answers by
        template and method.

        A `{name}` segment of a template matches one segment that is not empty. Below a mount
        (`"/v1/"`) every path matches, with every method unless an entry lists the methods. There,
        `{name}` matches several segments, too, because LM Studio's names contain slashes.
        """
        methods: dict[str, list[str]] = {}
        for method, template in entries:
            methods.setdefault(template, []).append(method)
        routes = [
            Route(template, tuple(found), apps.get(template), kept.get(template, {}))
            for template, found in methods.items()
        ]
        self._mounts = tuple(mounts)
        self._apps = apps
        self._fixed = {route.template: route for route in routes if "{" not in route.template}
        self._patterns = [
            (_pattern(route, ".+" if route.template.startswith(self._mounts) else "[^/]+"), route)
            for route in routes
            if "{" in route.template
        ]

    def find(self, path: str) -> Route | None:
        """Return the route of a decoded path; a fixed one wins over one with parameters."""
        if route := self._fixed.get(path):
            return route
        if self._leads_out(path):
            return None
        return next((route for pattern, route in self._patterns if pattern.fullmatch(path)), None)

    def mount_of(self, path: str) -> str | None:
        """Return the mount of a decoded path."""
        for mount in self._mounts:
            if path.startswith(mount) and len(path) > len(mount):
                return None if self._leads_out(path) else mount
        return None

    def app_of(self, mount: str) -> ASGIApp | None:
        """Return the application of a mount, if it needs no framework."""
        return self._apps.get(mount)

    def _leads_out(self, path: str) -> bool:
        """
        Return whether a path would lead an upstream out of its mount.

        The upstream would resolve `.` and `..`, which can only arrive here percent-encoded.
        """
        return path.startswith(self._mounts) and not {".", ".."}.isdisjoint(path.split("/"))


def _pattern(route: Route, parameter: str) -> re.Pattern[str]:
    if route.template.endswith(REST):
        # All that follows, slashes too, and nothing, as a wildcard of Ollama's router.
        return re.compile(re.escape(route.template.removesuffix(REST)) + ".*", re.DOTALL)
    parts = re.split(r"\{[^{}]+\}", route.template)
    return re.compile(parameter.join(re.escape(part) for part in parts), re.DOTALL)


RELOAD = "/reload"
"""The path with which a caller on this machine has the settings read anew."""

OWN = "/olgate/"
"""What all paths of the gateway's own that no client asks for begin with."""

INSPECT = "/olgate/inspect"
"""The path below which the kept exchanges are."""

DRAIN, UNDRAIN = "/olgate/drain", "/olgate/undrain"
"""The paths by which a host is drained and taken back."""

CONSOLE = "/olgate/"
"""The page for people (`console`)."""

CONSOLE_EVENTS = "/olgate/events"
"""The stream of what the page shows."""

CONSOLE_ACT = "/olgate/act"
"""Where the page's forms go that load, unload, pull or drain."""

CONSOLE_EXPLAIN = "/olgate/explain"
"""Where the page's forms go that ask what becomes of a request, or of a model's name."""

CONSOLE_LOGIN = "/olgate/login"
CONSOLE_LOGOUT = "/olgate/logout"
CONSOLE_FILES = ("/olgate/console.css", "/olgate/console.js", "/olgate/icon.svg")

CONSOLE_OPEN = (
    CONSOLE,
    CONSOLE_LOGIN,
    CONSOLE_LOGOUT,
    CONSOLE_ACT,
    CONSOLE_EXPLAIN,
    *CONSOLE_FILES,
)
"""
The paths of the page at which the gate for keys lets everybody in: a browser gets the form for a
key there. They show and do nothing before the page itself has asked the gate.
"""

CONSOLE_PATHS = (*CONSOLE_OPEN, CONSOLE_EVENTS)

HEALTH = "/health"
