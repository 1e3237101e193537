"""One request on its way through its plan, with a catalogue in memory and a list of deeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar, TypeVarTuple, Unpack

from ..runtime.context import RequestContext
from ..types import internal

TargetT = TypeVar("TargetT")
ValuesT = TypeVarTuple("ValuesT")


class Run:
    """What a plan works with; `deeds` says what steps did, in order."""

    def __init__(self, rows: dict[str, internal.Row]) -> None:
        self.context = RequestContext()
        self.rows = rows
        self.deeds: list[str] = []
        self.is_large = False

    async def apart(
        self, translate: Callable[[Unpack[ValuesT]], TargetT], *values: *ValuesT
    ) -> TargetT:
        """Translate a large request; here there is no one who would have to wait for it."""
        self.deeds.append("apart")
        return translate(*values)

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
