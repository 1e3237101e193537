"""
Plans: what happens for a request, step by step, and the rows of the endpoint table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from codegen.compiler import ir
from codegen.compiler.answers import NO_TEXT, Answers
from codegen.compiler.builder import Builder
from codegen.compiler.calls import Calls, CompiledCall
from codegen.compiler.coverage import Usage
from codegen.compiler.expressions import Expressions
from codegen.compiler.needs import needs_of_struct
from codegen.compiler.operand import Body, Operand, Scope
from codegen.compiler.place import Context
from codegen.compiler.provenance import step_of
from codegen.compiler.runtime import ANSWER, BOOL, OUTCOME, RUN, annotation
from codegen.compiler.steps import CONTEXT, PendingCall, Steps
from codegen.compiler.tree import (
    NONE,
    Attribute,
    Call,
    Name,
    Return,
    assign,
    attributes_read,
    names_read,
    without_unread,
)
from codegen.descriptions.types import RawType, StructType
from codegen.rules.model import SHARED, CallRule, Refusal, Rule, Step

_LISTS_MODELS = "catalogue"
"""The step that lists the models: what it fills changes only with them."""
_KEPT = frozenset({"models", "settings"})
"""What an answer may read of the context that is kept for other requests."""
_OF_LISTS = frozenset({_LISTS_MODELS, "unite_hosts"})
"""Steps that tell nothing which the list of models has not, where there is one host."""
_AGENT = "user_agent"
_KEPT_FOR_ONE = _KEPT | {"model", "asked", _AGENT}
"""What it may read that is kept for requests of the same body: their name of a model, too."""
_SETTLED = frozenset({"model", "check", "need", "refuse", "decode"})
"""Kinds of steps that read no more than their arguments, the request and its model's row."""


class Plans:
    """The plan of one file."""

    def __init__(self, builder: Builder, context: Context) -> None:
        self._builder = builder
        self._context = context
        self._findings = builder.findings
        self._answers = Answers(builder, context)
        self._calls = Calls(builder, context)

    def compile(self) -> None:
        """Write the plan with all that it names."""
        builder = self._builder
        file, request = builder.file, builder.request
        place = file.plan_position
        body = Body(names={"request", "run", "context", "item", "name", "found"})
        scope = builder.request_scope()
        expressions = Expressions.at(self._context, scope, body)
        usage = Usage(request, file.ignored_position if request is not None else place)
        self._check_order()
        self._check_held()
        for step in file.plan:
            if step.kind == "decode":
                self._register_late(step)
        scope.late, scope.unresolved = {}, frozenset({"asked", "model"})
        steps = Steps(builder, self._context, self._answers, expressions, usage)
        self._write_steps(steps)
        usage.note(scope, "", "$request")
        self._fill(steps.pending, usage)
        if request is not None and not steps.pending:
            usage.shared_ignored.update(file.ignored)
            if self._refuses_all() and (refusal := file.plan[0].refusal) is not None:
                usage.rejected.update(dict.fromkeys(builder.specs.struct(request).fields, refusal))
            builder.check_coverage(usage)
        self._check_statuses()
        written = without_unread(body.written(), builder.late.values())
        if CONTEXT.id in names_read(written):
            written = (assign(CONTEXT, Attribute(Name("run"), "context")), *written)
        builder.module.functions.append(
            ir.Function(
                name="plan",
                parameters=(
                    ir.Parameter("request", annotation(request) if request else NONE),
                    ir.Parameter("run", RUN),
                ),
                returns=OUTCOME,
                doc="What happens for a request of "
                + ", ".join(f"`{name}`" for name, _ in file.operations)
                + ".",
                body=written,
                is_async=True,
                steps=tuple(map(step_of, file.plan)),
            )
        )
        self._note_endpoints(self._wants_stream())

    def _write_steps(self, steps: Steps) -> None:
        file = self._builder.file
        finished = False
        for step in file.plan:
            if finished:
                self._findings.add("unreachable-step", step.position, "no request gets this far")
                return
            finished = steps.write(step)
        if not finished:
            self._findings.add(
                "no-end",
                file.plan_position,
                "a plan must end with an answer, a call or a refusal without `when`",
            )

    def _register_late(self, step: Step) -> None:
        for path in step.paths:
            scope = self._builder.request_scope()
            operand = Expressions.at(self._context, scope, Body()).place.path(path)
            if operand is None:
                continue
            if isinstance(operand.type, RawType) and operand.type.late is not None:
                self._builder.late[StructType(*operand.type.late)] = path.parts[-1]
            else:
                self._findings.add(
                    "type-mismatch",
                    path.position,
                    f"`{path.text}` is no late value, it is decoded already",
                )

    def _fill(self, pending: list[PendingCall], usage: Usage) -> None:
        """Compile the calls that the plan makes, now that it is known what else it reads."""
        builder = self._builder
        compiled: dict[str, CompiledCall | None] = {}
        for each in pending:
            rule = builder.file.calls.get(each.name)
            if rule is None:
                continue
            if each.name not in compiled:
                builder.used.add(("call", each.name))
                compiled[each.name] = self._calls.compiled(rule, usage)
            call = compiled[each.name]
            each.value = (
                self._calls.invocation(call, each.streamed, each.elsewhere)
                if call is not None
                else Call(ANSWER, (NO_TEXT,))
            )

    def _wants_stream(self) -> bool:
        """Write the function that tells from the request alone whether frames are wanted."""
        builder = self._builder
        rules = [call.streamed for call in builder.file.calls.values() if call.stream is not None]
        rules += [report.streamed for report in builder.file.reports.values()]
        if builder.request is None or not rules or rules[0] is None:
            return False
        request = Name("request")
        scope = Scope({"": Operand(request, builder.request)}, inline=frozenset({""}))
        expressions = Expressions.at(self._context, scope, Body(names={"request"}))
        operand = expressions.wants_frames(rules[0])
        if operand is None:
            return False
        builder.module.functions.append(
            ir.Function(
                name="wants_stream",
                parameters=(ir.Parameter("request", annotation(builder.request)),),
                returns=BOOL,
                doc="Whether the client of a request wants frames, and not their fold.",
                body=(Return(operand.code),),
            )
        )
        return True

    def _note_endpoints(self, streams: bool) -> None:
        builder, request = self._builder, self._builder.request
        keeps, reads = self._keeps(), self._read_of_context()
        fields = builder.specs.struct(request).fields.values() if request is not None else ()
        needs = needs_of_struct(builder)
        for operation in builder.operations:
            builder.module.endpoints.append(
                ir.Endpoint(
                    needs=needs,
                    streams=streams,
                    reports=any(step.kind == "report" for step in builder.file.plan),
                    reads_bytes=operation.takes_bytes,
                    keeps="" if "{" in operation.path else keeps,
                    keeps_agent=keeps == "request" and _AGENT in reads,
                    method=operation.method.upper(),
                    path=operation.path,
                    module=builder.file.name,
                    request=request.name if request is not None else None,
                    reads_body=operation.reads_body,
                    objects={
                        found.name: "map[string]interface {}"
                        for found in fields
                        if isinstance(found.type, RawType) and found.type.late is not None
                    },
                )
            )

    def _keeps(self) -> str:
        """Return what alone the answer depends on, if it can be kept until that changes."""
        *before, last = self._builder.file.plan
        if last.kind != "answer" or last.do:
            return ""
        if self._builder.request is not None:
            return self._keeps_for_request(before)
        if last.when is not None or any(not each.reads_body for each in self._builder.operations):
            return ""
        if any(not _does(step, {_LISTS_MODELS}) or step.when is not None for step in before):
            return ""
        return ("models" if before else "settings") if self._read_of_context() <= _KEPT else ""

    def _keeps_for_request(self, before: list[Step]) -> str:
        """Return the same of a plan that reads a body, of which all but the last step is given."""
        for step in before:
            is_settled = step.kind in _SETTLED or (step.kind == "answer" and not step.do)
            if not (is_settled or _does(step, _OF_LISTS)):
                return ""
        return "request" if self._read_of_context() <= _KEPT_FOR_ONE else ""

    def _read_of_context(self) -> set[str]:
        """Return what the plan and its answers read of the context."""
        functions = self._builder.module.functions
        return attributes_read((node for each in functions for node in each.nodes), CONTEXT.id)

    # -- checks -------------------------------------------------------------------------------

    def _refuses_all(self) -> bool:
        """Whether the plan is one refusal: an operation that is described and not served."""
        plan = self._builder.file.plan
        return len(plan) == 1 and plan[0].kind == "refuse" and plan[0].when is None

    def _check_order(self) -> None:
        """A step that works on the model stands after the one that resolves it."""
        resolved = False
        for step in self._builder.file.plan:
            resolved = resolved or step.kind == "model"
            if step.kind in ("call", "need") and not resolved:
                self._findings.add(
                    f"{step.kind}-before-model",
                    step.position,
                    f"a `{step.kind}` needs the model, which no step before it resolves",
                )
            name = self._step_named(step)
            signature = self._context.steps.get(name or "")
            if signature is not None and signature.needs_model and not resolved:
                self._findings.add(
                    "do-before-model",
                    step.position,
                    f"`{name}` works on the model, which no step before it resolves",
                )

    def _check_held(self) -> None:
        """A call that runs a model stands after a step that keeps the model loaded for it."""
        held = False
        for step in self._builder.file.plan:
            signature = self._context.steps.get(self._step_named(step) or "")
            if signature is not None and signature.holds_model and step.when is None:
                held = True
            for name, position, _ in step.choices if not held else ():
                call = self._builder.file.calls.get(name)
                if call is not None and self._runs_model(call):
                    self._findings.add(
                        "call-before-hold",
                        position,
                        f"`{call.operation}` runs a model, and no step before it keeps it loaded",
                        hint=self._holding(),
                    )

    def _runs_model(self, call: CallRule) -> bool:
        known = {found.name: found for found in self._builder.specs.operations(call.api)}
        return call.operation in known and known[call.operation].runs_model

    def _holding(self) -> str | None:
        names = [name for name, found in self._context.steps.items() if found.holds_model]
        return f"`do: {names[0]}` does, without a `when`" if names else None

    def _step_named(self, step: Step) -> str | None:
        """Return the step of `gateway.engine.steps` that a plan's step runs, if it runs one."""
        if step.kind == "report":
            report = self._builder.file.reports.get(step.name)
            return report.do if report is not None else None
        return step.name if step.kind == "do" else step.do

    def _check_statuses(self) -> None:
        """Every error status that the spec documents must come from some step or error row."""
        if self._refuses_all():
            return
        file, files = self._builder.file, self._builder.project.files
        stated = {refusal.status for step in file.plan for refusal in _refusals(step)}
        stated |= {step.status for step in file.plan if step.status is not None}
        if self._builder.request is not None:
            stated.add(400)
        working = ("model", "call", "do", "report")
        if any(step.kind in working or step.do for step in file.plan):
            stated |= {row.refusal.status for each in files.values() for row in each.errors}
        stated |= {refusal.status for call in file.calls.values() for refusal in _rejections(call)}
        shared = files.get(SHARED)
        excused = {**(shared.unanswered if shared else {}), **file.unanswered}
        stated |= {int(status) for status in excused if status.isdigit()}
        for operation in self._builder.operations:
            for status in operation.answers:
                if status.isdigit() and int(status) >= 400 and int(status) not in stated:
                    self._findings.add(
                        "status-never-answered",
                        file.plan_position,
                        f"{operation.name} documents {status}, no step here can answer it",
                        declared=operation.position,
                    )


def _does(step: Step, names: Collection[str]) -> bool:
    """Whether a step runs one of the steps of these names, and nothing else."""
    return step.kind == "do" and step.name in names


def _refusals(step: Step) -> Iterator[Refusal]:
    for refusal in (
        *(step.refusal, step.otherwise, step.missing, step.illegal),
        *(step.unknown, step.cloud, step.conflict),
    ):
        if refusal is not None:
            yield refusal


def _rejections(call: CallRule) -> Iterator[Refusal]:
    block = call.request
    if block is None:
        return
    for rule in _walk(block.fields.values()):
        for case in rule.cases:
            if case.reject is not None:
                yield case.reject


def _walk(rules: Iterable[Rule]) -> Iterator[Rule]:
    for rule in rules:
        yield rule
        if rule.fields is not None:
            yield from _walk(rule.fields.values())
