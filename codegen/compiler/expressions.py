"""
Rules turned into expressions: one target field after another, each checked as it is written.

What a field's value is, whether it fits the target, and the words said when it does not, live
here. What whole mappings compile to is another module's business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from codegen.compiler.operand import Body, Operand, Resolver, Scope, any_operand
from codegen.descriptions.problem import Findings, Position, did_you_mean, nearest
from codegen.descriptions.signatures import Parameter, Signature
from codegen.descriptions.source import Key, Plain
from codegen.descriptions.spec import Specs
from codegen.descriptions.types import (
    AnyType,
    ArrayType,
    Field,
    MapType,
    RawType,
    ScalarType,
    StructType,
    Type,
    UnionType,
    annotation,
    arms,
    fits,
    union,
)
from codegen.rules.model import (
    Argument,
    Case,
    Condition,
    Constant,
    PathRef,
    Refusal,
    Rule,
    ShapeCase,
    Table,
)

JSON_TYPES = {
    "string": "str",
    "number": "(int, float)",
    "boolean": "bool",
    "object": "dict",
    "array": "list",
}


@dataclass(frozen=True)
class ShapeRef:
    """A compiled shape: how to call it, what it takes and returns."""

    code: str
    source: StructType
    target: Type
    extra: tuple[str, ...]


@dataclass(frozen=True)
class TableRef:
    """A compiled table: its constant, its rules, and the words that its source may hold."""

    code: str
    table: Table
    covers: tuple[str, ...] | None


@dataclass
class Context:
    """What every rule of one file may name."""

    specs: Specs
    findings: Findings
    transforms: dict[str, Signature]
    steps: dict[str, Signature]
    shape: Callable[[str, Position], ShapeRef | None]
    table: Callable[[str, Position], TableRef | None]
    decoder: Callable[[StructType], str]
    used_transforms: set[str]
    read: Callable[[StructType, str], None]

    @property
    def resolver(self) -> Resolver:
        """A resolver that reports to this context."""
        return Resolver(self.specs, self.findings, self.read)


def refusal_code(refusal: Refusal, text: str, *, constructor: str = "Refusal") -> str:
    """Return the expression that makes an error of this text, which is an expression itself."""
    late = ", is_late=True" if refusal.is_late else ""
    return f"{constructor}({refusal.status}, {text}{late})"


class Expressions:
    """Compiles rules, conditions and texts within one function."""

    def __init__(self, context: Context, scope: Scope, body: Body) -> None:
        self._context = context
        self._findings = context.findings
        self._scope = scope
        self._known: dict[str, Operand] = {}
        self._there: frozenset[str] = frozenset()
        self.body = body

    def within(self, body: Body) -> Expressions:
        """Return the same for lines in another body, in the same scope."""
        return Expressions(self._context, self._scope, body)

    # -- objects ------------------------------------------------------------------------------

    def build(
        self,
        target: StructType,
        fields: Mapping[str, Rule],
        names: Mapping[str, Key],
        position: Position,
        prefix: str = "",
    ) -> str:
        """Return the constructor call that builds a target object, checking every field."""
        struct = self._context.specs.struct(target)
        values: dict[str, str] = {}
        for name, rule in fields.items():
            place = names[name].position if name in names else rule.position
            found = struct.fields.get(name)
            if found is None:
                self._findings.add(
                    "no-such-target",
                    place,
                    f"`{prefix}{name}`: {target} has no such field",
                    hint=did_you_mean(name, struct.fields),
                    declared=struct.position,
                    about=f"{prefix}{nearest(name, struct.fields)}",
                )
                # What it reads is decided all the same.
                for path in rule.sources:
                    self.path(path)
                continue
            if rule.fields is None:
                self._scope.label = f"`{prefix}{name}`"
            operand = self.rule(rule, found, place, f"{prefix}{name}")
            if operand is not None:
                values[name] = self._fitted(operand, found, place, f"{prefix}{name}").code
        for name, found in struct.fields.items():
            if found.required and name not in fields:
                self._findings.add(
                    "target-uncovered",
                    position,
                    f"`{prefix}{name}` of {target} is required and never set",
                    declared=found.position,
                    about=f"{prefix}{name}",
                )
        ordered = [
            f"{found.attribute}={values[name]}"
            for name, found in struct.fields.items()
            if name in values and values[name] != "UNSET"
        ]
        return f"{annotation(target)}({', '.join(ordered)})"

    # -- one field ----------------------------------------------------------------------------

    def rule(self, rule: Rule, target: Field, place: Position, label: str) -> Operand | None:
        """Return the value of one target field, or None when it has problems (now recorded)."""
        if (kept := self._scope.kept) is not None and self._reads_once(rule):
            start = Expressions(self._context, kept.scope, kept.body)
            operand = start.rule(rule, target, place, label)
            return None if operand is None else kept.hold(operand, target.attribute)
        test = self.condition(rule.when) if rule.when is not None else ""
        with self.where(rule.when):
            operand = self._made(rule, target, place, label)
        if operand is not None and test:
            code = f"({operand.code})" if " if " in operand.code else operand.code
            operand = replace(operand, code=f"{code} if {test} else UNSET", absent=True)
        return operand

    def _made(self, rule: Rule, target: Field, place: Position, label: str) -> Operand | None:
        operand = self._value(rule, target, place, label)
        if operand is None:
            return None
        if rule.table is not None:
            operand = self._translated(rule, operand)
        if rule.default is not None and operand is not None:
            self._check_constant(rule.default, target, label)
            operand = self._defaulted(operand, _literal(rule.default.value))
        return operand

    def _reads_once(self, rule: Rule) -> bool:
        """Say whether a rule is made of nothing but paths that lead to the same at any time."""
        is_plain = rule.when is None and rule.each is None and rule.arguments is None
        return is_plain and bool(rule.sources) and all(map(self._is_kept, rule.sources))

    def _is_kept(self, path: PathRef) -> bool:
        kept = self._scope.kept
        return kept is not None and not self._context.resolver.may_change(path, kept.scope)

    def _value(self, rule: Rule, target: Field, place: Position, label: str) -> Operand | None:
        if rule.value is not None:
            self._check_constant(rule.value, target, label)
            return Operand(_literal(rule.value.value), target.type, checked=False)
        if rule.fields is not None:
            kind = next((arm for arm in arms(target.type) if isinstance(arm, StructType)), None)
            if kind is None:
                self._findings.add(
                    "type-mismatch", place, f"`{label}` wants {target.type}, not an object"
                )
                return None
            code = self.build(kind, rule.fields, rule.names, place, f"{label}.")
            return Operand(code, kind)
        if rule.each is not None:
            return self._each(rule, place)
        if rule.match is not None:
            return self._match(rule, target, place, label)
        if rule.via is not None and not rule.sources:
            return self.call_transform(rule.via, rule.arguments or {}, rule.position)
        operand = self._first_present(rule)
        if operand is not None and rule.via is not None:
            if rule.arguments is not None:
                self._findings.add(
                    "transform-args",
                    place,
                    "`from` with `via` passes one value; leave `with` or `from` out",
                )
            return self.pass_through(rule.via, operand, rule.position)
        return operand

    def _first_present(self, rule: Rule) -> Operand | None:
        if not rule.sources:
            # The reader of the rule has said so.
            return None
        operands = [self.path(path) for path in rule.sources]
        found = [operand for operand in operands if operand is not None]
        if len(found) < len(operands):
            return None
        result = found[-1]
        for operand in reversed(found[:-1]):
            if not operand.presence:
                return operand
            code = f"{operand.code} if {operand.presence} else {result.code}"
            kind = (
                operand.type
                if operand.type == result.type
                else UnionType((operand.type, result.type))
            )
            result = Operand(code, kind, absent=result.absent, null=result.null)
        return result

    def path(self, path: PathRef, *, mark: bool = True, hoist: bool = True) -> Operand | None:
        """Return the operand of a path; inside a case, the matched value is known to be there."""
        known = self._known.get(path.text)
        if known is not None:
            return known
        found = self._context.resolver.resolve(path, self._scope, self.body, mark=mark, hoist=hoist)
        if found is None or not found.presence:
            return found
        held = self.body.hoisted.get(found.code, found.code)
        if held in self._there:
            return replace(found, code=held, absent=False, null=False)
        return found

    def _defaulted(self, operand: Operand, default: str) -> Operand:
        if not operand.presence:
            return operand
        held = self._held(operand)
        return Operand(
            f"{held.code} if {held.presence} else {default}", operand.type, checked=operand.checked
        )

    def _translated(self, rule: Rule, operand: Operand) -> Operand | None:
        assert rule.table is not None
        found = self._context.table(rule.table, rule.position)
        if found is None:
            return None
        code, table = found.code, found.table
        self._check_translated(rule, operand, found)
        values = tuple(str(constant.value) for _, constant in table.rows.values())
        if table.otherwise is not None:
            values = (*values, str(table.otherwise.value))
        kind = ScalarType("string", tuple(dict.fromkeys(values)))
        held = self._held(operand)
        lookup = (
            f"{code}.get({held.code}, {_literal(table.otherwise.value)})"
            if table.otherwise is not None
            else f"{code}[{held.code}]"
        )
        if held.presence:
            return Operand(f"{lookup} if {held.presence} else UNSET", kind, absent=True)
        return Operand(lookup, kind)

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

    def _each(self, rule: Rule, place: Position) -> Operand | None:
        assert rule.each is not None
        operand = self.path(rule.each)
        if operand is None:
            return None
        if rule.use is None:
            self._findings.add("unknown-key", place, "`each` needs `use`, the shape for its items")
            return None
        shape = self._context.shape(rule.use, place)
        if shape is None:
            return None
        if rule.via is not None:
            listed = (
                self.call_transform(rule.via, rule.arguments, rule.position, given=operand)
                if rule.arguments is not None
                else self.pass_through(rule.via, operand, rule.position)
            )
            if listed is None:
                return None
            operand = replace(listed, code=self.body.local(listed.code, "items"))
        elif not isinstance(operand.type, ArrayType):
            self._findings.add(
                "type-mismatch",
                rule.each.position,
                f"`{rule.each.text}` is {operand.type}, not a list",
            )
            return None
        elif not self._item_fits(operand.type.item, shape):
            self._findings.add(
                "type-mismatch",
                rule.each.position,
                f"`{rule.each.text}` holds {operand.type.item}, "
                f"the shape `{rule.use}` takes {shape.source}",
            )
        for root in shape.extra:
            self.body.roots.add("$" + root)
        held = self._held(operand)
        arguments = ", ".join(["item", *shape.extra])
        items = held.code
        if isinstance(held.type, ArrayType) and isinstance(held.type.item, RawType):
            items = f"decode_each({held.code}, {self._context.decoder(shape.source)})"
        code = f"[{shape.code}({arguments}) for item in {items}]"
        if held.presence:
            code = f"{code} if {held.presence} else UNSET"
        return Operand(code, ArrayType(shape.target), absent=bool(held.presence))

    def _item_fits(self, item: Type, shape: ShapeRef) -> bool:
        if isinstance(item, RawType) and item.late is not None:
            return StructType(*item.late) == shape.source
        return item == shape.source

    # -- choices ------------------------------------------------------------------------------

    def _match(self, rule: Rule, target: Field, place: Position, label: str) -> Operand | None:
        assert rule.match is not None
        operand = self.path(rule.match)
        if operand is None:
            return None
        self.check_exhaustive(rule.match, rule.cases, operand, f"`{label}`: ")
        held = self._held(operand)
        subject = held.code
        if isinstance(operand.type, RawType):
            subject = self.body.local(
                f"value_of({held.code}) if {held.presence} else None"
                if held.presence
                else f"value_of({held.code})",
                f"{label.rsplit('.', 1)[-1]}_choice",
            )
            guard = " and ".join(test for test in (held.presence, f"{subject} is not None") if test)
        else:
            guard = held.presence
        result = self.body.fresh(f"{label.rsplit('.', 1)[-1]}_value")
        absent = bool(guard) or any(case.absent for case in rule.cases)
        kind = annotation(target.type)
        branches: list[str] = []
        indent = "    " if guard else ""
        keyword = "if"
        for case in rule.cases:
            self.narrow(rule.match, replace(held, absent=False, null=False), case)
            outcome = self._case(case, target, place, label)
            del self._known[rule.match.text]
            if outcome is None:
                continue
            test = case_test(case, subject, operand.type)
            head = f"{keyword} {test}:" if test else ("else:" if branches else "if True:")
            branches.append(indent + head)
            line = outcome if outcome.startswith("raise ") else f"{result} = {outcome}"
            branches.append(f"{indent}    {line}")
            keyword = "elif"
        self.body.lines.append(f"{result}: {kind}{' | UnsetType' if absent else ''} = UNSET")
        if guard:
            self.body.lines.append(f"if {guard}:")
        self.body.lines.extend(branches)
        return Operand(result, target.type, absent=absent, checked=False)

    def narrow(self, match: PathRef, operand: Operand, case: Case | ShapeCase) -> None:
        """Remember what is known of a matched value inside a case."""
        if not case.otherwise:
            kind = _narrowed(operand.type, case.type)
            operand = replace(operand, type=kind, absent=False, null=False)
        self._known[match.text] = operand

    def _case(self, case: Case, target: Field, place: Position, label: str) -> str | None:
        if case.absent:
            return "UNSET"
        if case.reject is not None:
            return f"raise {self.refusal(case.reject)}"
        assert case.rule is not None
        operand = self.rule(case.rule, target, case.position, label)
        return self._fitted(operand, target, case.position, label).code if operand else None

    def check_exhaustive(
        self,
        match: PathRef,
        cases: Sequence[Case | ShapeCase],
        operand: Operand,
        label: str = "",
        *,
        or_absent: bool = False,
    ) -> None:
        """
        Report values without a case, and an `otherwise` that is missing or of no use.

        `or_absent` is True where a value that is not there needs a case too.
        """
        caught = any(case.otherwise for case in cases)
        vocabulary = operand.type.enum if isinstance(operand.type, ScalarType) else None
        possible = [_json_type(arm) for arm in arms(operand.type)]
        for case in cases:
            if case.type is not None and case.type not in JSON_TYPES:
                self._findings.add(
                    "bad-value",
                    case.position,
                    f"`{case.type}` is no type of JSON",
                    hint=did_you_mean(case.type, JSON_TYPES),
                )
            elif case.type is not None and not {case.type, "any"} & {*possible}:
                self._findings.add(
                    "bad-value",
                    case.position,
                    f"{label}`{match.text}` is never of type {case.type}",
                )
            if case.equals is not None and not _may_equal(case.equals.value, operand.type):
                self._findings.add(
                    "bad-value",
                    case.equals.position,
                    f"{label}`{match.text}` is never {json.dumps(case.equals.value)}",
                    hint=did_you_mean(str(case.equals.value), vocabulary or ()),
                )
        named = {str(case.equals.value) for case in cases if case.equals is not None}
        kinds = {case.type for case in cases if case.type is not None}
        if isinstance(operand.type, UnionType):
            missing = [str(arm) for arm in operand.type.arms if _json_type(arm) not in kinds]
        elif vocabulary is not None:
            missing = [word for word in vocabulary if word not in named]
        elif not caught:
            self._findings.add(
                "open-without-otherwise",
                match.position,
                f"{label}`{match.text}` may hold any value, so the cases need an `otherwise`",
            )
            return
        else:
            return
        if or_absent and operand.presence:
            missing.append("absent")
        if missing and not caught:
            self._findings.add(
                "match-not-exhaustive",
                match.position,
                f"{label}`{match.text}` may also be {', '.join(missing)}",
                hint="add a case, or `otherwise`",
            )
        if not missing and caught:
            self._findings.add(
                "closed-with-otherwise",
                match.position,
                f"{label}every value of `{match.text}` has a case, `otherwise` never applies",
            )

    # -- transforms ---------------------------------------------------------------------------

    def pass_through(self, name: str, operand: Operand, place: Position) -> Operand | None:
        """Call a transform of one argument; an absent value stays absent unless it takes one."""
        signature = self._transform(name, place)
        if signature is None:
            return None
        needed = [item for item in signature.parameters if not item.has_default]
        if len(needed) > 1 or not signature.parameters:
            self._findings.add(
                "transform-args",
                place,
                f"`{name}` takes {_listed(signature)}; name them under `with`",
            )
            return None
        return self._invoke(signature, {signature.parameters[0].name: operand}, positional=True)

    def call_transform(
        self,
        name: str,
        arguments: Mapping[str, Argument],
        place: Position,
        *,
        given: Operand | None = None,
        skip: tuple[str, ...] = (),
        is_often: bool = False,
    ) -> Operand | None:
        """
        Call a transform with named arguments; `given` fills its first parameter.

        `is_often` has them passed by place where their order allows it, which Python does faster.
        """
        signature = self._transform(name, place)
        if signature is None:
            return None
        signature = signature.without(skip)
        operands = self.arguments(signature, arguments, place, given=given)
        if operands is None:
            return None
        places = [item.name for item in signature.parameters[: len(operands)]]
        return self._invoke(signature, operands, positional=is_often and places == [*operands])

    def arguments(
        self,
        signature: Signature,
        arguments: Mapping[str, Argument],
        place: Position,
        *,
        given: Operand | None = None,
    ) -> dict[str, Operand] | None:
        """Return the operands of named arguments, checked against the parameters."""
        parameters = {item.name: item for item in signature.parameters}
        operands: dict[str, Operand] = {}
        complete = True
        if given is not None and signature.parameters:
            operands[signature.parameters[0].name] = given
        for name, argument in arguments.items():
            if name not in parameters:
                self._findings.add(
                    "transform-args",
                    argument.position,
                    f"`{signature.name}` takes no `{name}`",
                    hint=did_you_mean(name, parameters),
                )
                complete = False
                continue
            operand = self._argument(name, argument)
            if operand is None:
                complete = False
                continue
            operands[name] = operand
        for name, parameter in parameters.items():
            if name not in arguments and name not in operands and not parameter.has_default:
                self._findings.add(
                    "transform-args", place, f"`{signature.name}` also needs `{name}`"
                )
                complete = False
        return operands if complete else None

    def _argument(self, name: str, argument: Argument) -> Operand | None:
        if isinstance(argument, Constant):
            return any_operand(_literal(argument.value))
        if (kept := self._scope.kept) is not None and self._is_kept(argument):
            operand = Expressions(self._context, kept.scope, kept.body).path(argument)
            return None if operand is None else kept.hold(operand, name)
        return self.path(argument)

    def _transform(self, name: str, place: Position) -> Signature | None:
        signature = self._context.transforms.get(name)
        if signature is None:
            self._findings.add(
                "no-such-transform",
                place,
                f"`{name}` is no transform of gateway/transforms",
                hint=did_you_mean(name, self._context.transforms),
            )
            return None
        self._context.used_transforms.add(name)
        return signature

    def _invoke(
        self, signature: Signature, operands: Mapping[str, Operand], *, positional: bool = False
    ) -> Operand:
        parameters = {item.name: item for item in signature.parameters}
        guards: list[str] = []
        passed: list[str] = []
        for name, operand in operands.items():
            parameter = parameters[name]
            held = self._held(operand) if operand.presence else operand
            code, guard = passing(held, parameter)
            if guard:
                guards.append(guard)
            passed.append(code if positional else f"{name}={code}")
            if isinstance(operand.type, StructType):
                # A transform that is given a whole object may read any of its fields.
                for field_name in self._context.specs.struct(operand.type).fields:
                    self._context.read(operand.type, field_name)
        call = f"transforms.{signature.name}({', '.join(passed)})"
        absent = signature.may_be_absent
        if guards:
            call, absent = f"{call} if {' and '.join(guards)} else UNSET", True
        return Operand(call, AnyType(), absent=absent, null=signature.may_be_null, checked=False)

    # -- conditions and texts -----------------------------------------------------------------

    def condition(self, condition: Condition) -> str:
        """Return the Python test of a condition, true or not; problems leave `False` behind."""
        inspecting, self._scope.inspecting = self._scope.inspecting, True
        test = self._tests(condition)
        self._scope.inspecting = inspecting
        return test

    @contextmanager
    def where(self, condition: Condition | None) -> Iterator[None]:
        """
        Know, for what is written meanwhile, that a condition is met there.

        Only of the value itself: what lies in it is read in lines that stand before the test.
        """
        there = self._there
        if condition is not None and len(condition.nonempty) == 1:
            inspecting, self._scope.inspecting = self._scope.inspecting, True
            self._there = there.union(self._tested(condition.nonempty))
            self._scope.inspecting = inspecting
        yield
        self._there = there

    def _tests(self, condition: Condition) -> str:
        tests: list[str] = []
        tests += [f"not {code}" for code in self._tested(condition.empty)]
        some = self._tested(condition.nonempty)
        if some:
            tests.append("(" + " or ".join(some) + ")" if len(some) > 1 else some[0])
        there = [self._held(op).presence or "True" for op in self._operands(condition.present)]
        if there:
            tests.append("(" + " or ".join(f"({test})" for test in there) + ")")
        for operand in self._operands(condition.absent):
            tests.append(f"not ({self._held(operand).presence or 'True'})")
        if condition.true is not None:
            tests += [f"{code} is True" for code in self._tested((condition.true,))]
        if condition.equals is not None:
            path, constant = condition.equals
            tests += [f"{code} == {_literal(constant.value)}" for code in self._tested((path,))]
        if condition.between is not None:
            tests += self._between(*condition.between)
        if condition.via is not None:
            asked = self.call_transform(condition.via, condition.arguments, condition.position)
            if asked is not None:
                tests.append(asked.code if not asked.absent else f"({asked.code}) is True")
        return " and ".join(tests) or "False"

    def _between(self, path: PathRef, low: Constant, high: Constant) -> list[str]:
        operand = self.path(path)
        if operand is None:
            return []
        held = self._held(operand)
        within = f"{_literal(low.value)} <= {held.code} <= {_literal(high.value)}"
        return [f"(not ({held.presence}) or {within})" if held.presence else within]

    def _tested(self, paths: tuple[PathRef, ...]) -> list[str]:
        return [self._held(operand).code for operand in self._operands(paths)]

    def _operands(self, paths: tuple[PathRef, ...]) -> list[Operand]:
        return [operand for path in paths if (operand := self.path(path)) is not None]

    def refusal(self, refusal: Refusal, *, constructor: str = "Refusal") -> str:
        """Return the expression that makes the error."""
        text = self.text(refusal.error, refusal.position)
        return refusal_code(refusal, text, constructor=constructor)

    def text(
        self, template: str, position: Position, extra: Mapping[str, str] | None = None
    ) -> str:
        """Return a text as a Python literal or f-string; braces name paths, nothing else."""
        pieces: list[str] = []
        formatted = False
        rest: str | None = template
        while rest is not None:
            before, brace, after = rest.partition("{")
            pieces.append(before.replace("{", "{{").replace("}", "}}"))
            if not brace:
                break
            name, _, rest = after.partition("}")
            code = (extra or {}).get(name)
            if code is None:
                code = self._shown(PathRef(name, position))
            if code is not None:
                formatted = True
                pieces.append("{" + code + "}")
        if formatted and len(pieces) == 3 and not pieces[0] and not pieces[2]:
            return pieces[1][1:-1]
        return "f" + repr("".join(pieces)) if formatted else repr(template)

    def _shown(self, path: PathRef) -> str | None:
        operand = self.path(path)
        if operand is None:
            return None
        held = self._held(operand)
        # No quotes may stand inside an f-string's braces, so what needs care is a call.
        if isinstance(operand.type, RawType) or held.presence:
            return f"shown({held.code})"
        return held.code

    # -- fitting ------------------------------------------------------------------------------

    def _fitted(self, operand: Operand, target: Field, place: Position, label: str) -> Operand:
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
                place,
                words,
                hint="use `via:`, `match:` or `table:`",
                declared=target.position,
            )
        if operand.null and not target.nullable:
            held = self._held(operand)
            operand = replace(
                operand,
                code=f"UNSET if {held.code} is None else {held.code}",
                absent=True,
                null=False,
            )
        if operand.absent and target.required:
            self._findings.add(
                "maybe-absent",
                place,
                f"`{label}` is required, its source may be absent",
                hint="give it a `default:`",
                declared=target.position,
            )
        return operand

    def _held(self, operand: Operand) -> Operand:
        code = operand.code
        if not operand.presence or _is_simple(code):
            return operand
        return replace(operand, code=self.body.local(code, "value"))

    def _check_constant(self, constant: Constant, target: Field, label: str) -> None:
        if constant.value is None:
            fine = target.nullable
        else:
            fine = any(_constant_fits(constant.value, arm) for arm in arms(target.type))
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


def passing(operand: Operand, parameter: Parameter) -> tuple[str, str]:
    """
    Return how an operand is handed to a parameter, and the guard under which it may be.

    A parameter that takes no absent value makes the whole call absent when its value is.
    """
    code = operand.code
    if operand.null and not parameter.takes_null:
        if not parameter.takes_absent:
            return code, operand.presence
        return f"UNSET if {code} is None else {code}", ""
    if operand.absent and not parameter.takes_absent:
        return code, f"{code} is not UNSET"
    return code, ""


def _is_simple(code: str) -> bool:
    return all(part.isidentifier() for part in code.split("."))


def case_test(case: Case | ShapeCase, subject: str, type_: Type) -> str:
    """Return the Python test of a case for a subject of this type, "" for `otherwise`."""
    if case.equals is not None:
        return f"{subject} == {_literal(case.equals.value)}"
    if case.type is not None:
        structs = [annotation(arm) for arm in arms(type_) if isinstance(arm, StructType)]
        if case.type == "object" and structs:
            return f"isinstance({subject}, {' | '.join(structs)})"
        return f"isinstance({subject}, {JSON_TYPES.get(case.type, case.type)})"
    return ""


def _narrowed(type_: Type, json_type: str | None) -> Type:
    """Return what is left of a union once its JSON type is known."""
    left = [arm for arm in arms(type_) if _json_type(arm) == json_type]
    return union(left) if left else type_


def _json_type(type_: Type) -> str:
    match type_:
        case ScalarType():
            return "number" if type_.name == "integer" else type_.name
        case ArrayType():
            return "array"
        case StructType() | MapType():
            return "object"
        case _:
            return "any"


def _vocabulary_differs(source: Type, target: Type) -> bool:
    return (
        isinstance(source, ScalarType)
        and isinstance(target, ScalarType)
        and source.name == target.name == "string"
    )


def _may_equal(value: Plain, type_: Type) -> bool:
    """Whether a matched value of a type, which is there and not null, can be this constant."""
    if value is None:
        return False
    return any(isinstance(arm, RawType) or _constant_fits(value, arm) for arm in arms(type_))


def _constant_fits(value: Plain, type_: Type) -> bool:
    match type_:
        case ScalarType(name="string"):
            return isinstance(value, str) and (type_.enum is None or value in type_.enum)
        case ScalarType(name="boolean"):
            return isinstance(value, bool)
        case ScalarType(name="integer"):
            return isinstance(value, int) and not isinstance(value, bool)
        case ScalarType(name="number"):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ArrayType():
            return isinstance(value, list) and all(
                _constant_fits(item, type_.item) for item in value
            )
        case MapType():
            return isinstance(value, dict)
        case AnyType():
            return True
        case _:
            return False


def _listed(signature: Signature) -> str:
    return ", ".join(f"`{item.name}`" for item in signature.parameters)


def _literal(value: Plain) -> str:
    return repr(value)
