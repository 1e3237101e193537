"""
The context of one request: what rules may read as `$call` (specs/call.schema.yaml).

Everything here is filled before a mapping reads it; reading changes nothing.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone

from gateway._generated import internal
from gateway.settings import Settings


def utc_text(epoch_ns: int) -> str:
    """
    Return a time as Ollama writes `created_at`: UTC, nanoseconds, trailing zeros dropped.

    >>> utc_text(1_700_000_000_120_000_000)
    '2023-11-14T22:13:20.12Z'
    """
    seconds, fraction = divmod(epoch_ns, 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


def local_text(epoch_s: float) -> str:
    """Return a time as Ollama writes `modified_at` and `expires_at`: in the server's own zone."""
    text = datetime.fromtimestamp(epoch_s, timezone.utc).astimezone().isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


class Call:
    """One request's context. Times are nanoseconds of the monotonic clock."""

    __slots__ = (
        "_asked",
        "_model",
        "first_event_ns",
        "loaded_ns",
        "models",
        "running",
        "settings",
        "started_ns",
        "upstream_url",
        "user_agent",
    )

    def __init__(self, settings: Settings, user_agent: str) -> None:
        self.settings = settings
        self.user_agent = user_agent
        self.upstream_url = settings.upstream.url
        self.started_ns = self.loaded_ns = self.first_event_ns = time.monotonic_ns()
        self.models: list[internal.CatalogueRow] = []
        self.running: list[internal.RunningInstance] = []
        self._asked: internal.AskedName | None = None
        self._model: internal.CatalogueRow | None = None

    @property
    def now(self) -> str:
        """The time of day as frames carry it."""
        return utc_text(time.time_ns())

    @property
    def monotonic_ns(self) -> int:
        """The monotonic clock, now."""
        return time.monotonic_ns()

    @property
    def asked(self) -> internal.AskedName:
        """The model's name as the client sent it; there once a plan has asked for the model."""
        assert self._asked is not None, "a plan reads the asked name after its model step"
        return self._asked

    @asked.setter
    def asked(self, name: internal.AskedName) -> None:
        self._asked = name

    @property
    def model(self) -> internal.CatalogueRow:
        """The model of this request; there once a plan has resolved it."""
        assert self._model is not None, "a plan reads the model after its model step"
        return self._model

    @model.setter
    def model(self, row: internal.CatalogueRow) -> None:
        self._model = row

    @property
    def resolved(self) -> internal.CatalogueRow | None:
        """The model of this request, None when the plan needs none."""
        return self._model
