"""
Mapping files as data: dataclasses that mirror the grammar, each knowing its position.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from codegen.descriptions.problem import Position
from codegen.descriptions.source import Key, Plain

SHARED = "shared"
"""The mapping file whose shapes, tables and streams may be named from every file."""


@dataclass(frozen=True)
class PathRef:
    """A dotted path as written; `root` is "" for the block's own source."""

    text: str
    position: Position

    @property
    def root(self) -> str:
        """`$request`, `$call`, `$state`, `$upstream`, `$path`, or "" for the source."""
        return self.text.split(".", 1)[0] if self.text.startswith("$") else ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The names after the root."""
        names = tuple(self.text.split("."))
        return names[1:] if self.root else names


@dataclass(frozen=True)
class Constant:
    """A literal in a rule."""

    value: Plain
    position: Position


Argument = PathRef | Constant


@dataclass(frozen=True)
class Refusal:
    """An error answer: status and text, braces in the text naming paths."""

    status: int
    error: str
    position: Position
    is_late: bool = False


@dataclass(frozen=True)
class Condition:
    """All of the stated tests hold."""

    position: Position
    empty: tuple[PathRef, ...] = ()
    nonempty: tuple[PathRef, ...] = ()
    present: tuple[PathRef, ...] = ()
    absent: tuple[PathRef, ...] = ()
    true: PathRef | None = None
    equals: tuple[PathRef, Constant] | None = None
    between: tuple[PathRef, Constant, Constant] | None = None
    via: str | None = None
    arguments: dict[str, Argument] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One arm of a match."""

    position: Position
    equals: Constant | None
    type: str | None
    otherwise: bool
    absent: bool = False
    reject: Refusal | None = None
    rule: Rule | None = None


@dataclass(frozen=True)
class Rule:
    """How one target field gets its value."""

    position: Position
    sources: tuple[PathRef, ...] = ()
    default: Constant | None = None
    value: Constant | None = None
    fields: dict[str, Rule] | None = None
    names: dict[str, Key] = field(default_factory=dict)
    each: PathRef | None = None
    use: str | None = None
    match: PathRef | None = None
    cases: tuple[Case, ...] = ()
    table: str | None = None
    via: str | None = None
    arguments: dict[str, Argument] | None = None
    when: Condition | None = None


@dataclass(frozen=True)
class Reason:
    """Why a field is left out, and who deals with it instead."""

    text: str
    handled_by: str | None
    position: Position


@dataclass(frozen=True)
class Block:
    """A translation from one type to another."""

    position: Position
    source: str
    source_position: Position
    target: str
    target_position: Position
    fields: dict[str, Rule]
    names: dict[str, Key]
    ignored: dict[str, Reason]
    ignored_position: Position
    rejected: dict[str, Refusal]
    omitted: dict[str, Reason]


@dataclass(frozen=True)
class ShapeCase:
    """One arm of a shape that matches."""

    position: Position
    equals: Constant | None
    type: str | None
    otherwise: bool
    block: Block


@dataclass(frozen=True)
class Shape:
    """A named translation of one object; either plain or a choice by a field."""

    name: str
    position: Position
    block: Block
    match: PathRef | None
    cases: tuple[ShapeCase, ...]


@dataclass(frozen=True)
class Table:
    """A total translation between two vocabularies."""

    name: str
    position: Position
    source: str | None
    target: str | None
    rows: dict[str, tuple[Key, Constant]]
    otherwise: Constant | None


@dataclass(frozen=True)
class StateRule:
    """What is remembered from chunk to chunk."""

    name: str
    position: Position
    reducer: str
    source: PathRef | None
    via: str | None
    arguments: dict[str, Argument] | None


@dataclass(frozen=True)
class Emit:
    """A frame and when it is sent."""

    event: str
    position: Position
    when: Condition | None
    fields: dict[str, Rule]
    names: dict[str, Key]


@dataclass(frozen=True)
class Fold:
    """How frames join into the one-shot answer."""

    position: Position
    concat: tuple[PathRef, ...]
    append: tuple[PathRef, ...]
    last: tuple[PathRef, ...]


@dataclass(frozen=True)
class Stream:
    """How chunks become frames."""

    block: Block
    state: dict[str, StateRule]
    complete: Condition | None
    emit: tuple[Emit, ...]
    fold: Fold | None
    like: str | None = None
    like_position: Position | None = None


@dataclass(frozen=True)
class CallRule:
    """An upstream call: the operation, the body made for it, what its answer becomes."""

    name: str
    position: Position
    api: str
    operation: str
    operation_position: Position
    request: Block | None
    streamed: Rule | None
    stream: Stream | None
    response: Block | None


@dataclass(frozen=True)
class AnswerRule:
    """A one-object answer made without an upstream call."""

    name: str
    position: Position
    target: str | None
    like: str | None
    text: str | None
    is_empty: bool
    status: int
    fields: dict[str, Rule]
    names: dict[str, Key]
    omitted: dict[str, Reason]


@dataclass(frozen=True)
class ReportRule:
    """Progress told line by line: the step that yields records, and what a record becomes."""

    name: str
    position: Position
    do: str
    streamed: Rule | None
    block: Block


@dataclass(frozen=True)
class Step:
    """One step of a plan; `kind` is the verb, the rest what that verb takes."""

    kind: str
    position: Position
    condition: Condition | None = None
    paths: tuple[PathRef, ...] = ()
    name: str = ""
    do: str | None = None
    choices: tuple[tuple[str, Position, Condition | None], ...] = ()
    refusal: Refusal | None = None
    when: Condition | None = None
    otherwise: Refusal | None = None
    missing: Refusal | None = None
    illegal: Refusal | None = None
    unknown: Refusal | None = None
    cloud: Refusal | None = None
    conflict: Refusal | None = None
    match_case: bool = False
    trust_loaded: bool = False
    status: int | None = None
    via: str | None = None
    arguments: dict[str, Argument] = field(default_factory=dict)


@dataclass(frozen=True)
class ErrorRow:
    """What one kind of upstream failure becomes."""

    position: Position
    statuses: tuple[str, ...]
    code: str | None
    faults: tuple[tuple[str, Position], ...]
    message: str | None
    otherwise: bool
    refusal: Refusal


@dataclass(frozen=True)
class RecoverRow:
    """An upstream failure worth a recovery before the client is told."""

    position: Position
    message: str | None
    code: str | None
    do: str


@dataclass(frozen=True)
class MappingFile:
    """One file of `specs/mappings/`."""

    name: str
    file: str
    position: Position
    api: str | None
    operations: tuple[tuple[str, Position], ...]
    plan: tuple[Step, ...]
    plan_position: Position
    answers: dict[str, AnswerRule]
    calls: dict[str, CallRule]
    reports: dict[str, ReportRule]
    shapes: dict[str, Shape]
    tables: dict[str, Table]
    streams: dict[str, Stream]
    errors: tuple[ErrorRow, ...]
    errors_position: Position
    recover: tuple[RecoverRow, ...]
    ignored: dict[str, Reason]
    ignored_position: Position
    omitted: dict[str, Reason]
    unanswered: dict[str, Reason]
