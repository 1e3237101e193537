"""
The rule language, part one: paths, constants, errors, conditions, and how one field is made.

The classes are the language: their fields are its keys (`codegen/rules/construct.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from codegen.descriptions.problem import Position
from codegen.descriptions.source import Key, Plain, Scalar, Value, plain
from codegen.rules.construct import Needs, construct, key, keys_of, maybe, one, place, place_of_key
from codegen.rules.forms import (
    FLAG,
    PLAIN,
    STATUS,
    WORD,
    Either,
    Form,
    ListOf,
    Made,
    MapOf,
    Operands,
    Simple,
    is_word,
)


@dataclass(frozen=True)
class PathRef:
    """A dotted path as written; `root` is "" for the block's own source."""

    text: str
    position: Position

    @property
    def root(self) -> str:
        """`$request`, `$context`, `$state`, `$upstream`, `$path`, or "" for the source."""
        return self.text.split(".", 1)[0] if self.text.startswith("$") else ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The names after the root."""
        names = tuple(self.text.split("."))
        return names[1:] if self.root else names


@construct("constant_argument")
@dataclass(frozen=True, kw_only=True)
class Constant:
    """A literal in a rule."""

    value: Plain = key(PLAIN, "a constant", required=True)
    position: Position = place()


Argument = PathRef | Constant


def _path(value: Value) -> PathRef:
    return PathRef(str(value.value) if isinstance(value, Scalar) else "", value.position)


def _constant(value: Value) -> Constant:
    return Constant(value=plain(value), position=value.position)


PATH: Form[PathRef] = Simple("a path", is_word, _path, {"type": "string"}, notation="path")
PATHS: Form[tuple[PathRef, ...]] = Either(Made(PATH, lambda path, *_: (path,)), ListOf(PATH))
CONSTANT: Form[Constant] = Simple(
    "a constant",
    lambda value: isinstance(value, Scalar),
    _constant,
    {"type": ["string", "number", "boolean", "null"]},
    notation="constant",
)
Named = tuple[str, Position]
"""A word and where it stands."""

NAMES: Form[tuple[Named, ...]] = Either(
    Made(WORD, lambda word, value, _: ((word, value.position),)),
    ListOf(Made(WORD, lambda word, value, _: (word, value.position))),
)
ANY: Form[Constant] = Made(PLAIN, lambda _, value, __: _constant(value))
ARGUMENTS: Form[dict[str, Argument]] = MapOf(
    Either[Argument](
        Made[Argument](PATH, lambda path, *_: path),
        Made[Argument](one(lambda: Constant), lambda constant, *_: constant),
    )
)
EQUALS: Form[tuple[PathRef, Constant]] = Operands(
    "path", "constant", make=lambda items: (_path(items[0]), _constant(items[1]))
)
BETWEEN: Form[tuple[PathRef, Constant, Constant]] = Operands(
    "path",
    "low",
    "high",
    make=lambda items: (_path(items[0]), _constant(items[1]), _constant(items[2])),
)


@construct("refusal")
@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An error answer: status and text, braces in the text naming paths."""

    status: int = key(STATUS, "the HTTP status", required=True)
    error: str = key(WORD, "Ollama's text; braces name paths", required=True)
    position: Position = place("error")
    status_position: Position = place("status")
    is_late: bool = key(
        FLAG, "sent as what Ollama finds once its stream is set up: no charset", name="late"
    )


@construct(
    "condition",
    companions={"with": ("via",)},
    needs=(
        Needs(
            ("empty", "nonempty", "present", "absent", "true", "equals", "between", "via", "with"),
            "`{name}` tests nothing",
            check="bad-value",
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class Condition:
    """All of the stated tests hold."""

    position: Position = place()
    empty: tuple[PathRef, ...] = key(
        PATHS, "absent, null, an empty text or an empty list (all of them)"
    )
    nonempty: tuple[PathRef, ...] = key(PATHS, "any of them has content")
    present: tuple[PathRef, ...] = key(PATHS, "any of them is there and not null")
    absent: tuple[PathRef, ...] = key(PATHS, "all of them are absent or null")
    true: PathRef | None = maybe(PATH, "is exactly true")
    equals: tuple[PathRef, Constant] | None = maybe(EQUALS, "is this constant")
    between: tuple[PathRef, Constant, Constant] | None = maybe(
        BETWEEN, "lies between them, both included; absent passes"
    )
    via: str | None = maybe(
        WORD, "a transform that answers yes or no, or names a problem in a check"
    )
    arguments: dict[str, Argument] = key(ARGUMENTS, "its arguments", name="with")


@construct(
    "rule",
    shorthand="from",
    exclusive=(
        ("from", "value", "fields", "each", "match"),
        *((verb, "via") for verb in ("value", "fields", "match")),
        *((verb, "table") for verb in ("value", "fields", "each", "match")),
        *((verb, "default") for verb in ("value", "fields")),
    ),
    companions={"use": ("each",), "cases": ("match",), "with": ("via",)},
    needs=(
        Needs(
            ("from", "value", "fields", "each", "match", "via"),
            "this rule says nothing of where its value comes from",
            unless_misspelt=True,
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class Rule:
    """How one target field gets its value."""

    position: Position = place()
    source: PathRef | None = maybe(PATH, "copy", name="from")
    default: Constant | None = maybe(ANY, "used when the source is absent or null")
    value: Constant | None = maybe(ANY, "a constant")
    fields: dict[str, Rule] | None = maybe(MapOf(one(lambda: Rule)), "build an object")
    names: dict[str, Key] = keys_of("fields")
    each: PathRef | None = maybe(PATH, "map a list through a shape")
    use: str | None = maybe(WORD, "the shape")
    match: PathRef | None = maybe(PATH, "choose by constant or JSON type")
    cases: tuple[Case, ...] = key(ListOf(one(lambda: Case)), "the cases")
    table: str | None = maybe(WORD, "translate by a value table")
    via: str | None = maybe(WORD, "call a transform")
    arguments: dict[str, Argument] | None = maybe(ARGUMENTS, "its named arguments", name="with")
    when: Condition | None = maybe(one(lambda: Condition), "leave the field out unless")


@construct(
    "rule_case",
    exclusive=(
        ("equals", "type", "otherwise"),
        ("absent", "reject", "from", "value", "fields"),
        ("absent", "via"),
    ),
    companions={"with": ("via",)},
    needs=(
        Needs(("equals", "type", "otherwise"), "this case does not say when it applies"),
        Needs(
            ("absent", "reject", "from", "value", "fields", "via"),
            "this case says nothing of where its value comes from",
            unless_misspelt=True,
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class Case:
    """One arm of a match."""

    position: Position = place()
    equals: Constant | None = maybe(CONSTANT, "when the value is this")
    type: str | None = maybe(WORD, "when the value is of this JSON type")
    otherwise: bool = key(FLAG, "in all other cases")
    absent: bool = key(FLAG, "leave the field out")
    reject: Refusal | None = maybe(one(lambda: Refusal), "answer with an error")
    source: PathRef | None = maybe(PATH, "copy", name="from")
    value: Constant | None = maybe(ANY, "a constant")
    fields: dict[str, Rule] | None = maybe(MapOf(one(lambda: Rule)), "build an object")
    names: dict[str, Key] = keys_of("fields")
    via: str | None = maybe(WORD, "call a transform")
    arguments: dict[str, Argument] | None = maybe(ARGUMENTS, "its named arguments", name="with")

    @cached_property
    def rule(self) -> Rule | None:
        """How the value is made; None where the field is left out or refused."""
        if self.absent or self.reject is not None:
            return None
        return Rule(
            position=self.position,
            source=self.source,
            value=self.value,
            fields=self.fields,
            names=self.names,
            via=self.via,
            arguments=self.arguments,
        )


@construct("reason", shorthand="reason")
@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a field is left out, and who deals with it instead."""

    text: str = key(WORD, "why", name="reason", required=True)
    handled_by: str | None = maybe(WORD, "who deals with it instead")
    position: Position = place_of_key()
    stated: Position = place()
