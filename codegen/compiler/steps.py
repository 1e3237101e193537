"""
The steps of a plan as statements, each written where the one before it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from codegen.compiler import ir
from codegen.compiler.answers import Answers
from codegen.compiler.builder import Builder
from codegen.compiler.conditions import check_contradiction
from codegen.compiler.coverage import Usage
from codegen.compiler.declared import Declared, declared, declared_at, yielded
from codegen.compiler.expressions import Expressions
from codegen.compiler.invocations import null_as_absent
from codegen.compiler.operand import Operand
from codegen.compiler.place import Context
from codegen.compiler.reports import Reports
from codegen.compiler.runtime import (
    ANSWER,
    FINAL,
    MAPPING,
    READ_LATE,
    STEPS,
    STR,
    UNSET,
    shown,
    struct,
)
from codegen.compiler.texts import refusal
from codegen.compiler.tree import (
    FALSE,
    NONE,
    TRUE,
    Attribute,
    Await,
    Call,
    Comment,
    Conditional,
    Do,
    Expression,
    Literal,
    Name,
    Or,
    Raise,
    Return,
    Statement,
    Subscript,
    all_of,
    assign,
    compare,
    guarded,
    negated,
)
from codegen.descriptions.problem import did_you_mean
from codegen.descriptions.signatures import Signature
from codegen.descriptions.types import RawType, ScalarType, StructType
from codegen.rules.model import Condition, Refusal, ReportRule, Step

CAPABILITIES = (
    "completion",
    "embedding",
    "insert",
    "thinking",
    "tools",
    "vision",
    "decision",
)

NAME, FOUND, RUN, CONTEXT = Name("name"), Name("found"), Name("run"), Name("context")
MODEL = Attribute(CONTEXT, "model")


@dataclass
class PendingCall:
    """Where a plan returns a call: it is compiled once all that the plan reads is known."""

    name: str
    test: Expression | None
    streamed: Expression
    elsewhere: Expression | None = None
    """When the call's alternative is made."""
    value: Expression = field(default=NONE)

    def statements(self) -> tuple[Statement, ...]:
        """Return the statement that ends the plan."""
        return guarded(self.test, Return(self.value))


class Steps:
    """Writes the steps of one plan."""

    def __init__(
        self,
        builder: Builder,
        context: Context,
        answers: Answers,
        expressions: Expressions,
        usage: Usage,
    ) -> None:
        self._builder = builder
        self._context = context
        self._answers = answers
        self._expressions = expressions
        self._place = expressions.place
        self._scope = expressions.place.scope
        self._body = expressions.place.body
        self._usage = usage
        self._findings = builder.findings
        self._reports = Reports(builder, context)
        self.pending: list[PendingCall] = []

    def write(self, step: Step) -> bool:
        """Write a step; True when no request gets past it."""
        place, scope = step.position, self._scope
        self._body.lines.append(Comment(f"{place.file}:{place.line}: {step.kind}"))
        scope.label = f"plan: {step.kind} {step.name}".rstrip()
        scope.inspecting = True
        when = self._expressions.conditions.test(step.when) if step.when is not None else None
        scope.inspecting = step.kind not in ("model", "decode", "do")
        match step.kind:
            case "check":
                self._check(step, when)
            case "model":
                self._model(step)
            case "need":
                self._need(step, when)
            case "decode":
                self._decode(step)
            case "do":
                self._body.lines += guarded(_apart(when), self._awaited(step.name, step))
            case "answer":
                self._answer(step, when)
            case "call":
                self._call(step, when)
                return when is None and any(test is None for _, _, test in step.choices)
            case "report":
                scope.inspecting = False
                self._report(step, when)
            case "refuse":
                self._raise(step.refusal, step, when)
        return when is None and step.kind in ("answer", "report", "refuse")

    # -- refusals -----------------------------------------------------------------------------

    def _check(self, step: Step, when: Expression | None) -> None:
        condition = step.condition
        if condition is None:
            return
        signature = self._context.transforms.get(condition.via or "")
        if signature is not None:
            returned = declared(signature.returns, self._builder.specs)
            if not returned.is_boolean:
                self._check_problem(step, condition, signature, returned, when)
                return
        held = self._expressions.conditions.test(condition)
        if signature is None and condition.via is not None:
            return
        self._raise(step.otherwise, step, all_of((when, negated(held))))

    def _check_problem(
        self,
        step: Step,
        condition: Condition,
        signature: Signature,
        returned: Declared,
        when: Expression | None,
    ) -> None:
        """Refuse with the words of a transform, where it returns some."""
        if returned.is_readable and not (returned.is_text and returned.absent):
            self._findings.add(
                "type-mismatch",
                step.position,
                f"`{signature.name}` returns `{signature.returns}`: a check says yes or no, "
                "or names the problem as `str | UnsetType`",
                declared=declared_at(signature),
            )
        operand = self._expressions.invocations.transform(
            signature.name, condition.arguments, step.position
        )
        if step.otherwise is None:
            self._raise(None, step, when)
        if operand is None or step.otherwise is None:
            return
        problem = self._body.local(operand.code, "problem")
        refused = refusal(self._place, step.otherwise, {"$problem": problem})
        test = all_of((when, compare(problem, "is not", UNSET)))
        self._body.lines += guarded(test, Raise(refused))

    def _need(self, step: Step, when: Expression | None) -> None:
        if step.name not in CAPABILITIES:
            self._findings.add(
                "unknown-capability",
                step.position,
                f"`{step.name}` is no capability",
                hint=did_you_mean(step.name, CAPABILITIES),
            )
        able = Attribute(Attribute(MODEL, "capabilities"), step.name)
        self._raise(step.otherwise, step, all_of((when, compare(able, "==", Literal("no")))))

    def _raise(self, words: Refusal | None, step: Step, test: Expression | None) -> None:
        if words is None:
            self._findings.add(
                "unknown-key",
                step.position,
                f"this `{step.kind}` lacks `else`, what the client is told",
            )
            return
        # Made first: what its text hoists must stand before the test.
        refused = Raise(refusal(self._place, words))
        self._body.lines += guarded(test, refused)

    # -- the model ----------------------------------------------------------------------------

    def _model(self, step: Step) -> None:
        codes: list[Expression] = []
        for path in step.paths:
            operand = self._place.path(path, hoist=False)
            if operand is None:
                continue
            if operand.type != ScalarType("string"):
                self._findings.add(
                    "type-mismatch",
                    path.position,
                    f"`{path.text}` is {operand.type}, a name is string",
                )
            codes.append(shown(operand.code))
        name = codes[0] if len(codes) == 1 else Or(tuple(codes))
        self._body.lines.append(assign(NAME, name))
        self._check_model(step)
        if step.missing is not None:
            stripped = Call(Attribute(NAME, "strip"))
            self._raise(step.missing, step, negated(stripped))
        flags = tuple(
            (flag, TRUE)
            for flag, is_set in (
                ("takes_cloud", not step.cloud and not step.as_written),
                ("match_case", step.match_case),
                ("as_written", step.as_written),
                ("trust_loaded", step.trust_loaded),
            )
            if is_set
        )
        looked_up = Await(Call(Attribute(RUN, "find_model"), (NAME,), flags))
        self._body.lines.append(assign(FOUND, looked_up))
        self._scope.unresolved = frozenset({"model"})
        for words, verdict in (
            (step.conflict, "conflict"),
            (step.illegal, "illegal"),
            (step.cloud, "cloud"),
            (step.unknown, "unknown"),
        ):
            if words is not None:
                self._raise(words, step, compare(FOUND, "==", Literal(verdict)))
        self._scope.unresolved = frozenset()

    def _check_model(self, step: Step) -> None:
        """Report refusals that a lookup may need and the step does not state."""
        for words, key in (
            (step.missing, "missing"),
            (step.illegal, "illegal"),
            (step.unknown, "unknown"),
        ):
            if words is None:
                self._findings.add(
                    "unknown-key",
                    step.position,
                    f"this `model` lacks `{key}`, what the client is told",
                )
        if (step.cloud is None) != (step.conflict is None):
            given, lacking = ("conflict", "cloud") if step.cloud is None else ("cloud", "conflict")
            self._findings.add(
                "unknown-key",
                step.position,
                f"this `model` has `{given}` and lacks `{lacking}`",
                hint="with neither, a name of ollama.com is looked up like any other",
            )

    # -- late values --------------------------------------------------------------------------

    def _decode(self, step: Step) -> None:
        for path in step.paths:
            operand = self._place.path(path, mark=False, hoist=False)
            if operand is None or not isinstance(operand.type, RawType):
                continue
            if operand.type.late is None:
                continue
            kind = StructType(*operand.type.late)
            name = path.parts[-1]
            words: dict[str, str] = {}
            for found in self._builder.specs.struct(kind).fields.values():
                if found.refusal is not None:
                    words[found.name] = found.refusal
                if found.item_refusal is not None:
                    words[f"{found.name}[]"] = found.item_refusal
            table = f"{name.upper()}_REFUSALS"
            self._builder.module.constants.append(
                ir.Constant(
                    table, Subscript(FINAL, (Subscript(MAPPING, (STR, STR)),)), Literal({**words})
                )
            )
            empty = f"NO_{name.upper()}"
            self._builder.module.constants.append(
                ir.Constant(empty, Subscript(FINAL, (struct(kind),)), Call(struct(kind)))
            )
            self._body.names.add(name)
            value = Call(
                READ_LATE,
                (
                    operand.code,
                    self._builder.decoder(kind),
                    Name(empty),
                    Name(table),
                    Literal(step.status or 400),
                ),
            )
            self._body.lines.append(assign(Name(name), value))
            self._scope.late[kind] = name
            if step.via is not None:
                passed = self._expressions.invocations.transform(
                    step.via, step.arguments, step.position, given=Operand(Name(name), kind)
                )
                if passed is not None:
                    self._check_decoded(step, passed, kind)
                    self._body.lines.append(assign(Name(name), passed.code))

    def _check_decoded(self, step: Step, passed: Operand, kind: StructType) -> None:
        """What a transform makes of a decoded value is another value of its type."""
        if passed.checked and (passed.type != kind or passed.presence is not None):
            self._findings.add(
                "type-mismatch",
                step.position,
                f"`{step.via}` returns {passed.type}"
                f"{', or nothing' if passed.presence is not None else ''}, it must return {kind}",
            )

    # -- what is done -------------------------------------------------------------------------

    def _awaited(self, name: str, step: Step) -> Do:
        """Return the statement that runs a step and waits for it."""
        signature = self._context.steps.get(name)
        if signature is not None and yielded(signature, self._builder.specs) is not None:
            self._findings.add(
                "type-mismatch",
                step.position,
                f"`{name}` yields records, which only a `report` tells",
                declared=declared_at(signature),
            )
        return Do(Await(self._done(name, step)))

    def _done(self, name: str | None, step: Step) -> Call:
        """Return the call of a step of the gateway's."""
        signature = self._context.steps.get(name or "")
        if signature is None or name is None:
            self._findings.add(
                "unknown-step",
                step.position,
                f"`{name}` is no step of gateway/engine/steps.py",
                hint=did_you_mean(name or "", self._context.steps),
            )
            return Call(Attribute(STEPS, name or ""))
        self._builder.project.used_steps.add(name)
        operands = self._expressions.invocations.arguments(
            signature.without(("run",)), step.arguments, step.position
        )
        passed = tuple(
            (key, self._passed(signature, key, operand, step))
            for key, operand in (operands or {}).items()
        )
        return Call(Attribute(STEPS, name), (RUN,), passed)

    def _passed(self, signature: Signature, key: str, operand: Operand, step: Step) -> Expression:
        parameter = next(item for item in signature.parameters if item.name == key)
        may_lack = operand.absent or (operand.null and not parameter.takes_null)
        if may_lack and not parameter.takes_absent:
            self._findings.add(
                "maybe-absent",
                step.arguments[key].position,
                f"`{signature.name}` needs `{key}`, its source may be absent",
                hint="let its parameter take `UnsetType`",
                declared=declared_at(signature),
            )
        if operand.null and not parameter.takes_null:
            return null_as_absent(self._place.held(operand, key).code)
        return operand.code

    # -- ends ---------------------------------------------------------------------------------

    def _answer(self, step: Step, when: Expression | None) -> None:
        self._scope.inspecting = False
        lines: list[Statement] = []
        if step.do is not None:
            lines.append(self._awaited(step.do, step))
        answers = self._builder.file.answers
        answer = answers.get(step.name)
        if answer is None:
            self._findings.add(
                "no-such-answer",
                step.position,
                f"`{step.name}` is no answer here",
                hint=did_you_mean(step.name, answers),
            )
            return
        self._builder.used.add(("answer", step.name))
        made = self._answers.made(answer, self._usage, self._scope)
        more = (("status", Literal(answer.status)),) if answer.status != 200 else ()
        if answer.is_late:
            more = (*more, ("is_late", Literal(True)))
        wanted = self._expressions.wants_frames(answer.streamed) if answer.streamed else None
        if wanted is not None:
            more = (*more, ("is_streamed", wanted.code))
        self._body.lines += guarded(when, *lines, Return(Call(ANSWER, (made,), more)))

    def _call(self, step: Step, when: Expression | None) -> None:
        is_always = False
        for name, position, condition in step.choices:
            if is_always:
                self._findings.add(
                    "unreachable-step", position, "a call before this one takes every request"
                )
            is_always = is_always or condition is None
            check_contradiction(self._findings, step.when, condition)
            test = self._expressions.conditions.test(condition) if condition is not None else None
            call = self._builder.file.calls.get(name)
            streamed: Expression = FALSE
            elsewhere: Expression | None = None
            if call is None:
                self._findings.add(
                    "no-such-call",
                    position,
                    f"`{name}` is no call here",
                    hint=did_you_mean(name, self._builder.file.calls),
                )
            elif call.stream is not None:
                operand = self._expressions.wants_frames(call.streamed)
                streamed = operand.code if operand is not None else FALSE
            other = call.alternative if call is not None else None
            if other is not None and other.when is not None:
                elsewhere = self._expressions.conditions.test(other.when)
            pending = PendingCall(name, all_of((when, test)), streamed, elsewhere)
            self.pending.append(pending)
            self._body.lines.append(pending)

    def _report(self, step: Step, when: Expression | None) -> None:
        report = self._builder.file.reports.get(step.name)
        if report is None:
            self._findings.add(
                "no-such-report",
                step.position,
                f"`{step.name}` is no report here",
                hint=did_you_mean(step.name, self._builder.file.reports),
            )
            return
        self._builder.used.add(("report", report.name))
        records = self._done(report.do, step)
        self._check_records(report)
        made = self._reports.made(report, records, self._expressions)
        if made is not None:
            self._body.lines += guarded(when, Return(made))

    def _check_records(self, report: ReportRule) -> None:
        """A report translates what its step yields."""
        signature = self._context.steps.get(report.do)
        if signature is None:
            return
        records = yielded(signature, self._builder.specs)
        source = report.block.source
        if records is None or (records.is_readable and str(records.type) != source):
            self._findings.add(
                "type-mismatch",
                report.block.source_position,
                f"`{report.do}` returns `{signature.returns}`, not records of {source}",
                declared=declared_at(signature),
            )


def _apart(when: Expression | None) -> Expression | None:
    """Return a test that calls a function, with the call made apart for a large request."""
    if not isinstance(when, Call):
        return when
    run = Name("run")
    # It may look through all that the request holds, and no other request waits for that.
    given = (when.function, *when.arguments)
    elsewhere = Await(Call(Attribute(run, "apart"), given, when.keywords))
    return Conditional(elsewhere, Attribute(run, "is_large"), when)
