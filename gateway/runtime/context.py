"""
The context of one request: what rules may read as `$context` (specs/context.schema.yaml).

All values are set before a mapping reads them. Reading has no effects.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import msgspec

from ..observability.record import Grant
from ..settings.host_keys import keys_at
from ..settings.schema import Settings
from ..types import internal
from ..wire.times import utc_text

EMPTY: Mapping[str, str] = MappingProxyType({})
NOTHING: Mapping[str, msgspec.Raw] = MappingProxyType({})

EMPTY_PICTURES: dict[str, str] = {}
"""The pictures of most requests; steps replace it and never change it."""


class PathValues:
    """The decoded values of an operation's path parameters; rules read them as `$path`."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> str:
        return self._values[name]


class RequestContext:
    """
    One request's context. Times are nanoseconds of the monotonic clock.

    `asked` is the model's name as the client sent it, empty until a plan resolves the model.
    `model` is set after that. `sent` are the members of a request that is passed on, as they came;
    `warnings` are sentences for its client; `conditions` are those of changes that were asked.
    """

    model: internal.CatalogueRow
    now: str
    """The time of day for frames: the current time, or a fixed one that was set."""

    __slots__ = (
        "asked",
        "conditions",
        "first_event_ns",
        "grant",
        "in_base64",
        "instance_id",
        "is_blob_known",
        "is_source_missing",
        "joined_pieces",
        "kept_models",
        "kept_name",
        "loaded_ns",
        "model",
        "models",
        "now",
        "on_hosts",
        "path",
        "pictures",
        "running",
        "sent",
        "settings",
        "started_ns",
        "text_count",
        "think_values",
        "tool_names",
        "upstream_url",
        "user_agent",
        "warnings",
    )

    def __init__(
        self, settings: Settings, user_agent: str, path: Mapping[str, str] = EMPTY
    ) -> None:
        self.settings = settings
        self.user_agent = user_agent
        self.path = PathValues(path)
        self.upstream_url = settings.upstream.url
        self.started_ns = self.loaded_ns = self.first_event_ns = time.perf_counter_ns()
        self.grant: Grant | None = None
        """What the client's key may do; None is everything."""
        self.is_blob_known = False
        self.is_source_missing = False
        self.joined_pieces = 0
        self.instance_id = ""
        self.text_count = 0
        self.in_base64 = False
        self.tool_names: list[str] = []
        self.conditions: dict[Callable[[RequestContext], bool], bool] = {}
        self.think_values = ""
        self.pictures: dict[str, str] = EMPTY_PICTURES
        self.on_hosts = ""
        self.kept_name: Literal["stored", "configured", "none"] = "none"
        self.models: list[internal.CatalogueRow] = []
        self.kept_models: list[internal.CatalogueRow] = []
        self.sent: Mapping[str, msgspec.Raw] = NOTHING
        self.warnings: list[str] = []
        self.running: list[internal.RunningInstance] = []
        self.asked = internal.AskedName(text="", trimmed="", display="", full="")

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> str:
            # Called for unset attributes only. `now` is set for a token, so reading it is cheap.
            if name == "now":
                return utc_text(time.time_ns())
            raise AttributeError(f"{name} is not known yet", name=name, obj=self)

    @property
    def monotonic_ns(self) -> int:
        """The current time of the monotonic clock."""
        return time.perf_counter_ns()

    @property
    def token_setting(self) -> str:
        """The setting that has LM Studio's token, of the host that serves."""
        return keys_at(self.settings, self.upstream_url).token

    @property
    def resolved(self) -> internal.CatalogueRow | None:
        """The model of this request, None if the plan needs none."""
        return getattr(self, "model", None)
