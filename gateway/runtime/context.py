"""
The context of one request: what rules may read as `$context` (specs/context.schema.yaml).

Everything here is filled before a mapping reads it; reading changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from gateway.settings.schema import Settings
from gateway.types import internal
from gateway.wire.times import utc_text

EMPTY: Mapping[str, str] = MappingProxyType({})


class PathValues:
    """What stands in an operation's path for its parameters, decoded; rules read it as `$path`."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> str:
        return self._values[name]


class RequestContext:
    """
    One request's context. Times are nanoseconds of the monotonic clock.

    `asked` is the model's name as the client sent it, empty until a plan has asked for the model;
    `model` is there once a plan has resolved it, and not before.
    """

    model: internal.CatalogueRow
    now: str
    """The time of day as frames carry it: that of reading it, or what was set for a while."""

    __slots__ = (
        "asked",
        "first_event_ns",
        "is_blob_known",
        "kept_name",
        "loaded_ns",
        "model",
        "models",
        "now",
        "path",
        "running",
        "settings",
        "started_ns",
        "think_values",
        "upstream_url",
        "user_agent",
    )

    def __init__(
        self, settings: Settings, user_agent: str, path: Mapping[str, str] = EMPTY
    ) -> None:
        self.settings = settings
        self.user_agent = user_agent
        self.path = PathValues(path)
        self.upstream_url = settings.upstream.url
        self.started_ns = self.loaded_ns = self.first_event_ns = time.monotonic_ns()
        self.is_blob_known = False
        self.think_values = ""
        self.kept_name: Literal["stored", "configured", "none"] = "none"
        self.models: list[internal.CatalogueRow] = []
        self.running: list[internal.RunningInstance] = []
        self.asked = internal.AskedName(text="", trimmed="", display="", full="")

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> str:
            # Only asked for what is not set; a token's time is, which so costs no call to read.
            if name == "now":
                return utc_text(time.time_ns())
            raise AttributeError(f"{name} is not known yet", name=name, obj=self)

    @property
    def monotonic_ns(self) -> int:
        """The monotonic clock, now."""
        return time.monotonic_ns()

    @property
    def resolved(self) -> internal.CatalogueRow | None:
        """The model of this request, None when the plan needs none."""
        return getattr(self, "model", None)
