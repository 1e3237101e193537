"""
The context of one request: what rules may read as `$call` (specs/call.schema.yaml).

Everything here is filled before a mapping reads it; reading changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from gateway.settings import Settings
from gateway.types import internal

_SECOND_NS = 1_000_000_000

EMPTY: Mapping[str, str] = MappingProxyType({})


class _Second:
    """The second that was written last, in ns and as text: frames share it, and making it costs."""

    last: ClassVar[tuple[int, str]] = (0, "1970-01-01T00:00:00.")


def utc_text(epoch_ns: int) -> str:
    """
    Return a time as Ollama writes `created_at`: UTC, nanoseconds, trailing zeros dropped.

    >>> utc_text(1_700_000_000_120_000_000)
    '2023-11-14T22:13:20.12Z'
    """
    start_ns, second = _Second.last
    fraction = epoch_ns - start_ns
    if not 0 <= fraction < _SECOND_NS:
        seconds, fraction = divmod(epoch_ns, _SECOND_NS)
        second = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(seconds))
        _Second.last = (seconds * _SECOND_NS, second)
    text = second + str(fraction).zfill(9)
    # Nine times in ten the last digit is none of these.
    return (text if fraction % 10 else text.rstrip("0").rstrip(".")) + "Z"


def local_text(epoch_s: float) -> str:
    """
    Return a time as Ollama writes `modified_at` and `expires_at`: in the server's own zone.

    The fraction's trailing zeros are dropped, and UTC is `Z` (ollama sheet §1.9).
    """
    moment = datetime.fromtimestamp(epoch_s, UTC).astimezone()
    fraction = f".{moment.microsecond:06d}".rstrip("0").rstrip(".")
    zone = moment.strftime("%z")
    offset = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:5]}"
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + fraction + offset


class PathValues:
    """What stands in an operation's path for its parameters, decoded; rules read it as `$path`."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> str:
        return self._values[name]


class Call:
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
        self.kept_name: Literal["stored", "configured", "none"] = "none"
        self.models: list[internal.CatalogueRow] = []
        self.running: list[internal.RunningInstance] = []
        self.asked = internal.AskedName(text="", display="", full="")

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
