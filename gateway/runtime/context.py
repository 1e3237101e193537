"""
The context of one request: what rules may read as `$context` (specs/context.schema.yaml).

All values are set before a mapping reads them. Reading has no effects.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

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


_NO_PATH: Final = PathValues(EMPTY)
_NOT_ASKED: Final = internal.AskedName(text="", trimmed="", display="", full="")
_NO_NAMES: Final[list[str]] = []
_NO_ROWS: Final[list[internal.CatalogueRow]] = []
_NO_INSTANCES: Final[list[internal.RunningInstance]] = []
"""What most requests have; steps replace these, and never change them."""


class _TimeOfDay:
    """The time of day, for a context in which no time was set."""

    def __get__(self, context: object, kind: object = None) -> str:
        return utc_text(time.time_ns())


class RequestContext:
    """
    One request's context. Times are nanoseconds of the monotonic clock.

    `asked` is the model's name as the client sent it, empty until a plan resolves the model.
    `model` is set after that. `sent` are the members of a request that is passed on, as they came;
    `warnings` are sentences for its client; `conditions` are those of changes that were asked.

    What most requests neither have nor read is an attribute of the class: it costs nothing. One
    that every request reads is set, since Python finds it faster.
    """

    model: internal.CatalogueRow
    grant: Grant | None = None
    """What the client's key may do; None is everything."""
    path: PathValues = _NO_PATH
    is_blob_known = False
    is_source_missing = False
    joined_pieces = 0
    asks_for_stream = True
    is_whole = False
    instance_id = ""
    text_count = 0
    in_base64 = False
    tool_names: list[str] = _NO_NAMES
    pictures: dict[str, str] = EMPTY_PICTURES
    on_hosts = ""
    kept_name: Literal["stored", "configured", "none"] = "none"
    models: list[internal.CatalogueRow] = _NO_ROWS
    kept_models: list[internal.CatalogueRow] = _NO_ROWS
    sent: Mapping[str, msgspec.Raw] = NOTHING
    running: list[internal.RunningInstance] = _NO_INSTANCES
    asked: internal.AskedName = _NOT_ASKED
    if TYPE_CHECKING:
        now: str
        """The time of day for frames: the current time, or a fixed one that was set."""
    else:
        # A value that is set comes before it: a token's time is set once and read for each frame.
        now = _TimeOfDay()

    def __init__(
        self, settings: Settings, user_agent: str, path: Mapping[str, str] = EMPTY
    ) -> None:
        self.settings = settings
        self.user_agent = user_agent
        if path:
            self.path = PathValues(path)
        self.think_values = ""
        self.upstream_url = settings.upstream.url
        self.started_ns = self.loaded_ns = self.first_event_ns = time.perf_counter_ns()
        self.conditions: dict[Callable[[RequestContext], bool], bool] = {}
        self.warnings: list[str] = []

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
