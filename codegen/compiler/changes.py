"""
Changes of what is passed on, compiled: each is a function that gives members their new values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, count

from codegen.compiler import ir
from codegen.compiler.builder import Builder
from codegen.compiler.coverage import Passage
from codegen.compiler.expressions import Expressions
from codegen.compiler.members import holds, is_raw, rewriter, safe
from codegen.compiler.operand import Body, Operand, Scope
from codegen.compiler.place import Context
from codegen.compiler.provenance import change_of
from codegen.compiler.runtime import APPENDED, BOOL, CONTEXT, MEMBERS, VALUES
from codegen.compiler.sides import Side, Sides
from codegen.compiler.tree import (
    NONE,
    Attribute,
    Call,
    Conditional,
    Dictionary,
    Expression,
    Literal,
    Name,
    Return,
    names_read,
)
from codegen.descriptions.problem import Position, did_you_mean
from codegen.descriptions.types import ArrayType, Field, MapType, RawType, StructType, arms
from codegen.rules.model import ChangeRule, PathRef, RewriteRule, Rule

LISTS = {"kept_models": "kept", "models": "models"}
"""The parts of `$context` that are only there for rules that read them."""

WAYS = {
    "replace": "changed in the",
    "add": "added, where missing, to the",
    "append": "given further items in the",
    "remove": "left out of the",
}
REWRITTEN = "rewritten, event by event"
"""What the pages say of members, by the verb that changes them."""


class Changes:
    """The changes of one file, as functions of its module."""

    def __init__(self, builder: Builder, context: Context, sides: Sides) -> None:
        """Write nothing yet."""
        self._builder = builder
        self._context = context
        self._findings = builder.findings
        self._sides = sides
        self.reads: set[str] = set()
        """The lists of the context that the rules read."""
        self.passages: list[Passage] = []
        """What the pages say of the changes."""

    def of(self, side: Side, rules: tuple[ChangeRule, ...]) -> Iterator[ir.Change]:
        """Write the functions of the changes of one side, and their conditions."""
        for rule in rules:
            if rule.verb:
                function = self._change(side, rule)
                self._builder.module.functions.append(function)
                when = self._when(side, rule, function.name)
                verb = "replace" if rule.verb == "append" else rule.verb
                yield ir.Change(verb, function.name, when, rule.warning or "")

    def rewrites(self, side: Side, rules: tuple[RewriteRule, ...]) -> Iterator[ir.Rewrite]:
        """Write the functions that make rewriters; these know the context only."""
        roots = {name: root for name, root in side.scope.roots.items() if name}
        for rule in rules:
            scope = Scope(roots, unresolved=side.scope.unresolved)
            scope.unresolved_words = side.scope.unresolved_words
            body = Body(names={"context", "item"})
            function = rewriter(self._context, scope, body, rule, self._named(rule.via))
            if function is None:
                continue
            self.check_read(scope, body, rule.position)
            self.passages.append(Passage("answer", (), REWRITTEN, rule.why))
            self._builder.module.functions.append(function)
            when = self._when(side, rule, function.name)
            yield ir.Rewrite(function.name, when, tuple(text for text, _ in rule.marks))

    def _when(self, side: Side, rule: ChangeRule | RewriteRule, name: str) -> str | None:
        """Write the condition of a change, if any; it is asked before anything is sent."""
        if rule.when is None:
            return None
        body = Body(names={"members", "context", "item"})
        roots = dict(side.scope.roots)
        if side.name == "request" and "" in roots:
            roots[""] = replace(roots[""], code=Attribute(Name("context"), "sent"))
        else:
            roots.pop("", None)
            if (sent := self._sides.request_type()) is not None:
                members = MapType(RawType(), keys=(sent.api, sent.name))
                roots["$request"] = Operand(Attribute(Name("context"), "sent"), members)
        scope = Scope(roots, unresolved=side.scope.unresolved)
        scope.unresolved_words = side.scope.unresolved_words
        test = Expressions.at(self._context, scope, body).conditions.test(rule.when)
        body.lines.append(Return(test))
        self.check_read(scope, body, rule.position)
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

    def _change(self, side: Side, rule: ChangeRule) -> ir.Function:
        body = Body(names={"members", "context", "item"})
        expressions = Expressions.at(self._context, side.scope, body)
        values: list[tuple[str, Expression]] = []
        for name, value in rule.members.items():
            where = rule.names[name].position
            target = self._sides.member(side, name, where)
            if target is None:
                continue
            self._sides.note_set(side, name, where)
            if rule.verb == "append":
                code = self._appended(expressions, rule, value, target, where)
            else:
                code = self._value(expressions, value, target, where)
            if code is not None:
                values.append((name, code))
        for name, where in rule.removed:
            if self._sides.member(side, name, where) is not None:
                self._sides.note_set(side, name, where)
                values.append((name, NONE))
        body.lines.append(Return(Dictionary(tuple(values))))
        self.check_read(side.scope, body, rule.position)
        members = tuple(rule.names)
        self.passages.append(Passage(side.name, members, WAYS[rule.verb], rule.why))
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

    def check_read(self, scope: Scope, body: Body, where: Position) -> None:
        """Note what a function reads; it has no client's request as a whole."""
        paths = scope.used.get("$context", set())
        read = {path.split(".")[0] for path in paths}
        self.reads |= {word for name, word in LISTS.items() if name in read}
        if "request" in names_read(body.written()):
            self._findings.add(
                "no-such-path",
                where,
                "a shape that reads `$request` has none here: of what is passed on there are "
                "only members",
            )

    def _named(self, name: str) -> str:
        """Return a name that no function of the module has: two changes may name one member."""
        taken = {function.name for function in self._builder.module.functions}
        numbered = (f"{name}_{number}" for number in count(2))
        return next(one for one in chain([name], numbered) if one not in taken)
