"""One request on its way through its plan, with a catalogue in memory and a list of deeds."""

from __future__ import annotations

from typing import Literal

from gateway.runtime.context import RequestContext
from gateway.types import internal


class Run:
    """What a plan works with; `deeds` says what steps did, in order."""

    def __init__(self, rows: dict[str, internal.Row]) -> None:
        self.context = RequestContext()
        self.rows = rows
        self.deeds: list[str] = []

    async def find_model(
        self,
        name: str,
        *,
        takes_cloud: bool = False,
        match_case: bool = False,
        trust_loaded: bool = False,
        as_written: bool = False,
    ) -> Literal["found", "illegal", "unknown", "cloud", "conflict"]:
        """Resolve a name; blanks are illegal in one, `!` marks the cloud and `?!` both places."""
        self.context.asked = internal.Asked(text=name)
        if name.endswith("!") and not takes_cloud:
            return "conflict" if name.endswith("?!") else "cloud"
        if not match_case and not as_written:
            name = name.lower()
        if " " in name:
            return "illegal"
        row = self.rows.get(name)
        if row is None:
            return "unknown"
        self.context.model = row
        return "found"
