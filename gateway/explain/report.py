"""
The explanation of a request as data: what `olgate explain --json` prints, and a page shows.

Values are JSON. `at` is always `file:line` of a rule, "" where no rule is behind it.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

FieldVerdict = Literal["sent", "read", "not sent", "ignored", "refused", "unknown", "passed on"]
Purpose = Literal["list", "load", "unload", "download", "warm", "answer"]
WayKind = Literal["plan", "passed on", "edge"]
"""`edge`: it is answered before any rule is looked at, such as a 404."""
StepVerdict = Literal["done", "passed", "skipped", "refused", "ended", "not reached"]


class AskedPart(Struct, kw_only=True):
    """The request that is explained."""

    method: str
    path: str
    source: str
    """Where it was read from, in words."""
    body: Any = UNSET
    body_bytes: int = 0


class ModelsPart(Struct, kw_only=True):
    """The list of models that names were looked up in."""

    source: Literal["file", "host", "assumed"]
    where: str
    """The file, the host's address, or the reason for the assumption."""
    count: int


class ModelPart(Struct, kw_only=True):
    """The model that the request's name was found to mean."""

    asked: str
    name: str
    key: str
    request_key: str
    host: str
    """The host that would serve, "" where there is one."""
    capabilities: dict[str, str]
    loaded: list[dict[str, Any]]
    max_context_length: int | None = None
    derived: bool = False


class StepPart(Struct, kw_only=True):
    """One step of the plan, and what it found."""

    at: str
    kind: str
    what: str
    verdict: StepVerdict
    found: str = ""
    when: str = ""


class Became(Struct, kw_only=True):
    """A field of the request to LM Studio that a field of the client's request went into."""

    path: str
    at: str
    how: str
    value: Any = UNSET
    """Absent when the rule gave nothing for this value."""


class FieldPart(Struct, kw_only=True):
    """One field that the client sent."""

    path: str
    value: Any
    verdict: FieldVerdict
    at: str = ""
    why: str = ""
    became: list[Became] = field(default_factory=list)


class Made(Struct, kw_only=True):
    """One field that a rule made: of the request to LM Studio, of a frame, or of an answer."""

    path: str
    value: Any
    at: str
    how: str
    sources: tuple[str, ...] = ()
    group: str = ""


class Unmade(Struct, kw_only=True):
    """A field of the request to LM Studio that is not there, and why."""

    path: str
    at: str
    why: str


class ChangedPart(Struct, kw_only=True):
    """A member of what is passed on that a rule changes, adds or leaves out."""

    side: str
    path: str
    verb: str
    at: str
    how: str
    why: str
    verdict: Literal["changed", "as it came", "not asked for"]
    before: Any = UNSET
    after: Any = UNSET


class CallPart(Struct, kw_only=True):
    """One request that LM Studio would get."""

    purpose: Purpose
    method: str
    path: str
    headers: dict[str, str]
    host: str = ""
    """The host that would get it, "" where there is one."""
    body: Any = UNSET
    made: list[Made] = field(default_factory=list)
    """Its fields with their rules, for the request that the answer comes from."""
    unmade: list[Unmade] = field(default_factory=list)


class ChunkPart(Struct, kw_only=True):
    """One chunk of LM Studio's stream on its way back."""

    chunk: Any
    frame: Any = None
    """None when it makes no frame."""
    made: list[Made] = field(default_factory=list)
    remembered: dict[str, Any] = field(default_factory=dict)
    """What is remembered of it, as far as it differs from before."""


class AnswerPart(Struct, kw_only=True):
    """What the client would get."""

    status: int
    headers: dict[str, str]
    body: Any = UNSET
    """The JSON value of an answer in one piece; absent for a stream."""
    text: str = ""
    lines: list[Any] = field(default_factory=list)
    """The frames of a stream."""
    made: list[Made] = field(default_factory=list)
    """The fields of the last frame or of the one answer, with their rules."""
    row: str = ""
    """The row of the table of errors that an error of LM Studio's was turned by, as `file:line`."""


class Explanation(Struct, kw_only=True):
    """The whole explanation."""

    request: AskedPart
    way: WayKind
    route: str
    mapping: str
    models: ModelsPart
    model: ModelPart | None
    steps: list[StepPart]
    fields: list[FieldPart]
    changed: list[ChangedPart]
    calls: list[CallPart]
    way_back: list[ChunkPart]
    answer: AnswerPart | None
    """None when the request would go to LM Studio and no answer of its was given."""
    notes: list[str]


__all__ = [
    "AnswerPart",
    "AskedPart",
    "Became",
    "CallPart",
    "ChangedPart",
    "ChunkPart",
    "Explanation",
    "FieldPart",
    "FieldVerdict",
    "Made",
    "ModelPart",
    "ModelsPart",
    "StepPart",
    "StepVerdict",
    "Unmade",
    "UnsetType",
]
