"""
Compiles rules to expressions, one target field after another, and checks each of them.

This module decides the value of a field, whether it fits the target, and the text of the problem if
it does not. `mapping` compiles whole mappings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from codegen.compiler.choices import case_test, check_exhaustive, constant_fits, in_case
from codegen.compiler.conditions import Conditions
from codegen.compiler.invocations import Invocations, null_as_absent
from codegen.compiler.operand import Body, Operand, Scope
from codegen.compiler.place import Context, Place, ShapeRef, TableRef
from codegen.compiler.runtime import (
    DECODE_EACH,
    UNSET,
    UNSET_TYPE,
    annotation,
    one_of,
    struct,
)
from codegen.compiler.texts import refusal
from codegen.compiler.tree import (
    NONE,
    Assign,
    Attribute,
    Call,
    Conditional,
    Expression,
    If,
    ListOf,
    Literal,
    Name,
    Raise,
    Statement,
    Subscript,
    all_of,
    assign,
    compare,
    guarded,
    may_refuse,
)
from codegen.descriptions.problem import Position, did_you_mean, nearest
from codegen.descriptions.source import Key
from codegen.descriptions.types import (
    ArrayType,
    Field,
    RawType,
    ScalarType,
    StructType,
    Type,
    arms,
    fits,
)
from codegen.rules.model import Case, Constant, Rule


class Expressions:
    """Compiles the rules of fields at one place."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.invocations = Invocations(place)
        self.conditions = Conditions(place, self.invocations)
        self._context = place.context
        self._findings = place.findings

    @classmethod
    def at(cls, context: Context, scope: Scope, body: Body) -> Expressions:
        """Return what compiles rules into a body."""
        return cls(Place(context, scope, body))

    # -- objects ------------------------------------------------------------------------------

    def build(
        self,
        target: StructType,
        fields: Mapping[str, Rule],
        names: Mapping[str, Key],
        position: Position,
        prefix: str = "",
    ) -> Expression:
        """Return the constructor call that builds a target object, checking every field."""
        known = self._context.specs.struct(target)
        values: dict[str, Expression] = {}
        for name, rule in _in_order(fields, known.fields):
            where = names[name].position if name in names else rule.position
            found = known.fields.get(name)
            if found is None:
                self._findings.add(
                    "no-such-target",
                    where,
                    f"`{prefix}{name}`: {target} has no such field",
                    hint=did_you_mean(name, known.fields),
                    declared=known.position,
                    about=f"{prefix}{nearest(name, known.fields)}",
                )
                # Mark what the rule reads, or the source field would be reported as well.
                if rule.source is not None:
                    self.place.path(rule.source)
                continue
            if rule.fields is None:
                self.place.scope.label = f"`{prefix}{name}`{where.from_group}"
            operand = self.rule(rule, found, where, f"{prefix}{name}")
            if operand is not None:
                values[name] = self.fitted(operand, found, where, f"{prefix}{name}").code
        for name, found in known.fields.items():
            if found.required and name not in fields:
                self._findings.add(
                    "target-uncovered",
                    position,
                    f"`{prefix}{name}` of {target} is required and never set",
                    declared=found.position,
                    about=f"{prefix}{name}",
                )
        ordered = [
            (found.attribute, values[name])
            for name, found in known.fields.items()
            if name in values and values[name] != UNSET
        ]
        return Call(struct(target), keywords=tuple(ordered))

    # -- one field ----------------------------------------------------------------------------

    def rule(self, rule: Rule, target: Field, where: Position, label: str) -> Operand | None:
        """Return the value of one target field, or None when it has problems (now recorded)."""
        start = self.place.start
        if start is not None and self._reads_once(rule):
            operand = Expressions(start).rule(rule, target, where, label)
            return None if operand is None else self.place.kept(operand, target.attribute)
        if rule.when is None:
            return self._made(rule, target, where, label)
        test = self.conditions.test(rule.when)
        with self.conditions.where(rule.when), self.place.branch() as branch:
            operand = self._made(rule, target, where, label)
        body, written = self.place.body, branch.written()
        if operand is None or not may_refuse(written):
            body.take_over(branch)
            if operand is None:
                return None
            return replace(operand, code=Conditional(operand.code, test, UNSET), absent=True)
        # What refuses may do so only where the condition holds.
        result = Name(body.fresh(f"{label.rsplit('.', 1)[-1]}_value"))
        kind = one_of(annotation(operand.type), UNSET_TYPE, *([NONE] if operand.null else []))
        body.lines.append(Assign((result,), UNSET, kind))
        body.lines.append(If(test, (*written, assign(result, operand.code))))
        return replace(operand, code=result, absent=True)

    def wants_frames(self, rule: Rule | None) -> Operand | None:
        """Return whether a client wants frames, as a rule says it; None where none does."""
        if rule is None:
            return None
        wanted = Field("streamed", ScalarType("boolean"), True, False, rule.position)
        operand = self.rule(rule, wanted, rule.position, "streamed")
        return self.fitted(operand, wanted, rule.position, "streamed") if operand else None

    def _made(self, rule: Rule, target: Field, where: Position, label: str) -> Operand | None:
        operand = self._value(rule, target, where, label)
        if operand is not None and rule.table is not None:
            operand = self._translated(rule, rule.table, operand)
        if operand is not None and rule.default is not None:
            self._check_constant(rule.default, target, label)
            operand = self._defaulted(operand, Literal(rule.default.value))
        return operand

    def _reads_once(self, rule: Rule) -> bool:
        """Say whether a rule is made of nothing but paths that lead to the same at any time."""
        is_plain = rule.when is None and rule.each is None and rule.arguments is None
        return is_plain and rule.source is not None and self.place.is_read_once(rule.source)

    def _value(self, rule: Rule, target: Field, where: Position, label: str) -> Operand | None:
        if rule.value is not None:
            self._check_constant(rule.value, target, label)
            return Operand(Literal(rule.value.value), target.type, checked=False)
        if rule.fields is not None:
            kind = next((arm for arm in arms(target.type) if isinstance(arm, StructType)), None)
            if kind is None:
                self._findings.add(
                    "type-mismatch", where, f"`{label}` wants {target.type}, not an object"
                )
                return None
            code = self.build(kind, rule.fields, rule.names, where, f"{label}.")
            return Operand(code, kind)
        if rule.each is not None:
            return self._each(rule, where)
        if rule.match is not None:
            return self._match(rule, target, where, label)
        if rule.via is not None and rule.source is None:
            return self.invocations.transform(rule.via, rule.arguments or {}, rule.position)
        # A rule that says nothing was reported when it was read.
        operand = self.place.path(rule.source) if rule.source is not None else None
        if operand is not None and rule.via is not None:
            if rule.arguments is not None:
                self._findings.add(
                    "transform-args",
                    where,
                    "`from` with `via` passes one value; leave `with` or `from` out",
                )
            return self.invocations.pass_through(rule.via, operand, rule.position)
        return operand

    def _defaulted(self, operand: Operand, default: Expression) -> Operand:
        held = self.place.held(operand)
        presence = held.presence
        if presence is None:
            return operand
        code = Conditional(held.code, presence, default)
        return Operand(code, operand.type, checked=operand.checked)

    def _translated(self, rule: Rule, name: str, operand: Operand) -> Operand | None:
        found = self._context.table(name, rule.position)
        if found is None:
            return None
        table = found.table
        self._check_translated(rule, operand, found)
        values = [str(constant.value) for _, constant in table.rows.values()]
        held = self.place.held(operand)
        lookup: Expression = Subscript(found.code, (held.code,))
        if table.otherwise is not None:
            values.append(str(table.otherwise.value))
            otherwise = Literal(table.otherwise.value)
            lookup = Call(Attribute(found.code, "get"), (held.code, otherwise))
        kind = ScalarType("string", tuple(dict.fromkeys(values)))
        return _where_present(held, Operand(lookup, kind))

    def _check_translated(self, rule: Rule, operand: Operand, found: TableRef) -> None:
        """A table takes words, and without `otherwise` only those that it is made for."""
        if not operand.checked:
            return
        if not isinstance(operand.type, ScalarType) or operand.type.name != "string":
            self._findings.add(
                "type-mismatch",
                rule.position,
                f"`{found.table.name}` translates words, its source here is {operand.type}",
            )
        elif found.table.otherwise is None and found.covers is not None:
            words = operand.type.enum
            missing = [word for word in words or () if word not in found.covers]
            if words is None or missing:
                self._findings.add(
                    "table-not-total",
                    rule.position,
                    f"`{found.table.name}` has no row for "
                    + (", ".join(missing) if words else "every word that may stand here"),
                )

    # -- lists --------------------------------------------------------------------------------

    def _each(self, rule: Rule, where: Position) -> Operand | None:
        assert rule.each is not None
        operand = self.place.path(rule.each)
        if operand is None:
            return None
        if rule.use is None:
            self._findings.add("unknown-key", where, "`each` needs `use`, the shape for its items")
            return None
        shape = self._context.shape(rule.use, where)
        if shape is None:
            return None
        if rule.via is not None:
            listed = (
                self.invocations.transform(rule.via, rule.arguments, rule.position, given=operand)
                if rule.arguments is not None
                else self.invocations.pass_through(rule.via, operand, rule.position)
            )
            if listed is None:
                return None
            operand = replace(listed, code=self.place.body.local(listed.code, "items"))
        if not self._is_list_for(rule, operand, shape):
            return None
        for root in shape.extra:
            self.place.body.roots.add("$" + root)
        held = self.place.held(operand)
        items = held.code
        if isinstance(held.type, ArrayType) and isinstance(held.type.item, RawType):
            items = Call(DECODE_EACH, (held.code, self._context.decoder(shape.source)))
        element = Call(shape.code, (Name("item"), *map(Name, shape.extra)))
        made = Operand(ListOf(element, "item", items), ArrayType(shape.target))
        return _where_present(held, made)

    def _is_list_for(self, rule: Rule, operand: Operand, shape: ShapeRef) -> bool:
        """Say whether a value is a list, and record when its items are not what a shape takes."""
        assert rule.each is not None
        name = rule.via if rule.via is not None else rule.each.text
        where = rule.position if rule.via is not None else rule.each.position
        if not operand.checked:
            return True
        if not isinstance(operand.type, ArrayType):
            self._findings.add("type-mismatch", where, f"`{name}` is {operand.type}, not a list")
            return False
        if not _item_fits(operand.type, shape):
            item = f"{operand.type.item}{' or null' if operand.type.nullable else ''}"
            self._findings.add(
                "type-mismatch",
                where,
                f"`{name}` holds {item}, the shape `{rule.use}` takes {shape.source}",
            )
        return True

    # -- choices ------------------------------------------------------------------------------

    def _match(self, rule: Rule, target: Field, where: Position, label: str) -> Operand | None:
        assert rule.match is not None
        operand = self.place.path(rule.match)
        if operand is None:
            return None
        check_exhaustive(self._findings, rule.match, rule.cases, operand, f"`{label}`: ")
        body = self.place.body
        held = self.place.held(operand)
        subject, guard = held.code, held.presence
        name = label.rsplit(".", 1)[-1]
        if isinstance(operand.type, RawType):
            subject = self.place.decoded(held, f"{name}_choice")
            guard = all_of((guard, compare(subject, "is not", NONE)))
        result = Name(body.fresh(f"{name}_value"))
        absent = guard is not None or any(case.absent for case in rule.cases)
        branches: list[tuple[Expression | None, tuple[Statement, ...]]] = []
        for case in rule.cases:
            known = in_case(replace(held, absent=False, null=False), case)
            with self.place.knowing(rule.match, known), self.place.branch() as branch:
                outcome = self._case(case, target, label, result)
            before: tuple[Statement, ...] = branch.written()
            if not may_refuse(before):
                body.take_over(branch)
                before = ()
            if outcome is not None:
                statement, may_lack = outcome
                absent |= may_lack
                branches.append((case_test(case, subject, operand.type), (*before, statement)))
        kind = annotation(target.type)
        body.lines.append(Assign((result,), UNSET, one_of(kind, UNSET_TYPE) if absent else kind))
        body.lines += guarded(guard, *_choice(branches))
        return Operand(result, target.type, absent=absent, checked=False)

    def _case(
        self, case: Case, target: Field, label: str, result: Name
    ) -> tuple[Statement, bool] | None:
        """Return what a case does, and whether its value may be absent."""
        if case.absent:
            return assign(result, UNSET), True
        if case.reject is not None:
            return Raise(refusal(self.place, case.reject)), False
        assert case.rule is not None
        operand = self.rule(case.rule, target, case.position, label)
        if operand is None:
            return None
        fitted = self.fitted(operand, target, case.position, label)
        return assign(result, fitted.code), fitted.absent

    # -- fitting ------------------------------------------------------------------------------

    def fitted(self, operand: Operand, target: Field, where: Position, label: str) -> Operand:
        if operand.checked and not fits(operand.type, target.type):
            check = "type-mismatch"
            words = f"source is {operand.type}, `{label}` wants {target.type}"
            if _vocabulary_differs(operand.type, target.type):
                check, words = (
                    "enum-mismatch",
                    f"`{label}` takes only its own words, the source takes others",
                )
            self._findings.add(
                check,
                where,
                words,
                hint="use `via:`, `match:` or `table:`",
                declared=target.position,
            )
        if operand.null and not target.nullable:
            code = null_as_absent(self.place.held(operand).code)
            operand = replace(operand, code=code, absent=True, null=False)
        if operand.absent and target.required:
            self._findings.add(
                "maybe-absent",
                where,
                f"`{label}` is required, its source may be absent",
                hint="give it a `default:`",
                declared=target.position,
            )
        return operand

    def _check_constant(self, constant: Constant, target: Field, label: str) -> None:
        if constant.value is None:
            fine = target.nullable
        else:
            fine = any(constant_fits(constant.value, arm) for arm in arms(target.type))
        if not fine:
            words = [
                word
                for arm in arms(target.type)
                if isinstance(arm, ScalarType)
                for word in arm.enum or ()
            ]
            self._findings.add(
                "bad-value",
                constant.position,
                f"`{label}` wants {target.type}, not {json.dumps(constant.value)}",
                hint=did_you_mean(str(constant.value), words),
                declared=target.position,
            )


def _in_order(fields: Mapping[str, Rule], known: Mapping[str, Field]) -> list[tuple[str, Rule]]:
    """
    Return rules in the order in which they are written out.

    If any of them is from a group, all are in the order of the target's fields.
    """
    if not any(rule.position.included for rule in fields.values()):
        return list(fields.items())
    order = {name: number for number, name in enumerate(known)}
    return sorted(fields.items(), key=lambda item: order.get(item[0], -1))


def _where_present(held: Operand, made: Operand) -> Operand:
    """Return what is made of a value, absent where the value is."""
    presence = held.presence
    if presence is None:
        return made
    return replace(made, code=Conditional(made.code, presence, UNSET), absent=True)


def _choice(
    branches: list[tuple[Expression | None, tuple[Statement, ...]]],
) -> tuple[Statement, ...]:
    """Return the statements of a choice; a case without a test takes all that is left."""
    rest: tuple[Statement, ...] = ()
    for test, outcome in reversed(branches):
        rest = outcome if test is None else (If(test, outcome, rest),)
    return rest


def _item_fits(listed: ArrayType, shape: ShapeRef) -> bool:
    item = listed.item
    if isinstance(item, RawType) and item.late is not None:
        return StructType(*item.late) == shape.source
    return item == shape.source and not listed.nullable


def _vocabulary_differs(source: Type, target: Type) -> bool:
    return (
        isinstance(source, ScalarType)
        and isinstance(target, ScalarType)
        and source.name == target.name == "string"
    )
