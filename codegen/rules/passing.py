"""
The rule language, part four: what is passed on, and what of it is changed on the way.

A mapping file of this kind serves no operation: it says of routes that LM Studio answers itself
which members of a request name a model, and which members of requests and answers get other values.
"""

from __future__ import annotations

from dataclasses import dataclass

from codegen.descriptions.problem import Position
from codegen.descriptions.source import Key
from codegen.rules.construct import Needs, construct, first_of, key, keys_of, maybe, one, place
from codegen.rules.forms import FLAG, WORD, ListOf
from codegen.rules.plan import Step
from codegen.rules.translations import CONDITION, RULES
from codegen.rules.values import ARGUMENTS, NAMES, Argument, Condition, Named, Refusal, Rule

CHANGES = ("replace", "add", "append", "remove")
"""What a change does; each does one of these to all of its members."""
FIRST = ("check", "need", "do")
"""What can happen before a request is passed on."""


@construct(
    "passthrough",
    companions={
        "operation": ("api",),
        "api": ("operation",),
        "from": ("below",),
        "path_model": ("operation",),
        "looked_up": ("model",),
        "missing": ("model",),
        "lacking": ("operation",),
        "home": ("operation",),
        "session": ("operation",),
        "session_below": ("below",),
        "union": ("operation", "union_by"),
        "union_by": ("union",),
        "union_joins": ("union",),
    },
    exclusive=(("model", "path_model", "home"), ("session", "session_below")),
    needs=(Needs(("operation", "below"), "this says nothing of what is passed on"),),
)
@dataclass(frozen=True, kw_only=True)
class Passthrough:
    """The routes that a mapping is about, which LM Studio answers itself."""

    position: Position = place()
    api: str | None = maybe(WORD, "the name of the spec that has the operations")
    operations: tuple[Named, ...] = key(
        NAMES, "`method /path`, or a list of them", name="operation"
    )
    below: tuple[Named, ...] = key(
        NAMES, "`/path/`, or a list of them: every route below that no other mapping is about"
    )
    source: str = key(WORD, "the type of a body below `below`", name="from")
    source_position: Position = place("from")
    model: str | None = maybe(
        WORD, "the request's member that names a model, which is looked up and made ready"
    )
    model_position: Position = place("model")
    path_model: str | None = maybe(
        WORD, "the path's parameter that names a model, which is looked up and not made ready"
    )
    path_model_position: Position = place("path_model")
    looked_up: bool = key(FLAG, "the model is looked up only, since it is not asked anything")
    answered_by: tuple[Named, ...] = key(
        NAMES, "the answer's member that names the model that answered, or the first of several"
    )
    missing: Refusal | None = maybe(
        one(lambda: Refusal), "the error for a request that names no model; else it is passed on"
    )
    lacking: Refusal | None = maybe(
        one(lambda: Refusal), "the error when LM Studio lacks the route, in place of a 501"
    )
    home: str | None = maybe(
        WORD,
        "the request's member, or the path's parameter, that names a model or an instance: of "
        "several hosts, one that has it serves",
    )
    home_position: Position = place("home")
    session: str | None = maybe(
        WORD,
        "the request's member, or the path's parameter, that names what one host remembers: of "
        "several hosts, that one serves",
    )
    session_position: Position = place("session")
    session_below: bool = key(FLAG, "the first word of a path below `below` names such a thing")
    gives: tuple[Named, ...] = key(
        NAMES,
        "where an answer, or an event of it, names what the host will remember: a member, or "
        "members with dots between them, or the first of several that is there",
    )
    union: str | None = maybe(
        WORD, "the answer's member that is a list: of several hosts, it has the items of all"
    )
    union_position: Position = place("union")
    union_by: str | None = maybe(WORD, "the member by which items of two hosts are one")
    union_joins: str | None = maybe(
        WORD, "the member of such an item that is a list, and has the items of all hosts as well"
    )
    changes_models: bool = key(
        FLAG, "it loads, unloads or fetches models by itself: none is made ready for it"
    )

    @property
    def united(self) -> tuple[str, str, str] | None:
        """How the lists of several hosts become one: the list, its items' key, a list in them."""
        return (self.union, self.union_by or "", self.union_joins or "") if self.union else None


@construct(
    "change",
    includes="",
    exclusive=(CHANGES,),
    companions={"by": ("append",), "onto": ("append",)},
    needs=(Needs(CHANGES, "this change changes nothing"),),
)
@dataclass(frozen=True, kw_only=True)
class ChangeRule:
    """Members of an object that get other values for one reason, all of them or none."""

    position: Position = place()
    verb: str = first_of(*CHANGES)
    why: str = key(WORD, "why, with a link to a fact", required=True)
    why_position: Position = place("why")
    include: tuple[Named, ...] = key(NAMES, "groups whose members are put in here")
    replaced: dict[str, Rule] = key(
        RULES, "what members become; an absent value leaves one as it is", name="replace"
    )
    replaced_names: dict[str, Key] = keys_of("replace")
    added: dict[str, Rule] = key(
        RULES, "what members are where the object has none of the name", name="add"
    )
    added_names: dict[str, Key] = keys_of("add")
    appended: dict[str, Rule] = key(
        RULES, "what is put behind the items of members that are lists", name="append"
    )
    appended_names: dict[str, Key] = keys_of("append")
    removed: tuple[Named, ...] = key(NAMES, "members that are left out", name="remove")
    when: Condition | None = maybe(
        CONDITION, "only then; it reads the request and the context, for answers too"
    )
    warning: str | None = maybe(
        WORD, "what the client is told in the header `x-olgate-warning` when something changes"
    )
    onto: Rule | None = maybe(
        one(lambda: Rule), "the list that is appended to, where it is not the member as it came"
    )
    by: str | None = maybe(
        WORD, "the member of an item; one of the list that has the same there gives way"
    )
    by_position: Position = place("by")

    @property
    def members(self) -> dict[str, Rule]:
        """The rules of the verb that is stated."""
        return self.replaced or self.added or self.appended

    @property
    def names(self) -> dict[str, Key]:
        """Where each of the members is named."""
        removed = {name: Key(name, where) for name, where in self.removed}
        return self.replaced_names or self.added_names or self.appended_names or removed


@construct(
    "first step",
    exclusive=(FIRST,),
    companions={"when": FIRST, "else": ("check", "need"), "with": ("do",)},
    needs=(Needs(FIRST, "this step needs one of " + ", ".join(FIRST), check="unknown-step"),),
)
@dataclass(frozen=True, kw_only=True)
class FirstStep:
    """A step before a request is passed on, as a plan has them, and its reason."""

    kind: str = first_of(*FIRST)
    position: Position = place()
    why: str = key(WORD, "why, with a link to a fact", required=True)
    why_position: Position = place("why")
    condition: Condition | None = maybe(
        one(lambda: Condition), "go on only when this holds", name="check"
    )
    need: str | None = maybe(WORD, "refuse when the model is known to lack this capability")
    do: str | None = maybe(WORD, "run a step of `gateway.engine.steps`")
    when: Condition | None = maybe(one(lambda: Condition), "take the step only when this holds")
    otherwise: Refusal | None = maybe(
        one(lambda: Refusal), "the error when a check or need fails", name="else"
    )
    arguments: dict[str, Argument] = key(ARGUMENTS, "named arguments of the step", name="with")

    @property
    def step(self) -> Step:
        """The same as a step of a plan."""
        return Step(
            kind=self.kind,
            position=self.position,
            status_position=self.position,
            condition=self.condition,
            need=self.need,
            do=self.do,
            when=self.when,
            otherwise=self.otherwise,
            arguments=self.arguments,
        )


@construct("rewrite")
@dataclass(frozen=True, kw_only=True)
class RewriteRule:
    """A change of an answer in which one event depends on those before it."""

    position: Position = place()
    why: str = key(WORD, "why, with a link to a fact", required=True)
    why_position: Position = place("why")
    via: str = key(WORD, "the transform that makes the rewriter of one answer", required=True)
    via_position: Position = place("via")
    arguments: dict[str, Argument] = key(
        ARGUMENTS, "named arguments of the transform, of the context", name="with"
    )
    when: Condition | None = maybe(
        CONDITION, "only then; it reads the request and the context, for answers too"
    )
    marks: tuple[Named, ...] = key(
        NAMES, "texts; an event or answer without any of them is passed on as it is", name="on"
    )


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a patch and a group hold: steps and changes, in lists."""

    include: tuple[Named, ...] = key(NAMES, "groups that are put in here, before what it says")
    first: tuple[FirstStep, ...] = key(
        ListOf(one(lambda: FirstStep)), "what happens before, in order, where a model is named"
    )
    request: tuple[ChangeRule, ...] = key(
        ListOf(one(lambda: ChangeRule)), "changes of the request's members"
    )
    answer: tuple[ChangeRule, ...] = key(
        ListOf(one(lambda: ChangeRule)), "changes of the members of an answer that is a success"
    )
    stream: tuple[ChangeRule, ...] = key(
        ListOf(one(lambda: ChangeRule)),
        "changes of each event's members",
    )
    both: tuple[ChangeRule, ...] = key(
        ListOf(one(lambda: ChangeRule)), "changes of an answer's members and of each event's"
    )
    rewrite: tuple[RewriteRule, ...] = key(
        ListOf(one(lambda: RewriteRule)),
        "changes of whole events, and of a whole answer, before those of their members",
    )


LISTS = ("first", "request", "answer", "stream", "both", "rewrite")
"""The keys of `Changes` that hold lists, whose order counts."""


@construct(
    "patch",
    includes="",
    needs=(Needs(LISTS, "this patch changes nothing"),),
)
@dataclass(frozen=True, kw_only=True)
class Patch(Changes):
    """What is changed in a request on its way to LM Studio, and in its answer on the way back."""

    @property
    def sides(self) -> dict[str, tuple[ChangeRule, ...]]:
        """The changes of members by what has them; `both` comes last in each of its two."""
        return {
            "request": self.request,
            "answer": (*self.answer, *self.both),
            "stream": (*self.stream, *self.both),
        }

    @property
    def reasoned(self) -> tuple[FirstStep | ChangeRule | RewriteRule, ...]:
        """Everything in it that has a reason."""
        members = (*self.request, *self.answer, *self.stream, *self.both)
        return (*self.first, *members, *self.rewrite)


@construct("instead", includes="")
@dataclass(frozen=True, kw_only=True)
class Instead:
    """An answer that is made here; where its condition does not hold, the request is passed on."""

    position: Position = place()
    why: str = key(WORD, "why, with a link to a fact", required=True)
    why_position: Position = place("why")
    when: Condition | None = maybe(CONDITION, "only then")
    warning: str | None = maybe(
        WORD, "what the client is told of the answer in the header `x-olgate-warning`"
    )
    target: str | None = maybe(
        WORD, "the answer's type, where it is not the operation's", name="to"
    )
    target_position: Position = place("to")
    include: tuple[Named, ...] = key(NAMES, "groups whose fields are put in here")
    fields: dict[str, Rule] = key(RULES, "the answer's fields", required=True)
    names: dict[str, Key] = keys_of("fields")
