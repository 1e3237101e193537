"""
What is passed on: the changes of members compiled to functions, and the rows that name them.

The members of a request or answer are held as raw JSON by their names. A rule reads them as they
came; what it gives is checked against the member as the description has it.
"""

# Long because all changes of one file share its sides, and what is read and set on each of them.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count

from codegen.compiler import ir
from codegen.compiler.answers import Answers
from codegen.compiler.builder import REQUEST_CONTEXT, Builder
from codegen.compiler.coverage import Passage, Usage
from codegen.compiler.expressions import Expressions
from codegen.compiler.members import holds, is_raw, is_text, rewriter, safe
from codegen.compiler.needs import needs_of_members
from codegen.compiler.operand import Body, Operand, Scope
from codegen.compiler.place import Context
from codegen.compiler.provenance import change_of, instead_of, step_of
from codegen.compiler.runtime import ANY, APPENDED, BOOL, CONTEXT, MEMBERS, RUN, UNSET, VALUES
from codegen.compiler.steps import CONTEXT as RUN_CONTEXT
from codegen.compiler.steps import Steps
from codegen.compiler.tree import (
    NONE,
    Attribute,
    Call,
    Conditional,
    Dictionary,
    Expression,
    If,
    Literal,
    Name,
    Return,
    assign,
    names_read,
    negated,
)
from codegen.descriptions.problem import Position, did_you_mean
from codegen.descriptions.types import (
    ArrayType,
    Field,
    MapType,
    RawType,
    StructType,
    arms,
)
from codegen.rules.model import (
    ChangeRule,
    FirstStep,
    Instead,
    Passthrough,
    Patch,
    PathRef,
    Refusal,
    RewriteRule,
    Rule,
)

LISTS = {"kept_models": "kept", "models": "models"}
"""The parts of `$context` that are only there for rules that read them."""

WAYS = {
    "replace": "changed in the",
    "add": "added, where missing, to the",
    "append": "given further items in the",
    "remove": "left out of the",
}
REWRITTEN = "rewritten, event by event"
EVENTS = "text/event-stream"
INSTEAD = "answered without LM Studio"
INSTEAD_WHEN = "answered without LM Studio where a setting says so"
"""What the pages say of members, by the verb that changes them, and of a whole answer."""


@dataclass
class _Side:
    """One side of what is passed on: requests, or answers."""

    name: str
    holder: StructType | None
    """The type of the object whose members are changed; None where it has no members."""
    scope: Scope
    set_by: dict[str, Position]
    """Where each member is changed, since one change is all that it can have."""


class Patches:
    """The changes of one file."""

    def __init__(self, builder: Builder, context: Context, passed: Passthrough) -> None:
        self._builder = builder
        self._context = context
        self._findings = builder.findings
        self._passed = passed
        self._reads: set[str] = set()
        self._passages: list[Passage] = []

    def compile(self) -> None:
        """Write the functions of the file, and a row for each of its routes."""
        file, module = self._builder.file, self._builder.module
        request = self._side("request", self._request_type())
        answer = self._side("answer", self._answer_type())
        stream = self._side("stream", self._event_type())
        self._check_named(request, answer)
        self._check_remembered(request, answer, stream)
        patch = file.patch or Patch()
        changes = {
            side.name: tuple(self._changes(side, patch.sides[side.name]))
            for side in (request, answer, stream)
        }
        rewrites = tuple(self._rewrites(answer, patch.rewrite))
        instead = self._instead(file.instead, request) if file.instead is not None else None
        warning = file.instead.warning if file.instead is not None else None
        first = self._first(request, patch.first) if patch.first else None
        needs = needs_of_members(self._builder, self._passed, request.holder)
        for method, path in self._routes():
            module.passed_on.append(
                ir.PassedOn(
                    method=method,
                    path=path,
                    module=module.name,
                    model=self._passed.model or "",
                    answered_by=tuple(name for name, _ in self._passed.answered_by),
                    changes_models=self._passed.changes_models,
                    first=first,
                    request=changes["request"],
                    answer=changes["answer"],
                    stream=changes["stream"],
                    rewrites=rewrites,
                    instead=instead,
                    reads=tuple(sorted(self._reads)),
                    path_model=self._passed.path_model or "",
                    looked_up=self._passed.looked_up,
                    warning=warning or "",
                    missing=_refusal(self._passed.missing),
                    lacking=_refusal(self._passed.lacking),
                    home=self._passed.home or "",
                    session=self._passed.session or "",
                    session_below=self._passed.session_below and not method,
                    gives=tuple(tuple(name.split(".")) for name, _ in self._passed.gives),
                    union=self._passed.united,
                    needs=needs,
                )
            )
            route = f"`{method} {path}`" if method else f"other routes below `{path}`"
            self._builder.project.coverage.note_passages(file, route, self._passages)

    # -- what a file is about ------------------------------------------------------------------

    def _routes(self) -> Iterator[tuple[str, str]]:
        for operation in self._builder.operations:
            yield operation.method.upper(), operation.path
        for path, place in self._passed.below:
            if path.startswith("/") and path.endswith("/"):
                yield "", path
            else:
                self._findings.add(
                    "bad-value", place, f"`{path}` must begin and end with a slash: `/v1/`"
                )

    def _request_type(self) -> StructType | None:
        if not self._passed.source:
            return self._builder.request
        found = self._builder.specs.find_struct(self._passed.source, self._passed.source_position)
        if found is not None and self._builder.request not in (None, found):
            self._findings.add(
                "type-mismatch",
                self._passed.source_position,
                f"the operation takes {self._builder.request}, not {found}",
            )
        return found

    def _answer_type(self) -> StructType | None:
        found = self._builder.answer_type() if not self._passed.below else None
        return found if isinstance(found, StructType) else None

    def _event_type(self) -> StructType | None:
        kinds = [kind for one in self._builder.operations for kind in one.answered(EVENTS)]
        found = kinds[0] if kinds and not self._passed.below else None
        return found if isinstance(found, StructType) else None

    def _side(self, name: str, holder: StructType | None) -> _Side:
        roots = {"$context": Operand(Name("context"), REQUEST_CONTEXT)}
        if self._builder.path is not None and not self._passed.below:
            roots["$path"] = Operand(Attribute(Name("context"), "path"), self._builder.path)
        if holder is not None:
            keys = (holder.api, holder.name)
            roots[""] = Operand(Name("members"), MapType(RawType(), keys=keys))
        scope = Scope(roots)
        if self._passed.model is None and self._passed.path_model is None:
            scope.unresolved = frozenset({"model", "asked"})
            scope.unresolved_words = "where no member is stated to name a `model`"
        return _Side(name, holder, scope, {})

    def _check_named(self, request: _Side, answer: _Side) -> None:
        """Members that name models are ones that the types have, and texts."""
        passed = self._passed
        named = [(answer, *item) for item in passed.answered_by if answer.holder is not None]
        if passed.model is not None:
            named.append((request, passed.model, passed.model_position))
        path_model = self._passed.path_model
        known = self._builder.specs.struct(self._builder.path).fields if self._builder.path else {}
        if path_model is not None and path_model not in known:
            self._findings.add(
                "no-such-path",
                self._passed.path_model_position,
                f"`{path_model}`: the path has no such parameter",
                hint=did_you_mean(path_model, known),
            )
        for side, name, place in named:
            found = self._member(side, name, place)
            if found is not None and not is_text(found.type):
                self._findings.add("type-mismatch", place, f"`{name}` is {found.type}, no text")

        if passed.union is not None and answer.holder is not None:
            self._member(answer, passed.union, passed.union_position)
        if passed.home is not None and passed.home not in known and request.holder is not None:
            self._member(request, passed.home, passed.home_position)

    def _check_remembered(self, request: _Side, answer: _Side, stream: _Side) -> None:
        """What names a thing that a host remembers is in the path, the request or the answer."""
        passed = self._passed
        path = self._builder.path
        known = self._builder.specs.struct(path).fields if path is not None else {}
        if passed.session is not None and passed.session not in known:
            found = self._member(request, passed.session, passed.session_position)
            if found is not None and not is_text(found.type):
                words = f"`{passed.session}` is {found.type}, no text"
                self._findings.add("type-mismatch", passed.session_position, words)
        sides = [side for side in (answer, stream) if side.holder is not None]
        for name, place in passed.gives:
            first = name.split(".")[0]
            if sides and not any(first in self._fields(side) for side in sides):
                self._member(sides[0], first, place)

    def _fields(self, side: _Side) -> Mapping[str, Field]:
        return {} if side.holder is None else self._builder.specs.struct(side.holder).fields

    # -- changes -------------------------------------------------------------------------------

    def _changes(self, side: _Side, rules: tuple[ChangeRule, ...]) -> Iterator[ir.Change]:
        for rule in rules:
            if rule.verb:
                function = self._change(side, rule)
                self._builder.module.functions.append(function)
                when = self._when(side, rule, function.name)
                verb = "replace" if rule.verb == "append" else rule.verb
                yield ir.Change(verb, function.name, when, rule.warning or "")

    def _rewrites(self, side: _Side, rules: tuple[RewriteRule, ...]) -> Iterator[ir.Rewrite]:
        """Write the functions that make rewriters; these know the context only."""
        roots = {name: root for name, root in side.scope.roots.items() if name}
        for rule in rules:
            scope = Scope(roots, unresolved=side.scope.unresolved)
            scope.unresolved_words = side.scope.unresolved_words
            body = Body(names={"context", "item"})
            function = rewriter(self._context, scope, body, rule, self._named(rule.via))
            if function is None:
                continue
            self._check_read(scope, body, rule.position)
            self._passages.append(Passage("answer", (), REWRITTEN, rule.why))
            self._builder.module.functions.append(function)
            when = self._when(side, rule, function.name)
            yield ir.Rewrite(function.name, when, tuple(text for text, _ in rule.marks))

    def _when(self, side: _Side, rule: ChangeRule | RewriteRule, name: str) -> str | None:
        """Write the condition of a change, if any; it is asked before anything is sent."""
        if rule.when is None:
            return None
        body = Body(names={"members", "context", "item"})
        roots = dict(side.scope.roots)
        if side.name == "request" and "" in roots:
            roots[""] = replace(roots[""], code=Attribute(Name("context"), "sent"))
        else:
            roots.pop("", None)
            if (sent := self._request_type()) is not None:
                members = MapType(RawType(), keys=(sent.api, sent.name))
                roots["$request"] = Operand(Attribute(Name("context"), "sent"), members)
        scope = Scope(roots, unresolved=side.scope.unresolved)
        scope.unresolved_words = side.scope.unresolved_words
        test = Expressions.at(self._context, scope, body).conditions.test(rule.when)
        body.lines.append(Return(test))
        self._check_read(scope, body, rule.position)
        # Changes with the same condition share its function, so that it is asked once.
        for known in self._builder.module.functions:
            if known.returns == BOOL and known.body == body.written():
                return known.name
        self._builder.module.functions.append(
            ir.Function(
                name=f"{name}_when",
                parameters=(ir.Parameter("context", CONTEXT),),
                returns=BOOL,
                doc=f"Whether `{name}` is asked for.",
                body=body.written(),
            )
        )
        return f"{name}_when"

    def _change(self, side: _Side, rule: ChangeRule) -> ir.Function:
        body = Body(names={"members", "context", "item"})
        expressions = Expressions.at(self._context, side.scope, body)
        values: list[tuple[str, Expression]] = []
        for name, value in rule.members.items():
            where = rule.names[name].position
            target = self._member(side, name, where)
            if target is None:
                continue
            self._note_set(side, name, where)
            if rule.verb == "append":
                code = self._appended(expressions, rule, value, target, where)
            else:
                code = self._value(expressions, value, target, where)
            if code is not None:
                values.append((name, code))
        for name, where in rule.removed:
            if self._member(side, name, where) is not None:
                self._note_set(side, name, where)
                values.append((name, NONE))
        body.lines.append(Return(Dictionary(tuple(values))))
        self._check_read(side.scope, body, rule.position)
        members = tuple(rule.names)
        self._passages.append(Passage(side.name, members, WAYS[rule.verb], rule.why))
        named = ", ".join(f"`{name}`" for name in members)
        return ir.Function(
            name=self._named(f"{side.name}_{safe(next(iter(members), rule.verb))}"),
            parameters=(ir.Parameter("members", MEMBERS), ir.Parameter("context", CONTEXT)),
            returns=VALUES,
            doc=f"Of the {side.name}, {rule.verb} {named}.",
            body=body.written(),
            origins=(change_of(side.name, rule),),
        )

    def _value(
        self, expressions: Expressions, rule: Rule, target: Field, where: Position
    ) -> Expression | None:
        # An absent value leaves the member as it is, so every member may do without one.
        optional = replace(target, required=False)
        operand = expressions.rule(rule, optional, where, target.name)
        if operand is None:
            return None
        if is_raw(operand.type, target.type):
            operand = replace(operand, checked=False)
        return expressions.fitted(operand, optional, where, target.name).code

    def _appended(
        self,
        expressions: Expressions,
        change: ChangeRule,
        rule: Rule,
        target: Field,
        where: Position,
    ) -> Expression | None:
        if rule.each is None or change.by is None:
            self._findings.add(
                "unknown-key",
                where,
                f"what is appended to `{target.name}` needs `each`, and the change a `by`",
            )
            return None
        own = (
            expressions.place.path(PathRef(target.name, where))
            if change.onto is None
            else expressions.rule(change.onto, replace(target, required=False), where, target.name)
        )
        operand = expressions.rule(rule, replace(target, required=False), where, target.name)
        if own is None or operand is None or not isinstance(operand.type, ArrayType):
            return None
        item = operand.type.item
        if not any(holds(arm, item) for arm in arms(target.type)):
            self._findings.add(
                "type-mismatch",
                where,
                f"`{target.name}` is {target.type}, what is appended is {item}",
                declared=target.position,
            )
        known = self._builder.specs.struct(item).fields if isinstance(item, StructType) else {}
        if change.by not in known:
            self._findings.add(
                "no-such-path",
                change.by_position,
                f"`{change.by}`: {item} has no such field",
                hint=did_you_mean(change.by, known),
            )
        items = operand.code
        if operand.absent:
            items = Conditional(items, operand.presence or items, Literal([]))
        return Call(APPENDED, (own.code, items, Literal(change.by)))

    def _member(self, side: _Side, name: str, where: Position) -> Field | None:
        """Return a member as the description has it, or record that it has none of the name."""
        if side.holder is None:
            words = f"nothing describes the {side.name}'s members here"
            hint = "name the type under `from`" if side.name == "request" else None
            self._findings.add("no-such-target", where, f"`{name}`: {words}", hint=hint)
            return None
        struct = self._builder.specs.struct(side.holder)
        found = struct.fields.get(name)
        if found is None:
            self._findings.add(
                "no-such-target",
                where,
                f"`{name}`: {side.holder} has no such field",
                hint=did_you_mean(name, struct.fields),
                declared=struct.position,
            )
        return found

    def _named(self, name: str) -> str:
        """Return a name that no function of the module has: two changes may name one member."""
        taken = {function.name for function in self._builder.module.functions}
        numbered = (f"{name}_{number}" for number in count(2))
        return next(one for one in chain([name], numbered) if one not in taken)

    def _note_set(self, side: _Side, name: str, where: Position) -> None:
        if name in side.set_by:
            self._findings.add(
                "changed-twice",
                where,
                f"`{name}` is changed by another rule already",
                declared=side.set_by[name],
            )
        side.set_by.setdefault(name, where)

    def _check_read(self, scope: Scope, body: Body, where: Position) -> None:
        """Note what a function reads; it has no client's request as a whole."""
        paths = scope.used.get("$context", set())
        read = {path.split(".")[0] for path in paths}
        self._reads |= {word for name, word in LISTS.items() if name in read}
        if "request" in names_read(body.written()):
            self._findings.add(
                "no-such-path",
                where,
                "a shape that reads `$request` has none here: of what is passed on there are "
                "only members",
            )

    # -- what happens before -------------------------------------------------------------------

    def _first(self, side: _Side, rules: tuple[FirstStep, ...]) -> str:
        """Write the steps that a request for a model goes through before it is changed."""
        builder = self._builder
        body = Body(names={"members", "run", "context", "item"})
        expressions = Expressions.at(self._context, side.scope, body)
        usage = Usage(None, rules[0].position)
        steps = Steps(builder, self._context, Answers(builder, self._context), expressions, usage)
        for rule in rules:
            steps.write(rule.step)
            self._passages.append(Passage("request", (), _shown(rule), rule.why))
            if self._passed.model is None:
                self._findings.add(
                    "need-before-model",
                    rule.position,
                    "what happens first happens for a model, and no member is stated to name one",
                )
        written = body.written()
        if RUN_CONTEXT.id in names_read(written):
            written = (assign(RUN_CONTEXT, Attribute(Name("run"), "context")), *written)
        builder.module.functions.append(
            ir.Function(
                name="first",
                parameters=(ir.Parameter("members", MEMBERS), ir.Parameter("run", RUN)),
                returns=NONE,
                doc="What happens before a request is passed on.",
                body=written,
                is_async=True,
                steps=tuple(step_of(rule.step) for rule in rules),
            )
        )
        return "first"

    # -- answers made here ---------------------------------------------------------------------

    def _instead(self, rule: Instead, request: _Side) -> str | None:
        answer = (
            self._builder.specs.find_struct(rule.target, rule.target_position)
            if rule.target is not None
            else self._answer_type()
        )
        if answer is None:
            if rule.target is None:
                self._findings.add("no-such-type", rule.position, "nothing describes the answer")
            return None
        body = Body(names={"members", "context", "item"})
        expressions = Expressions.at(self._context, request.scope, body)
        if rule.when is not None:
            test = expressions.conditions.test(rule.when)
            body.lines.append(If(negated(test), (Return(UNSET),)))
        made = expressions.build(answer, rule.fields, rule.names, rule.position)
        body.lines.append(Return(made))
        self._check_read(request.scope, body, rule.position)
        words = INSTEAD if rule.when is None else INSTEAD_WHEN
        self._passages.append(Passage("answer", (), words, rule.why))
        name = "instead"
        self._builder.module.functions.append(
            ir.Function(
                name=name,
                parameters=(ir.Parameter("members", MEMBERS), ir.Parameter("context", CONTEXT)),
                returns=ANY,
                doc="The answer that is made here, absent where the request is passed on.",
                body=body.written(),
                origins=(instead_of(rule, str(answer)),),
            )
        )
        return name


def _refusal(rule: Refusal | None) -> tuple[int, str] | None:
    """Return the status and the text of an error, which names no paths here."""
    return (rule.status, rule.error) if rule is not None else None


def _shown(rule: FirstStep) -> str:
    """Return what a step before a request does, as the pages say it."""
    if rule.need is not None:
        return f"refused for a model that lacks `{rule.need}`"
    if rule.do is not None:
        return f"passed on after the step `{rule.do}`"
    return "refused where it cannot be passed on whole"
