"""
The rule language, part two: blocks, shapes, tables, streams, calls, answers and reports.

The classes are the language: their fields are its keys (`codegen/rules/construct.py`), and what
they keep besides is where something is written. Their properties are the views that the compiler
takes of several constructs alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from codegen.descriptions.problem import Position
from codegen.descriptions.source import Key, plain
from codegen.rules.construct import (
    Needs,
    construct,
    key,
    keys_of,
    maybe,
    one,
    place,
    place_of_key,
    text_of_key,
)
from codegen.rules.forms import FLAG, STATUS, WORD, Form, ListOf, Made, MapOf
from codegen.rules.values import (
    ARGUMENTS,
    NAMES,
    PATH,
    Argument,
    Condition,
    Constant,
    Named,
    PathRef,
    Reason,
    Rule,
)

REASONS: Form[dict[str, Reason]] = MapOf(one(lambda: Reason))
RULES: Form[dict[str, Rule]] = MapOf(one(lambda: Rule))
CONDITION = one(lambda: Condition)
WORD_CONSTANT: Form[Constant] = Made(
    WORD,
    lambda word, value, _: Constant(value=word, position=value.position),
    instead=lambda value: Constant(value=plain(value), position=value.position),
)
ROWS: Form[dict[str, tuple[Key, Constant]]] = MapOf(
    Made(WORD_CONSTANT, lambda constant, _, row: (row, constant))
)


@construct("block", includes="")
@dataclass(frozen=True, kw_only=True)
class Block:
    """A translation from one type to another."""

    position: Position = place()
    source: str = key(WORD, "the source's type", name="from", required=True)
    source_position: Position = place("from")
    target: str = key(WORD, "the target's type", name="to", required=True)
    target_position: Position = place("to")
    include: tuple[Named, ...] = key(NAMES, "groups whose fields and reasons are put in here")
    fields: dict[str, Rule] = key(RULES, "the target's fields")
    names: dict[str, Key] = keys_of("fields")
    ignored: dict[str, Reason] = key(REASONS, "source fields left out on purpose, and why")
    ignored_position: Position = place("ignored", "from")
    omitted: dict[str, Reason] = key(REASONS, "target fields that are never produced, and why")


@construct("shape", includes="")
@dataclass(frozen=True, kw_only=True)
class Shape:
    """A named translation of one object."""

    name: str = text_of_key()
    position: Position = place_of_key()
    body: Position = place()
    source: str = key(WORD, "the source's type", name="from", required=True)
    source_position: Position = place("from")
    target: str = key(WORD, "the target's type", name="to", required=True)
    target_position: Position = place("to")
    include: tuple[Named, ...] = key(NAMES, "groups whose fields and reasons are put in here")
    fields: dict[str, Rule] = key(RULES, "the target's fields", required=True)
    names: dict[str, Key] = keys_of("fields")
    ignored: dict[str, Reason] = key(REASONS, "source fields left out on purpose, and why")
    ignored_position: Position = place("ignored", "from")
    omitted: dict[str, Reason] = key(REASONS, "target fields that are never produced, and why")

    @cached_property
    def block(self) -> Block:
        """The translation without its name."""
        return replace(_types_of(self, self.body), fields=self.fields, names=self.names)


@construct("table")
@dataclass(frozen=True, kw_only=True)
class Table:
    """A total translation between two vocabularies."""

    name: str = text_of_key()
    position: Position = place_of_key()
    source: str | None = maybe(
        WORD, "`api:Component.path` whose values are translated", name="from"
    )
    target: str | None = maybe(WORD, "`api:Component.path` whose vocabulary is met", name="to")
    rows: dict[str, tuple[Key, Constant]] = key(ROWS, "source word: target word", required=True)
    otherwise: Constant | None = maybe(WORD_CONSTANT, "for every other word")


@construct(
    "state",
    exclusive=(("last", "fold"), ("last", "via")),
    companions={"with": ("via",), "fold": ("via",)},
    needs=(
        Needs(("last", "fold", "via"), "`{name}` says nothing of what it remembers", at_key=True),
    ),
)
@dataclass(frozen=True, kw_only=True)
class StateRule:
    """What is remembered from chunk to chunk."""

    name: str = text_of_key()
    position: Position = place_of_key()
    last: PathRef | None = maybe(PATH, "keep the last value seen")
    fold: PathRef | None = maybe(
        PATH, "feed each value to a transform with what it returned before"
    )
    via: str | None = maybe(
        WORD, "the transform of a fold; its first parameter is what it returned"
    )
    arguments: dict[str, Argument] | None = maybe(
        ARGUMENTS, "the other arguments of a fold", name="with"
    )

    @property
    def source(self) -> PathRef | None:
        """The value that is remembered or fed."""
        return self.last if self.last is not None else self.fold


@construct("emit", includes="")
@dataclass(frozen=True, kw_only=True)
class Emit:
    """A frame and when it is sent."""

    event: str = key(WORD, "`chunk` or `end`", required=True)
    position: Position = place()
    when: Condition | None = maybe(CONDITION, "only then")
    include: tuple[Named, ...] = key(NAMES, "groups whose fields are put in here")
    fields: dict[str, Rule] = key(RULES, "the frame's fields", required=True)
    names: dict[str, Key] = keys_of("fields")


@construct("fold_part")
@dataclass(frozen=True, kw_only=True)
class FoldPart:
    """Entries of a fold that a group holds."""

    position: Position = place()
    concat: tuple[PathRef, ...] = key(ListOf(PATH), "texts joined over all frames")
    append: tuple[PathRef, ...] = key(ListOf(PATH), "lists joined over all frames")
    last: tuple[PathRef, ...] = key(ListOf(PATH), "taken from the last frame")


@construct("fold", includes="fold")
@dataclass(frozen=True, kw_only=True)
class Fold(FoldPart):
    """How frames join into the one-shot answer."""

    include: tuple[Named, ...] = key(NAMES, "groups whose fold entries are put in here")


STATES: Form[dict[str, StateRule]] = MapOf(one(lambda: StateRule))


@construct("stream_base", includes="")
@dataclass(frozen=True, kw_only=True)
class StreamBase:
    """What several streams share."""

    position: Position = place_of_key()
    source: str = key(WORD, "the chunk's type", name="from", required=True)
    source_position: Position = place("from")
    include: tuple[Named, ...] = key(NAMES, "groups whose state and reasons are put in here")
    state: dict[str, StateRule] = key(STATES, "what is remembered from chunk to chunk")
    complete: Condition | None = maybe(
        CONDITION, "what must be known for the end to be a regular one"
    )
    ignored: dict[str, Reason] = key(REASONS, "chunk fields left out on purpose, and why")


@construct(
    "stream",
    includes="",
    exclusive=(("like", "from"),),
    needs=(Needs(("like", "from"), "this stream lacks `from` or `like`"),),
)
@dataclass(frozen=True, kw_only=True)
class Stream:
    """How chunks become frames."""

    position: Position = place()
    like: str | None = maybe(
        WORD, "start from what a file's `streams`, or shared.yaml's, has there"
    )
    like_position: Position = place("like")
    source: str = key(WORD, "the chunk's type", name="from")
    source_position: Position = place("from")
    target: str = key(WORD, "the frame's type", name="to", required=True)
    target_position: Position = place("to")
    include: tuple[Named, ...] = key(NAMES, "groups whose state and reasons are put in here")
    state: dict[str, StateRule] = key(STATES, "what is remembered from chunk to chunk")
    complete: Condition | None = maybe(
        CONDITION, "what must be known for the end to be a regular one"
    )
    emit: tuple[Emit, ...] = key(ListOf(one(lambda: Emit)), "which frames, when", required=True)
    fold: Fold | None = maybe(one(lambda: Fold), "the one-shot answer from the frames")
    ignored: dict[str, Reason] = key(REASONS, "chunk fields left out on purpose, and why")
    ignored_position: Position = place("ignored", "from")
    omitted: dict[str, Reason] = key(REASONS, "frame fields that are never produced, and why")

    @cached_property
    def block(self) -> Block:
        """The types, and what is left out of them."""
        return _types_of(self, self.position)


def _types_of(part: Shape | Stream, position: Position) -> Block:
    """Return the types of a translation and what is left out of them, without its fields."""
    return Block(
        position=position,
        source=part.source,
        source_position=part.source_position,
        target=part.target,
        target_position=part.target_position,
        ignored=part.ignored,
        ignored_position=part.ignored_position,
        omitted=part.omitted,
    )


@construct("upstream")
@dataclass(frozen=True, kw_only=True)
class Upstream:
    """The operation that a call makes."""

    api: str = key(WORD, "the spec's name", required=True)
    operation: str = key(WORD, "`method /path`", required=True)
    position: Position = place("operation")


@construct("alternative")
@dataclass(frozen=True, kw_only=True)
class Alternative:
    """An operation that a call makes in place of its own: with the same method and body."""

    api: str = key(WORD, "the spec's name", required=True)
    operation: str = key(WORD, "`method /path`", required=True)
    when: Condition | None = maybe(
        one(lambda: Condition), "make it only when this holds", required=True
    )
    position: Position = place("operation")


@construct("call", exclusive=(("stream", "response"), ("streamed", "response")))
@dataclass(frozen=True, kw_only=True)
class CallRule:
    """An upstream call: the operation, the body made for it, what its answer becomes."""

    name: str = text_of_key()
    position: Position = place_of_key()
    upstream: Upstream | None = maybe(one(lambda: Upstream), "the operation called", required=True)
    alternative: Alternative | None = maybe(
        one(lambda: Alternative), "the operation called instead, when its `when` holds"
    )
    request: Block | None = maybe(one(lambda: Block), "how its body is made")
    streamed: Rule | None = maybe(
        one(lambda: Rule), "whether this client wants frames; a fold of them otherwise"
    )
    stream: Stream | None = maybe(one(lambda: Stream), "how its chunks become frames")
    response: Block | None = maybe(one(lambda: Block), "how its one answer becomes ours")

    @property
    def api(self) -> str:
        """The name of the spec that has the operation."""
        return self.upstream.api if self.upstream is not None else ""

    @property
    def operation(self) -> str:
        """The operation called, as `method /path`."""
        return self.upstream.operation if self.upstream is not None else ""

    @property
    def operation_position(self) -> Position:
        """Where the operation is named."""
        return self.upstream.position if self.upstream is not None else self.position


@construct(
    "answer",
    includes="",
    exclusive=(
        ("text", "fields"),
        *((word, other) for word in ("text", "empty") for other in ("like", "to")),
        ("empty", "fields"),
        ("empty", "text"),
    ),
)
@dataclass(frozen=True, kw_only=True)
class AnswerRule:
    """A one-object answer made without an upstream call."""

    name: str = text_of_key()
    position: Position = place_of_key()
    target: str | None = maybe(
        WORD, "the answer's type; the operation's own when left out", name="to"
    )
    like: str | None = maybe(WORD, "start from another answer of this file")
    include: tuple[Named, ...] = key(NAMES, "groups whose fields and reasons are put in here")
    fields: dict[str, Rule] = key(RULES, "its fields")
    names: dict[str, Key] = keys_of("fields")
    text: str | None = maybe(WORD, "a plain text answer")
    is_empty: bool = key(FLAG, "no body at all", name="empty")
    status: int = key(STATUS, "the answer's status; 200 when left out", default=200)
    status_position: Position = place("status")
    is_late: bool = key(FLAG, "sent as what an inner handler answers: no charset", name="late")
    streamed: Rule | None = maybe(
        one(lambda: Rule), "whether this client wants it as the only line of a stream"
    )
    omitted: dict[str, Reason] = key(
        REASONS, "fields of the target that are never produced, and why"
    )


@construct("report", includes="")
@dataclass(frozen=True, kw_only=True)
class ReportRule:
    """Progress told line by line: the step that yields records, and what a record becomes."""

    name: str = text_of_key()
    position: Position = place_of_key()
    body: Position = place()
    do: str = key(WORD, "the step of `gateway.engine.steps` that yields records", required=True)
    streamed: Rule | None = maybe(
        one(lambda: Rule), "whether this client wants frames; the last alone otherwise"
    )
    source: str = key(WORD, "a record's type", name="from", required=True)
    source_position: Position = place("from")
    target: str = key(WORD, "a frame's type", name="to", required=True)
    target_position: Position = place("to")
    include: tuple[Named, ...] = key(NAMES, "groups whose fields and reasons are put in here")
    fields: dict[str, Rule] = key(RULES, "the frame's fields", required=True)
    names: dict[str, Key] = keys_of("fields")
    omitted: dict[str, Reason] = key(REASONS, "frame fields that are never produced, and why")

    @cached_property
    def block(self) -> Block:
        """The translation of a record."""
        return Block(
            position=self.body,
            source=self.source,
            source_position=self.source_position,
            target=self.target,
            target_position=self.target_position,
            fields=self.fields,
            names=self.names,
            ignored_position=self.source_position,
            omitted=self.omitted,
        )
