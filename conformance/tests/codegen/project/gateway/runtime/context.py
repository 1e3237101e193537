"""The context of one request; types are those that the fixture project generates."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from msgspec import UNSET, Raw, UnsetType

from ..types import internal


class RequestContext:
    """What rules read as `$context`; the clock stands still."""

    def __init__(self) -> None:
        self.path = SimpleNamespace()
        self.sent: dict[str, Raw] = {}
        self.warnings: list[str] = []
        self.conditions: dict[Callable[[RequestContext], bool], bool] = {}
        self.now = "now"
        self.started_ns = 1
        self.shown = "both"
        self.settings: dict[str, Any] | UnsetType = UNSET
        self.models: list[internal.Row] = []
        self.kept_models: list[internal.Row] = []
        self.asked = internal.Asked(text="")
        self.model = internal.Row(
            key="", name="", capabilities=internal.Capabilities(completion="no", tools="no")
        )

    @property
    def monotonic_ns(self) -> int:
        """The clock, which is computed at each reading and so is marked in the description."""
        return 42
