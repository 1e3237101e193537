"""
The rule language, part three: the steps of a plan.
"""

from __future__ import annotations

from dataclasses import dataclass

from codegen.descriptions.problem import Position
from codegen.rules.construct import Needs, construct, first_of, key, maybe, one, place
from codegen.rules.forms import FLAG, STATUS, WORD, Either, Form, ListOf, Made
from codegen.rules.values import (
    ARGUMENTS,
    NAMES,
    PATH,
    PATHS,
    Argument,
    Condition,
    Named,
    PathRef,
    Refusal,
)

ENDS = ("answer", "call", "report", "refuse")
CHECKS = ("check", "model", "need", "decode")
VERBS = (*CHECKS, *ENDS, "do")
"""What a step does; each has one of these, and `do` may come with `answer`."""


@construct("choice")
@dataclass(frozen=True, kw_only=True)
class CallChoice:
    """One of the calls that a step may end in."""

    call: str = key(WORD, "the call's name", required=True)
    when: Condition | None = maybe(one(lambda: Condition), "take it only when this holds")
    position: Position = place()


Choice = tuple[str, Position, Condition | None]
"""The name of a call, where it stands, and when it is made."""

CHOICES: Form[tuple[Choice, ...]] = Either(
    Made(WORD, lambda word, value, _: ((word, value.position, None),), empty=()),
    Made(
        ListOf(one(lambda: CallChoice)),
        lambda choices, *_: tuple((item.call, item.position, item.when) for item in choices),
        empty=(),
    ),
)
REFUSAL = one(lambda: Refusal)


@construct(
    "step",
    exclusive=((*CHECKS, *ENDS), (*CHECKS, "do", "call", "report", "refuse")),
    companions={
        "when": ("check", "need", "answer", "do", "call", "report", "refuse"),
        "else": ("check", "need"),
        "missing": ("model",),
        "illegal": ("model",),
        "unknown": ("model",),
        "cloud": ("model",),
        "conflict": ("model",),
        "include": ("model",),
        "match_case": ("model",),
        "as_written": ("model",),
        "trust_loaded": ("model",),
        "status": ("decode",),
        "via": ("decode",),
        "with": ("do", "report", "via"),
    },
    includes="refusals",
    needs=(Needs(VERBS, "a step needs one of " + ", ".join(VERBS), check="unknown-step"),),
)
@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a plan: a verb, and what that verb takes."""

    kind: str = first_of(*VERBS)
    position: Position = place()
    condition: Condition | None = maybe(
        one(lambda: Condition), "go on only when this holds", name="check"
    )
    model: tuple[PathRef, ...] = key(
        PATHS, "resolve the model named by the first of these fields that has a name"
    )
    need: str | None = maybe(WORD, "refuse when the model is known to lack this capability")
    decode: PathRef | None = maybe(PATH, "decode a late value; from here on paths may go into it")
    answer: str | None = maybe(WORD, "end here with this answer; with `do`, after that step")
    do: str | None = maybe(WORD, "run a step of `gateway.engine.steps`")
    choices: tuple[Choice, ...] = key(
        CHOICES, "end here with this upstream call, or the first whose `when` holds", name="call"
    )
    report: str | None = maybe(WORD, "end here with this progress, told as it comes")
    refusal: Refusal | None = maybe(REFUSAL, "end here with an error", name="refuse")
    when: Condition | None = maybe(one(lambda: Condition), "take the step only when this holds")
    otherwise: Refusal | None = maybe(REFUSAL, "the error when a check or need fails", name="else")
    missing: Refusal | None = maybe(REFUSAL, "the error for an absent or blank model name")
    illegal: Refusal | None = maybe(REFUSAL, "the error for a name outside the grammar")
    unknown: Refusal | None = maybe(REFUSAL, "the error for a name that no model has")
    cloud: Refusal | None = maybe(REFUSAL, "the error for a name of a model on ollama.com")
    conflict: Refusal | None = maybe(
        REFUSAL, "the error for a name that says both here and ollama.com"
    )
    include: tuple[Named, ...] = key(NAMES, "groups whose refusals are put in here")
    match_case: bool = key(FLAG, "a name in another letter case is unknown")
    as_written: bool = key(FLAG, "blanks count, and `:local` and `:cloud` are tags like any other")
    trust_loaded: bool = key(FLAG, "a model seen loaded a while ago is looked at later")
    status: int | None = maybe(STATUS, "the status of a refused late value")
    status_position: Position = place("status")
    via: str | None = maybe(WORD, "a transform that the decoded late value passes through")
    arguments: dict[str, Argument] = key(
        ARGUMENTS, "named arguments of a transform or step", name="with"
    )

    @property
    def paths(self) -> tuple[PathRef, ...]:
        """The fields that a `model` or `decode` step looks at."""
        return self.model if self.decode is None else (self.decode,)

    @property
    def name(self) -> str:
        """What the verb names, "" for a verb that names nothing and for several calls."""
        calls = self.choices[0][0] if len(self.choices) == 1 else ""
        named = (self.need, self.answer, calls, self.report, self.do)
        return next((name for name in named if name), "")
