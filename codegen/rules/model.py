"""
The rule language as dataclasses: rows for upstream failures, whole files, and all parts by name.

The other parts are `values`, `translations`, `plan` and `passing`. Modules outside this package
import all of them from here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from codegen.descriptions.problem import Position
from codegen.descriptions.source import Key, Scalar, Sequence, Value, plain
from codegen.rules.construct import (
    Needs,
    construct,
    key,
    maybe,
    one,
    place,
    place_of_key,
    text_of_key,
)
from codegen.rules.forms import (
    FLAG,
    STATUS,
    WORD,
    Form,
    JsonSchema,
    ListOf,
    MapOf,
    Reading,
)
from codegen.rules.passing import (
    LISTS,
    ChangeRule,
    Changes,
    FirstStep,
    Instead,
    Passthrough,
    Patch,
    RewriteRule,
)
from codegen.rules.plan import REFUSAL, Step
from codegen.rules.translations import (
    REASONS,
    RULES,
    STATES,
    Alternative,
    AnswerRule,
    Block,
    CallRule,
    Emit,
    Fold,
    FoldPart,
    ReportRule,
    Shape,
    StateRule,
    Stream,
    StreamBase,
    Table,
)
from codegen.rules.values import (
    NAMES,
    Argument,
    Case,
    Condition,
    Constant,
    Named,
    PathRef,
    Reason,
    Refusal,
    Rule,
)

__all__ = [
    "SHARED",
    "Alternative",
    "AnswerRule",
    "Argument",
    "Block",
    "CallRule",
    "Case",
    "ChangeRule",
    "Condition",
    "Constant",
    "Emit",
    "ErrorRow",
    "FirstStep",
    "Fold",
    "Instead",
    "MappingFile",
    "Passthrough",
    "Patch",
    "PathRef",
    "Reason",
    "RecoverRow",
    "Refusal",
    "ReportRule",
    "RewriteRule",
    "Rule",
    "Shape",
    "StateRule",
    "Step",
    "Stream",
    "StreamBase",
    "Table",
]

INCLUDE = "include"
FOLD = "fold"
GROUP_PARTS = (
    INCLUDE,
    "fields",
    "state",
    "ignored",
    "omitted",
    FOLD,
    "refusals",
    "add",
    *LISTS,
)

SHARED = "shared"
"""The mapping file whose shapes, tables and streams may be named from every file."""


class Statuses(Form[tuple[str, ...]]):
    """One status or class such as 5xx, or a list of them; other items are reported and left out."""

    called = ("a status", "a list")

    def takes(self, value: Value) -> bool:
        """Take anything: `read` reports each wrong item."""
        return True

    def read(self, value: Value, key: Key, reading: Reading) -> tuple[str, ...]:
        """Return statuses and classes as they are written."""
        found = []
        for item in value.items if isinstance(value, Sequence) else (value,):
            text = str(plain(item))
            if isinstance(item, Scalar) and re.fullmatch(r"[1-5](\d\d|xx)", text):
                found.append(text)
            else:
                reading.findings.add(
                    "bad-value",
                    item.position,
                    f"`{text}` is neither a status nor a class such as 5xx",
                )
        return tuple(found)

    def schema(self) -> JsonSchema:
        """Return a schema of anything."""
        return {}

    def notation(self) -> str:
        """Return the forms of an item and of several."""
        return "status, or class such as 5xx, or [status, …]"

    def empty(self) -> tuple[str, ...]:
        """Return no status."""
        return ()


@construct(
    "error_row",
    exclusive=(
        ("status", "fault", "otherwise"),
        ("otherwise", "code"),
        ("otherwise", "message"),
    ),
)
@dataclass(frozen=True, kw_only=True)
class ErrorRow:
    """What one kind of upstream failure becomes."""

    position: Position = place()
    statuses: tuple[str, ...] = key(
        Statuses(), "one status, a list of them, or a class such as 5xx", name="status"
    )
    code: str | None = maybe(WORD, "the upstream's error code")
    faults: tuple[Named, ...] = key(NAMES, "a fault of transport or protocol", name="fault")
    message: str | None = maybe(WORD, "words that the upstream's message contains, any case")
    otherwise: bool = key(FLAG, "everything else")
    status: int = key(STATUS, "the status for the client", name="as", required=True)
    status_position: Position = place("as")
    error: str = key(WORD, "the text; braces name paths", required=True)
    error_position: Position = place("error")

    @cached_property
    def refusal(self) -> Refusal:
        """What the client is answered."""
        return Refusal(
            status=self.status,
            error=self.error,
            position=self.error_position,
            status_position=self.status_position,
        )


@construct(
    "recover_row",
    needs=(
        Needs(
            ("message", "code"),
            "this recover row takes every failure: say the `message` or the `code`",
            unless_misspelt=True,
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class RecoverRow:
    """An upstream failure worth a recovery before the client is told."""

    position: Position = place()
    message: str | None = maybe(WORD, "words that the upstream's message contains, any case")
    code: str | None = maybe(WORD, "the upstream's error code")
    do: str = key(WORD, "the recovery", required=True)


@construct("refusals")
@dataclass(frozen=True, kw_only=True)
class Refusals:
    """What a `model` step answers when it finds no model."""

    missing: Refusal | None = maybe(REFUSAL, "the error for an absent or blank model name")
    illegal: Refusal | None = maybe(REFUSAL, "the error for a name outside the grammar")
    unknown: Refusal | None = maybe(REFUSAL, "the error for a name that no model has")
    cloud: Refusal | None = maybe(REFUSAL, "the error for a name of a model on ollama.com")
    conflict: Refusal | None = maybe(
        REFUSAL, "the error for a name that says both here and ollama.com"
    )


@construct(
    "group",
    needs=(Needs(GROUP_PARTS, "the group `{name}` holds nothing", unless_misspelt=True),),
)
@dataclass(frozen=True, kw_only=True)
class Group(Changes):
    """What several places include; each takes the parts that it has a place for."""

    name: str = text_of_key()
    position: Position = place_of_key()
    fields: dict[str, Rule] = key(RULES, "fields of a target or of a frame")
    state: dict[str, StateRule] = key(STATES, "what a stream remembers")
    ignored: dict[str, Reason] = key(REASONS, "source fields left out on purpose, and why")
    omitted: dict[str, Reason] = key(REASONS, "target fields that are never produced, and why")
    fold: FoldPart | None = maybe(one(lambda: FoldPart), "entries of a fold")
    refusals: Refusals | None = maybe(one(lambda: Refusals), "answers of a `model` step")
    added: dict[str, Rule] = key(
        RULES, "members of what is passed on, where it has none of the name", name="add"
    )


@construct("client")
@dataclass(frozen=True, kw_only=True)
class Client:
    """The operation, or operations with the same body, that a mapping serves."""

    api: str = key(WORD, "the spec's name", required=True)
    operations: tuple[Named, ...] = key(
        NAMES, "`method /path`, or a list of them", name="operation", required=True
    )


@construct(
    "file",
    includes="",
    exclusive=(("client", "passthrough"),),
    companions={"plan": ("client",), "patch": ("passthrough",), "instead": ("passthrough",)},
    lonely={"plan": "a `plan` needs a `client`, the operation that it serves"},
)
@dataclass(frozen=True, kw_only=True)
class MappingFile:
    """One file of `specs/mappings/`."""

    file: str = text_of_key()
    position: Position = place()
    stated: str | None = maybe(
        WORD, "the mapping's name, which is also its file's stem", name="mapping", required=True
    )
    stated_position: Position = place("mapping")
    client: Client | None = maybe(one(lambda: Client), "the operation that this mapping serves")
    passthrough: Passthrough | None = maybe(
        one(lambda: Passthrough), "the routes passed on that this mapping is about"
    )
    patch: Patch | None = maybe(
        one(lambda: Patch), "what is changed in their requests and answers on the way"
    )
    instead: Instead | None = maybe(
        one(lambda: Instead), "an answer that is made here in place of LM Studio's"
    )
    plan: tuple[Step, ...] = key(ListOf(one(lambda: Step)), "what happens for a request, in order")
    plan_position: Position = place("plan")
    answers: dict[str, AnswerRule] = key(
        MapOf(one(lambda: AnswerRule)), "one-object answers that steps name"
    )
    calls: dict[str, CallRule] = key(MapOf(one(lambda: CallRule)), "upstream calls that steps name")
    reports: dict[str, ReportRule] = key(
        MapOf(one(lambda: ReportRule)), "progress told line by line, that steps name"
    )
    shapes: dict[str, Shape] = key(
        MapOf(one(lambda: Shape)), "object translations that `use:` names"
    )
    tables: dict[str, Table] = key(
        MapOf(one(lambda: Table)), "value translations that `table:` names"
    )
    streams: dict[str, StreamBase] = key(
        MapOf(one(lambda: StreamBase)), "what several streams share, which `like:` names"
    )
    errors: tuple[ErrorRow, ...] = key(
        ListOf(one(lambda: ErrorRow)), "what an upstream failure becomes for the client"
    )
    errors_position: Position = place("errors")
    recover: tuple[RecoverRow, ...] = key(
        ListOf(one(lambda: RecoverRow)), "which upstream failures are worth a load and a retry"
    )
    ignored: dict[str, Reason] = key(
        REASONS, "request fields that no call of this file uses, and why"
    )
    ignored_position: Position = place("ignored")
    omitted: dict[str, Reason] = key(
        REASONS, "answer fields that this file never produces, and why"
    )
    groups: dict[str, Group] = key(
        MapOf(one(lambda: Group)), "what several places include, by name"
    )
    include: tuple[Named, ...] = key(NAMES, "groups whose reasons are put in here")
    unanswered: dict[str, Reason] = key(
        REASONS, "documented statuses that nothing here answers, and why"
    )

    @property
    def name(self) -> str:
        """The file's stem, by which the mapping is known."""
        return PurePosixPath(self.file).stem

    @property
    def api(self) -> str | None:
        """The name of the spec that has the operations; None for a file that serves none."""
        return self.client.api or None if self.client is not None else None

    @property
    def operations(self) -> tuple[Named, ...]:
        """The operations served, and where each is named."""
        return self.client.operations if self.client is not None else ()
