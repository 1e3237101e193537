"""
One mapping file compiled to one module: shapes, tables, answers, calls, streams and the plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby

from codegen.compiler import ir
from codegen.compiler.coverage import Coverage, Usage
from codegen.compiler.expressions import (
    Context,
    Expressions,
    ShapeRef,
    TableRef,
    case_test,
    refusal_code,
)
from codegen.compiler.operand import Body, Kept, Operand, Scope
from codegen.descriptions.problem import Findings, Position, did_you_mean
from codegen.descriptions.signatures import Signature
from codegen.descriptions.source import Key
from codegen.descriptions.spec import JSON, NDJSON, Operation, Specs
from codegen.descriptions.types import (
    AnyType,
    ArrayType,
    Field,
    RawType,
    ScalarType,
    Struct,
    StructType,
    Type,
    annotation,
    union,
)
from codegen.rules.model import (
    SHARED,
    AnswerRule,
    Block,
    CallRule,
    ErrorRow,
    MappingFile,
    PathRef,
    Reason,
    Refusal,
    Rule,
    Shape,
    StateRule,
    Step,
    Stream,
    Table,
)

CAPABILITIES = ("completion", "embedding", "insert", "thinking", "tools", "vision")
RECOVERIES = ("load",)


@dataclass
class Project:
    """What all mapping files of a project share while they are compiled."""

    specs: Specs
    findings: Findings
    transforms: dict[str, Signature]
    steps: dict[str, Signature]
    files: dict[str, MappingFile]
    coverage: Coverage
    used_transforms: set[str] = field(default_factory=set)
    used_steps: set[str] = field(default_factory=set)
    used_shared: set[str] = field(default_factory=set)
    compiled: dict[str, MappingCompiler] = field(default_factory=dict)

    def compiler(self, name: str) -> MappingCompiler:
        """Return the one compiler of a mapping file."""
        if name not in self.compiled:
            self.compiled[name] = MappingCompiler(self, self.files[name])
        return self.compiled[name]


@dataclass(frozen=True)
class CompiledCall:
    """What a plan needs to invoke a call."""

    rule: CallRule
    operation: Operation
    request: str | None
    request_parameters: tuple[str, ...]
    decoder: str
    target: str


class MappingCompiler:
    """Compiles one file; shapes and tables are compiled when something names them."""

    def __init__(self, project: Project, file: MappingFile) -> None:
        self.project = project
        self.file = file
        self._findings = project.findings
        self._specs = project.specs
        self.module = ir.Module(
            name=file.name,
            source=file.file,
            doc=f"The mapping `{file.name}`, compiled.",
            package="calls" if file.api is None else "plans",
        )
        self._shapes: dict[str, ShapeRef | None] = {}
        self._open_shapes: set[str] = set()
        self._tables: dict[str, TableRef] = {}
        self._decoders: dict[str, str] = {}
        self._answers: dict[str, str] = {}
        self._used: set[tuple[str, str]] = set()
        self._late: dict[StructType, str] = {}
        self._produced: dict[StructType, set[str]] = {}
        self._context = Context(
            specs=project.specs,
            findings=project.findings,
            transforms=project.transforms,
            steps=project.steps,
            shape=self._find_shape,
            table=self._find_table,
            decoder=self._decoder,
            used_transforms=project.used_transforms,
            read=project.coverage.read,
        )
        self._operations = [
            operation
            for name, place in file.operations
            if (operation := self._specs.operation(file.api or "", name, place)) is not None
        ]
        self._request = self._request_type()
        self._path = self._path_type()

    # -- the whole file -----------------------------------------------------------------------

    def compile(self) -> ir.Module:
        """Return the module; problems are recorded with the project."""
        file = self.file
        for name in file.shapes if file.name == SHARED else ():
            self.shape(name, file.shapes[name].position)
        if file.errors:
            self._errors()
        if file.api is None:
            for call in file.calls.values():
                self._library_call(call)
        elif file.plan:
            self._plan()
        elif self._operations:
            self._findings.add(
                "no-plan", file.position, f"`{file.name}` serves an operation and has no `plan`"
            )
        self._report_unused()
        self._check_omitted()
        return self.module

    def _request_type(self) -> StructType | None:
        kinds = dict.fromkeys(operation.request for operation in self._operations)
        if len(kinds) > 1:
            self._findings.add(
                "type-mismatch",
                self.file.operations[1][1],
                f"`{self.file.name}` serves operations whose bodies differ",
                hint="give each its own mapping",
            )
        found = next(iter(kinds), None)
        return found if isinstance(found, StructType) else None

    def _path_type(self) -> StructType | None:
        """Return what `$path` holds: the parameters that all paths of this file have."""
        found = [re.findall(r"\{(\w+)\}", operation.path) for operation in self._operations]
        names = [name for name in found[0] if all(name in one for one in found)] if found else []
        if not names:
            return None
        kind, place = StructType("$path", self.file.name), self.file.position
        text = ScalarType("string")
        fields = {name: Field(name, text, True, False, place) for name in names}
        self._specs.add_struct(Struct(kind, place, fields))
        return kind

    def _answer_type(self) -> Type | None:
        for operation in self._operations:
            for status, media in operation.answers.items():
                if status.startswith("2"):
                    for kind in (JSON, "text/plain", NDJSON):
                        if kind in media:
                            return media[kind]
        return None

    # -- shapes and tables --------------------------------------------------------------------

    def _find_shape(self, name: str, place: Position) -> ShapeRef | None:
        if name in self.file.shapes:
            if self.file.name == SHARED:
                self.project.used_shared.add(name)
            return self.shape(name, place)
        shared = self.project.files.get(SHARED)
        if shared is not None and name in shared.shapes and shared is not self.file:
            self.project.used_shared.add(name)
            found = self.project.compiler(SHARED).shape(name, place)
            return replace(found, code=f"{SHARED}.{found.code}") if found else None
        known = [*self.file.shapes, *(shared.shapes if shared else ())]
        self._findings.add(
            "no-such-shape", place, f"`{name}` is no shape here", hint=did_you_mean(name, known)
        )
        return None

    def shape(self, name: str, place: Position) -> ShapeRef | None:
        """Return a shape of this file, compiling it at its first use."""
        self._used.add(("shape", name))
        if name not in self._shapes:
            self._shapes[name] = None
            self._open_shapes.add(name)
            self._shapes[name] = self._compile_shape(self.file.shapes[name])
            self._open_shapes.remove(name)
        elif name in self._open_shapes:
            self._findings.add("bad-value", place, f"the shape `{name}` uses itself")
        return self._shapes[name]

    def _compile_shape(self, shape: Shape) -> ShapeRef | None:
        source = self._specs.find_struct(shape.block.source, shape.block.source_position)
        if source is None:
            return None
        body = Body(names={"source", "request", "call", "item"})
        scope = self._scope(Operand("source", source))
        expressions = Expressions(self._context, scope, body)
        usage = Usage(source, shape.block.source_position)
        targets: list[Type] = []
        if shape.match is None:
            target = self._specs.find_struct(shape.block.target, shape.block.target_position)
            if target is None:
                return None
            targets.append(target)
            code = expressions.build(target, shape.block.fields, shape.block.names, shape.position)
            body.lines.append(f"return {code}")
            usage.note_block(shape.block)
            self._check_stale(target, set(shape.block.fields), shape.block.omitted)
        else:
            subject = expressions.path(shape.match)
            if subject is None:
                return None
            expressions.check_exhaustive(shape.match, shape.cases, subject, or_absent=True)
            for index, case in enumerate(shape.cases):
                target = self._specs.find_struct(case.block.target, case.block.target_position)
                if target is None:
                    return None
                targets.append(target)
                inner = Expressions(self._context, scope, body)
                inner.narrow(shape.match, subject, case)
                code = inner.build(target, case.block.fields, case.block.names, case.position)
                # The cases are total, so what is left for the last one needs no test.
                test = (
                    case_test(case, subject.code, subject.type)
                    if index < len(shape.cases) - 1
                    else ""
                )
                body.lines += _guarded(test, f"return {code}")
                usage.note_block(case.block)
            usage.ignored.update(shape.block.ignored)
        usage.note(scope, "")
        self.project.coverage.check(usage, self.file, label=f"shape {shape.name}")
        extra = tuple(root[1:] for root in ("$request", "$call") if root in body.roots)
        kind = union(targets)
        self.module.functions.append(
            ir.Function(
                name=f"_{shape.name}" if self.file.name != SHARED else shape.name,
                parameters=(f"source: {annotation(source)}", *self._parameters(extra)),
                returns=annotation(kind),
                doc=f"Shape `{shape.name}`: {source} as {kind}.",
                lines=tuple(body.lines),
                origin=str(shape.position),
            )
        )
        return ShapeRef(self.module.functions[-1].name, source, kind, extra)

    def _find_table(self, name: str, place: Position) -> TableRef | None:
        if name in self.file.tables:
            return self.table(name)
        shared = self.project.files.get(SHARED)
        if shared is not None and name in shared.tables and shared is not self.file:
            self.project.used_shared.add(name)
            found = self.project.compiler(SHARED).table(name)
            return replace(found, code=f"{SHARED}.{found.code}")
        known = [*self.file.tables, *(shared.tables if shared else ())]
        self._findings.add(
            "no-such-table", place, f"`{name}` is no table here", hint=did_you_mean(name, known)
        )
        return None

    def table(self, name: str) -> TableRef:
        """Return a table of this file, compiling it at its first use."""
        self._used.add(("table", name))
        if name not in self._tables:
            table = self.file.tables[name]
            covers = self._check_table(table)
            constant = name.upper()
            values = [str(value.value) for _, value in table.rows.values()]
            if table.otherwise is not None:
                values.append(str(table.otherwise.value))
            literal = ", ".join(repr(value) for value in dict.fromkeys(values))
            rows = ", ".join(f"{key!r}: {value.value!r}" for key, (_, value) in table.rows.items())
            self.module.constants.append(
                ir.Constant(
                    constant,
                    f"Final[Mapping[str, Literal[{literal}]]]",
                    f"{{{rows}}}",
                    str(table.position),
                )
            )
            self._tables[name] = TableRef(constant, table, covers)
        return self._tables[name]

    def _check_table(self, table: Table) -> tuple[str, ...] | None:
        """Check a table's rows; return the words that its source may hold, None for any."""
        source = self._vocabulary(table.source, table.position)
        target = self._vocabulary(table.target, table.position)
        if target is not None:
            rows = [*(value for _, value in table.rows.values())]
            rows += [table.otherwise] if table.otherwise is not None else []
            for value in rows:
                if value.value not in target:
                    self._findings.add(
                        "bad-row",
                        value.position,
                        f"`{value.value}` is no value of {table.target}",
                        hint=did_you_mean(str(value.value), target),
                    )
        if source is None:
            if table.otherwise is None:
                self._findings.add(
                    "table-not-total",
                    table.position,
                    f"`{table.name}` translates an open vocabulary and has no `otherwise`",
                )
            return None
        for name, (key, _) in table.rows.items():
            if name not in source:
                self._findings.add(
                    "bad-row",
                    key.position,
                    f"`{name}` is no value of {table.source}",
                    hint=did_you_mean(name, source),
                )
        missing = [word for word in source if word not in table.rows]
        if missing and table.otherwise is None:
            self._findings.add(
                "table-not-total",
                table.position,
                f"`{table.name}`: no row for {', '.join(missing)}",
            )
        if not missing and table.otherwise is not None:
            self._findings.add(
                "closed-with-otherwise",
                table.otherwise.position,
                f"`{table.name}`: every value of {table.source} has a row, "
                "`otherwise` never applies",
            )
        return source

    def _vocabulary(self, text: str | None, place: Position) -> tuple[str, ...] | None:
        if text is None:
            return None
        name, _, path = text.partition(".")
        kind: Type | None = self._specs.find_struct(name, place)
        if kind is None:
            return None
        for part in path.split("."):
            fields = self._specs.struct(kind).fields if isinstance(kind, StructType) else {}
            if part == "*" and isinstance(kind, ArrayType):
                kind = kind.item
            elif part in fields:
                kind = fields[part].type
            else:
                self._findings.add(
                    "no-such-path",
                    place,
                    f"`{text}`: no `{part}` here",
                    hint=did_you_mean(part, fields),
                )
                return None
        return kind.enum if isinstance(kind, ScalarType) else None

    def _decoder(self, type_: StructType) -> str:
        return self._decoder_of(annotation(type_), type_.name)

    def _decoder_of(self, kind: str, name: str) -> str:
        constant = "DECODE_" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()
        if kind not in self._decoders:
            self._decoders[kind] = constant
            self.module.constants.append(
                ir.Constant(
                    constant,
                    f"Final[msgspec.json.Decoder[{kind}]]",
                    f"msgspec.json.Decoder({kind})",
                    self.file.file,
                )
            )
        return self._decoders[kind]

    # -- answers ------------------------------------------------------------------------------

    def _answer(self, answer: AnswerRule, usage: Usage, plan: Scope) -> str:
        """
        Compile an answer to a function and return the call that makes it.

        `plan` is the plan's scope at the step: what is decoded and resolved by then.
        """
        if answer.text is not None:
            return repr(answer.text)
        if answer.is_empty:
            return "None"
        if answer.name in self._answers:
            return self._answers[answer.name]
        inherited = self._inherited(answer)
        if inherited is None:
            return "''"
        fields, names = inherited
        target = (
            self._specs.find_struct(answer.target, answer.position)
            if answer.target is not None
            else self._answer_type()
        )
        if not isinstance(target, StructType):
            self._findings.add(
                "no-such-type",
                answer.position,
                f"`{answer.name}`: this operation answers no object",
            )
            return "''"
        body = Body(names={"request", "call", "item", *plan.late.values()})
        scope = self._request_scope()
        scope.late, scope.unresolved = plan.late, plan.unresolved
        code = Expressions(self._context, scope, body).build(target, fields, names, answer.position)
        body.lines.append(f"return {code}")
        self._note_request(usage, scope)
        self._note_produced(target, fields, answer.omitted)
        self._check_stale(target, set(fields), answer.omitted)
        parameters = self._request_parameters(body)
        self.module.functions.append(
            ir.Function(
                name=f"{answer.name}_answer",
                parameters=parameters,
                returns=annotation(target),
                doc=f"Answer `{answer.name}`.",
                lines=tuple(body.lines),
                origin=str(answer.position),
            )
        )
        self._answers[answer.name] = f"{answer.name}_answer({', '.join(_names(parameters))})"
        return self._answers[answer.name]

    def _inherited(
        self, answer: AnswerRule, seen: tuple[str, ...] = ()
    ) -> tuple[dict[str, Rule], dict[str, Key]] | None:
        if answer.like is None:
            return answer.fields, answer.names
        if answer.name in seen:
            self._findings.add(
                "bad-value", answer.position, f"`{answer.name}` is, in the end, like itself"
            )
            return None
        base = self.file.answers.get(answer.like)
        if base is None:
            self._findings.add(
                "no-such-answer",
                answer.position,
                f"`{answer.like}` is no answer here",
                hint=did_you_mean(answer.like, self.file.answers),
            )
            return None
        self._used.add(("answer", base.name))
        inherited = self._inherited(base, (*seen, answer.name))
        if inherited is None:
            return None
        fields, names = inherited
        for name, key in answer.names.items():
            if name not in fields:
                self._findings.add(
                    "no-such-target",
                    key.position,
                    f"`{name}`: `{base.name}`, which `{answer.name}` is like, sets no such field",
                    hint=did_you_mean(name, fields),
                )
        return {**fields, **answer.fields}, {**names, **answer.names}

    # -- calls --------------------------------------------------------------------------------

    def _compile_call(self, call: CallRule, plan_usage: Usage | None) -> CompiledCall | None:
        if not call.api or not call.operation:
            return None
        operation = self._specs.operation(call.api, call.operation, call.operation_position)
        if operation is None:
            return None
        request: str | None = None
        extra: tuple[str, ...] = ()
        if call.request is not None:
            compiled = self._request_function(call, call.request, plan_usage)
            if compiled is None:
                return None
            request, extra = compiled
        if call.stream is not None:
            parts = self._stream(call, call.stream)
        elif call.response is not None:
            parts = self._response(call, call.response)
        else:
            self._findings.add(
                "no-answer", call.position, f"`{call.name}` needs a `stream` or a `response`"
            )
            return None
        if parts is None:
            return None
        return CompiledCall(call, operation, request, extra, *parts)

    def _request_function(
        self, call: CallRule, block: Block, plan_usage: Usage | None
    ) -> tuple[str, tuple[str, ...]] | None:
        source = self._specs.find_struct(block.source, block.source_position)
        target = self._specs.find_struct(block.target, block.target_position)
        if source is None or target is None:
            return None
        body = Body(names={"request", "call", "item", *self._late.values()})
        scope = self._request_scope(source)
        expressions = Expressions(self._context, scope, body)
        for rejected, refusal in block.rejected.items():
            operand = expressions.path(PathRef(rejected, refusal.position), mark=False)
            if operand is not None and operand.presence:
                # Written first: what its text hoists must stand before the test.
                refused = f"raise {expressions.refusal(refusal)}"
                body.lines += _guarded(operand.presence, refused)
        code = expressions.build(target, block.fields, block.names, call.position)
        body.lines.append(f"return {code}")
        self._check_target(target, block)
        usage = Usage(source, block.source_position)
        usage.note(scope, "", "$request")
        usage.note_block(block)
        for path in call.streamed.sources if call.streamed is not None else ():
            usage.used.add(path.text)
            usage.reached.setdefault(path.text, set()).add("frames, or their fold")
        if plan_usage is not None:
            usage.note_plan(plan_usage)
            usage.shared_ignored.update(self.file.ignored)
        self.project.coverage.check(usage, self.file, label=f"call {call.name}")
        parameters = self._request_parameters(body, source)
        self.module.functions.append(
            ir.Function(
                name=f"{call.name}_request",
                parameters=parameters,
                returns=annotation(target),
                doc=f"Call `{call.name}`: the body for `{call.operation}`.",
                lines=tuple(body.lines),
                origin=str(block.position),
            )
        )
        return f"{call.name}_request", _names(parameters)

    def _response(self, call: CallRule, block: Block) -> tuple[str, str] | None:
        source = self._specs.find_struct(block.source, block.source_position)
        target = self._specs.find_struct(block.target, block.target_position)
        if source is None or target is None:
            return None
        body = Body(names={"response", "request", "call", "item"})
        scope = self._scope(Operand("response", source))
        code = Expressions(self._context, scope, body).build(
            target, block.fields, block.names, call.position
        )
        body.lines.append(f"return {code}")
        usage = Usage(source, block.ignored_position)
        usage.note(scope, "")
        usage.note_block(block)
        self._check_rejected(block)
        self.project.coverage.check(usage, self.file, label=f"call {call.name}")
        self._note_produced(target, block.fields, block.omitted)
        self._check_stale(target, set(block.fields), block.omitted)
        extra = self._extra(body)
        self.module.functions.append(
            ir.Function(
                name=f"{call.name}_response",
                parameters=(f"response: {annotation(source)}", *self._parameters(extra)),
                returns=annotation(target),
                doc=f"Call `{call.name}`: what its answer becomes.",
                lines=tuple(body.lines),
                origin=str(block.position),
            )
        )
        arguments = ", ".join(["response", *extra])
        return self._decoder(source), f"lambda response: {call.name}_response({arguments})"

    # -- streams ------------------------------------------------------------------------------

    def _stream(self, call: CallRule, stream: Stream) -> tuple[str, str] | None:
        block = stream.block
        source = self._specs.find_struct(block.source, block.source_position)
        target = self._specs.find_struct(block.target, block.target_position)
        if source is None or target is None:
            return None
        for emit in stream.emit:
            if emit.event not in ("chunk", "end"):
                self._findings.add(
                    "bad-value", emit.position, f"`{emit.event}`: an event is `chunk` or `end`"
                )
        name = "".join(part.capitalize() for part in call.name.split("_")) + "Stream"
        states = {
            rule.name: state
            for rule in stream.state.values()
            if (state := self._state_operand(rule, source)) is not None
        }
        request = Operand("self._request", self._request) if self._request else None
        kept = self._kept()
        usage = Usage(source, block.ignored_position)
        used_states: set[str] = set()

        def scope_for(chunk: bool) -> Scope:
            roots = {"$call": Operand("self._call", StructType("call", "Call"))}
            if chunk:
                roots[""] = Operand("chunk", source)
            if request is not None:
                roots["$request"] = request
            roots["$state"] = Operand("self", _state_struct(call, stream))
            inline = frozenset({"$call", "$request"})
            return Scope(roots, inline=inline, kept=kept if chunk else None)

        always = {
            rule.name
            for rule in stream.state.values()
            if rule.via is not None and rule.source is None
        }
        context = replace(
            self._context, specs=_StateSpecs(self._specs, call, stream, states, always)
        )

        body = Body(names={"chunk", "self", "item"}, reads={})
        scope = scope_for(chunk=True)
        expressions = Expressions(context, scope, body)
        known = (rule for rule in stream.state.values() if rule.name in states)
        for holder, rules in groupby(known, key=_holder):
            self._reduce_all(holder, list(rules), expressions, body)
        roots = set(body.roots)
        for emit in stream.emit:
            if emit.event == "chunk":
                with expressions.where(emit.when):
                    code = expressions.build(target, emit.fields, emit.names, emit.position)
                # The frame is built inside the branch; what it hoists stands before it.
                if emit.when is not None:
                    body.lines.append(f"if {expressions.condition(emit.when)}:")
                    body.lines.append(f"    return {code}")
                else:
                    body.lines.append(f"return {code}")
        if not any(emit.event == "chunk" and emit.when is None for emit in stream.emit):
            body.lines.append("return None")
        usage.note(scope, "")
        used_states |= scope.used.get("$state", set())
        roots |= body.roots

        end_body = Body(names={"self", "item"})
        end_scope = scope_for(chunk=False)
        context = replace(
            self._context, specs=_StateSpecs(self._specs, call, stream, states, set())
        )
        end = Expressions(context, end_scope, end_body)
        ends = [emit for emit in stream.emit if emit.event == "end"]
        if len(ends) != 1:
            self._findings.add(
                "no-end", block.position, f"`{call.name}` needs exactly one `end` frame"
            )
            return None
        code = end.build(target, ends[0].fields, ends[0].names, ends[0].position)
        end_body.lines.append(f"return {code}")
        complete = "True"
        complete_body = Body(names={"self"})
        if stream.complete is not None:
            complete = Expressions(context, end_scope, complete_body).condition(stream.complete)
            complete = f"bool({complete})" if stream.complete.nonempty else complete
        used_states |= end_scope.used.get("$state", set())
        roots |= end_body.roots | complete_body.roots
        self._check_states(stream, states, used_states)
        usage.note_block(block)
        self.project.coverage.check(usage, self.file, label=f"call {call.name}")
        for emit in stream.emit:
            self._note_produced(target, emit.fields, block.omitted)
        sent = {name for emit in stream.emit for name in emit.fields}
        self._check_stale(target, sent, block.omitted)

        possible = ("request", "call") if request is not None else ("call",)
        extra = tuple(root for root in possible if f"${root}" in roots)
        given = tuple(root for root in possible if f"${root}" in roots | kept.body.roots)
        fold = self._fold(call, stream, target)
        kind = annotation(target)
        self.module.classes.append(
            ir.Class(
                name=name,
                doc=f"Call `{call.name}`: chunks of `{call.operation}` as frames.",
                slots=(*(f"_{root}" for root in extra), *kept.slots, *states),
                methods=(
                    ir.Function(
                        "__init__",
                        ("self", *self._parameters(given)),
                        "None",
                        "",
                        (
                            *(f"self._{root} = {root}" for root in extra),
                            *kept.body.lines,
                            *(
                                f"self.{state}: {annotation(operand.type)} | UnsetType = UNSET"
                                for state, operand in states.items()
                            ),
                        ),
                        str(block.position),
                    ),
                    ir.Function(
                        "chunk",
                        ("self", f"chunk: {annotation(source)}"),
                        f"{kind} | None",
                        "Take in a chunk; return the frame that it makes, if it makes one.",
                        tuple(body.written()),
                        str(block.position),
                    ),
                    ir.Function(
                        "complete",
                        ("self",),
                        "bool",
                        "Whether what has come by now may be the whole answer.",
                        (*complete_body.lines, f"return {complete}"),
                        str(block.position),
                        is_property=True,
                    ),
                    ir.Function(
                        "end",
                        ("self",),
                        kind,
                        "Return the last frame.",
                        tuple(end_body.lines),
                        str(ends[0].position),
                    ),
                ),
                origin=str(block.position),
            )
        )
        translator = f"lambda: {name}({', '.join(given)})"
        return self._decoder(source), f"{translator}, fold={fold}"

    def _kept(self) -> Kept:
        """Return where a stream puts what is read at its start, from its request and context."""
        roots = {"$call": Operand("call", StructType("call", "Call"))}
        if self._request is not None:
            roots["$request"] = Operand("request", self._request)
        return Kept(Scope(roots), Body(names={"self", *("request", "_request", "call", "_call")}))

    def _state_operand(self, rule: StateRule, source: StructType) -> Operand | None:
        code = f"self.{rule.name}"
        if rule.via is not None:
            signature = self.project.transforms.get(rule.via)
            if signature is None:
                self._findings.add(
                    "no-such-transform",
                    rule.position,
                    f"`{rule.via}` is no transform of gateway/transforms",
                    hint=did_you_mean(rule.via, self.project.transforms),
                )
                return None
            return Operand(code, parse_annotation(signature.returns, self._specs), absent=True)
        if rule.source is None:
            return None
        probe = Expressions(self._context, self._scope(Operand("chunk", source)), Body())
        operand = probe.path(rule.source)
        return Operand(code, operand.type, absent=True) if operand is not None else None

    def _reduce_all(
        self,
        holder: str,
        rules: list[StateRule],
        expressions: Expressions,
        body: Body,
    ) -> None:
        """Write reductions that look into one object, asking once whether it is there."""
        held = None
        if holder and len(rules) > 1:
            path = PathRef(holder, rules[0].position)
            held = expressions.path(path, mark=False)
        if held is None or not held.presence:
            for rule in rules:
                self._reduce(rule, expressions, body)
            return
        inner = body.within(held)
        for rule in rules:
            self._reduce(rule, expressions.within(inner), inner)
        body.lines += _guarded(held.presence, *inner.lines)

    def _reduce(self, rule: StateRule, expressions: Expressions, body: Body) -> None:
        state = f"self.{rule.name}"
        if rule.via is not None:
            self._feed(rule, rule.via, expressions, body)
            return
        assert rule.source is not None
        value = expressions.path(rule.source)
        if value is None:
            return
        match rule.reducer:
            case "first":
                tests = [f"{state} is UNSET", *([value.presence] if value.presence else [])]
                body.lines += _guarded(" and ".join(tests), f"{state} = {value.code}")
            case "sum":
                code = f"{state} = {value.code} if {state} is UNSET else {state} + {value.code}"
                body.lines += _guarded(value.presence, code)
            case _:
                body.lines += _guarded(value.presence, f"{state} = {value.code}")

    def _feed(self, rule: StateRule, name: str, expressions: Expressions, body: Body) -> None:
        """Give a transform what it returned before, and a value or what every chunk has."""
        state = f"self.{rule.name}"
        parameters = self.project.transforms[name].parameters
        if not parameters:
            self._findings.add(
                "transform-args",
                rule.position,
                f"`{name}` takes nothing, the first parameter of a fold is what it returned before",
            )
            return
        value = given = None
        if rule.source is not None:
            value = expressions.path(rule.source)
            if value is None:
                return
            given = replace(value, absent=False, null=False)
        operand = expressions.call_transform(
            name,
            rule.arguments or {},
            rule.position,
            given=given,
            skip=(parameters[0].name,),
            is_often=True,
        )
        if operand is None:
            return
        if operand.code.endswith(" else UNSET"):
            self._findings.add(
                "transform-args",
                rule.position,
                f"`{name}` would be left out for a chunk that lacks an argument",
                hint="let its parameters take `UnsetType`",
            )
            return
        passed = operand.code.split("(", 1)[1]
        if value is not None and not rule.arguments:
            passed = f"{value.code})"
        presence = value.presence if value is not None else ""
        result = f"transforms.{name}({state}, {passed}"
        if not presence:
            result = f"{body.alias(state, rule.name)} = {result}"
        body.lines += _guarded(presence, f"{state} = {result}")

    def _check_states(self, stream: Stream, states: dict[str, Operand], used: set[str]) -> None:
        roots = {path.split(".", 1)[0] for path in used}
        for rule in stream.state.values():
            if rule.name in states and rule.name not in roots:
                self._findings.add(
                    "unused-state", rule.position, f"`{rule.name}` is remembered and never read"
                )

    def _fold(self, call: CallRule, stream: Stream, target: StructType) -> str:
        fold = stream.fold
        if fold is None:
            self._findings.add(
                "fold-missing",
                stream.block.position,
                f"`{call.name}` lacks a `fold`, the answer for clients that want no frames",
            )
            return "None"
        name = "".join(part.capitalize() for part in call.name.split("_")) + "Fold"
        listed = {path.text: path for path in (*fold.concat, *fold.append, *fold.last)}
        produced = {leaf for emit in stream.emit for leaf in self._leaves(emit.fields)}
        for leaf in sorted(produced):
            if leaf not in listed:
                self._findings.add(
                    "fold-missing", fold.position, f"`{leaf}` is set in frames and not in the fold"
                )
        for leaf, path in listed.items():
            if leaf not in produced:
                self._findings.add(
                    "fold-missing", path.position, f"`{leaf}` is in the fold and set in no frame"
                )
        kind = annotation(target)
        slots: list[str] = []
        add: list[str] = []
        result: list[str] = []
        expressions = Expressions(
            self._context, self._scope(Operand("frame", target)), Body(names={"frame", "last"})
        )
        for path in listed.values():
            operand = expressions.path(path)
            if operand is None or path in fold.last:
                continue
            slot = path.text.replace(".", "_")
            slots.append(slot)
            joins = path in fold.concat
            take = (
                f"self.{slot}.append({operand.code})"
                if joins
                else f"self.{slot}.extend({operand.code})"
            )
            add += expressions.body.lines
            expressions.body.lines = []
            add += _guarded(operand.presence, take)
            value = f"''.join(self.{slot})" if joins else f"self.{slot}"
            result.append(f"last.{path.text} = {value}{' or UNSET' if operand.absent else ''}")
        item_types = {
            path.text.replace(".", "_"): self._item_annotation(target, path)
            for path in listed.values()
        }
        self.module.classes.append(
            ir.Class(
                name=name,
                doc=f"Call `{call.name}`: the one-shot answer from the frames.",
                slots=tuple(slots),
                methods=(
                    ir.Function(
                        "__init__",
                        ("self",),
                        "None",
                        "",
                        tuple(f"self.{slot}: list[{item_types[slot]}] = []" for slot in slots),
                        str(fold.position),
                    ),
                    ir.Function(
                        "add",
                        ("self", f"frame: {kind}"),
                        "None",
                        "Take in a frame.",
                        tuple(add),
                        str(fold.position),
                    ),
                    ir.Function(
                        "result",
                        ("self", f"last: {kind}"),
                        kind,
                        "Return the last frame, with everything that the frames before it held.",
                        (*result, "return last"),
                        str(fold.position),
                    ),
                ),
                origin=str(fold.position),
            )
        )
        return name

    def _item_annotation(self, target: StructType, path: PathRef) -> str:
        probe = Expressions(self._context, self._scope(Operand("frame", target)), Body())
        operand = probe.path(path)
        if operand is None:
            return "Any"
        kind = operand.type
        return annotation(kind.item if isinstance(kind, ArrayType) else kind)

    def _leaves(self, fields: dict[str, Rule], prefix: str = "") -> Iterable[str]:
        for name, rule in fields.items():
            if rule.fields is not None:
                yield from self._leaves(rule.fields, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    # -- the plan -----------------------------------------------------------------------------

    def _plan(self) -> None:
        file = self.file
        body = Body(names={"request", "run", "call", "item", "name", "found"})
        scope = self._request_scope()
        expressions = Expressions(self._context, scope, body)
        place = file.plan_position
        usage = Usage(self._request, file.ignored_position) if self._request else Usage(None, place)
        self._check_order()
        for step in file.plan:
            if step.kind == "decode":
                self._register_late(step)
        scope.late, scope.unresolved = {}, frozenset({"asked", "model"})
        finished = False
        calls: list[CompiledCall] = []
        pending: list[Step] = []
        for step in file.plan:
            if finished:
                self._findings.add("unreachable-step", step.position, "no request gets this far")
                break
            finished = self._step(step, expressions, scope, body, usage, pending)
        if not finished:
            self._findings.add(
                "no-end",
                place,
                "a plan must end with an answer, a call or a refusal without `when`",
            )
        self._note_request(usage, scope)
        for step in pending:
            for name, position, _ in step.choices:
                rule = file.calls.get(name)
                if rule is None:
                    self._findings.add(
                        "no-such-call",
                        position,
                        f"`{name}` is no call here",
                        hint=did_you_mean(name, file.calls),
                    )
                    continue
                if ("call", name) in self._used:
                    continue
                self._used.add(("call", name))
                compiled = self._compile_call(rule, usage)
                if compiled is not None:
                    calls.append(compiled)
        self._fill_calls(body, calls, expressions)
        if self._request is not None and not pending:
            usage.shared_ignored.update(file.ignored)
            if self._refuses_all() and (refusal := file.plan[0].refusal) is not None:
                usage.rejected.update(
                    dict.fromkeys(self._specs.struct(self._request).fields, refusal)
                )
            self.project.coverage.check(usage, file)
        self._check_statuses()
        body.lines = _without_unread(body.lines, self._late.values())
        uses_call = any(re.search(r"\bcall\b", line) for line in body.lines)
        request = annotation(self._request) if self._request else "None"
        self.module.functions.append(
            ir.Function(
                name="plan",
                parameters=(f"request: {request}", "run: Run"),
                returns="Outcome",
                doc="What happens for a request of "
                + ", ".join(f"`{name}`" for name, _ in file.operations)
                + ".",
                lines=(*(("call = run.call",) if uses_call else ()), *body.lines),
                origin=str(place),
                is_async=True,
            )
        )
        streams = self._wants_stream()
        for operation in self._operations:
            self.module.endpoints.append(
                ir.Endpoint(
                    streams=streams,
                    reads_bytes=operation.takes_bytes,
                    method=operation.method.upper(),
                    path=operation.path,
                    module=file.name,
                    request=self._request.name if self._request else None,
                    reads_body=operation.reads_body,
                    objects={
                        found.name: "map[string]interface {}"
                        for found in (
                            self._specs.struct(self._request).fields.values()
                            if self._request
                            else ()
                        )
                        if isinstance(found.type, RawType) and found.type.late is not None
                    },
                )
            )

    def _register_late(self, step: Step) -> None:
        for path in step.paths:
            probe = Expressions(self._context, self._request_scope(), Body())
            operand = probe.path(path)
            if operand is None:
                continue
            if isinstance(operand.type, RawType) and operand.type.late is not None:
                self._late[StructType(*operand.type.late)] = path.parts[-1]
            else:
                self._findings.add(
                    "type-mismatch",
                    path.position,
                    f"`{path.text}` is no late value, it is decoded already",
                )

    def _step(
        self,
        step: Step,
        expressions: Expressions,
        scope: Scope,
        body: Body,
        usage: Usage,
        pending: list[Step],
    ) -> bool:
        """Write a step's lines; True when no request gets past it."""
        body.lines.append(f"# {step.position.file}:{step.position.line}: {step.kind}")
        scope.label = f"plan: {step.kind} {step.name}".rstrip()
        scope.inspecting = True
        when = expressions.condition(step.when) if step.when is not None else ""
        scope.inspecting = step.kind not in ("model", "decode", "do")
        match step.kind:
            case "check":
                self._check_step(step, expressions, body, when)
            case "model":
                self._model_step(step, expressions, scope, body)
            case "need":
                if step.name not in CAPABILITIES:
                    self._findings.add(
                        "unknown-capability",
                        step.position,
                        f"`{step.name}` is no capability",
                        hint=did_you_mean(step.name, CAPABILITIES),
                    )
                lacking = f"call.model.capabilities.{step.name} == 'no'"
                self._raise(
                    step.otherwise,
                    step,
                    expressions,
                    body,
                    f"{when} and {lacking}" if when else lacking,
                )
            case "decode":
                self._decode_step(step, expressions, scope, body)
            case "do":
                body.lines += _guarded(when, self._do(step.name, step, expressions))
            case "answer":
                scope.inspecting = False
                lines = [self._do(step.do, step, expressions)] if step.do else []
                answer = self.file.answers.get(step.name)
                if answer is None:
                    self._findings.add(
                        "no-such-answer",
                        step.position,
                        f"`{step.name}` is no answer here",
                        hint=did_you_mean(step.name, self.file.answers),
                    )
                    return not when
                self._used.add(("answer", step.name))
                made = self._answer(answer, usage, scope)
                status = f", status={answer.status}" if answer.status != 200 else ""
                lines.append(f"return Answer({made}{status})")
                body.lines += _guarded(when, *lines)
                return not when
            case "call":
                pending.append(step)
                for name, _, condition in step.choices:
                    test = expressions.condition(condition) if condition is not None else ""
                    joined = " and ".join(part for part in (when, test) if part)
                    body.lines += _guarded(joined, f"return <<{name}>>")
                return not when and any(condition is None for _, _, condition in step.choices)
            case "report":
                scope.inspecting = False
                body.lines += _guarded(when, *self._report(step, expressions, body))
                return not when
            case "refuse":
                self._raise(step.refusal, step, expressions, body, when)
                return not when
        return False

    def _check_step(self, step: Step, expressions: Expressions, body: Body, when: str) -> None:
        condition = step.condition
        if condition is None:
            return
        signature = self.project.transforms.get(condition.via or "")
        if condition.via is not None and signature is None:
            expressions.condition(condition)
            return
        if signature is not None and signature.returns != "bool":
            operand = expressions.call_transform(
                condition.via or "", condition.arguments, step.position
            )
            if step.otherwise is None:
                self._raise(None, step, expressions, body, when)
            if operand is None or step.otherwise is None:
                return
            problem = body.local(operand.code, "problem")
            text = expressions.text(
                step.otherwise.error, step.otherwise.position, {"$problem": problem}
            )
            tests = [when] if when else []
            tests.append(f"{problem} is not UNSET")
            body.lines += _guarded(
                " and ".join(tests), f"raise {refusal_code(step.otherwise, text)}"
            )
            return
        held = expressions.condition(condition)
        self._raise(
            step.otherwise,
            step,
            expressions,
            body,
            f"{when} and {_negated(held)}" if when else _negated(held),
        )

    def _raise(
        self, refusal: Refusal | None, step: Step, expressions: Expressions, body: Body, test: str
    ) -> None:
        if refusal is None:
            self._findings.add(
                "unknown-key",
                step.position,
                f"this `{step.kind}` lacks `else`, what the client is told",
            )
            return
        body.lines += _guarded(test, f"raise {expressions.refusal(refusal)}")

    def _model_step(self, step: Step, expressions: Expressions, scope: Scope, body: Body) -> None:
        operands = [
            operand for path in step.paths if (operand := expressions.path(path, hoist=False))
        ]
        code = " or ".join(f"shown({operand.code})" for operand in operands)
        body.lines.append(f"name = {code}")
        for refusal, word in (
            (step.missing, "missing"),
            (step.illegal, "illegal"),
            (step.unknown, "unknown"),
        ):
            if refusal is None:
                self._findings.add(
                    "unknown-key",
                    step.position,
                    f"this `model` lacks `{word}`, what the client is told",
                )
        if (step.cloud is None) != (step.conflict is None):
            given, lacking = ("conflict", "cloud") if step.cloud is None else ("cloud", "conflict")
            self._findings.add(
                "unknown-key",
                step.position,
                f"this `model` has `{given}` and lacks `{lacking}`",
                hint="with neither, a name of ollama.com is looked up like any other",
            )
        if step.missing is not None:
            body.lines += _guarded("not name.strip()", f"raise {expressions.refusal(step.missing)}")
        flags = "".join(
            f", {name}=True"
            for name, is_set in (
                ("takes_cloud", not step.cloud),
                ("match_case", step.match_case),
                ("trust_loaded", step.trust_loaded),
            )
            if is_set
        )
        body.lines.append(f"found = await run.find_model(name{flags})")
        scope.unresolved = frozenset({"model"})
        for refusal, word in (
            (step.conflict, "conflict"),
            (step.illegal, "illegal"),
            (step.cloud, "cloud"),
        ):
            if refusal is not None:
                body.lines += _guarded(
                    f"found == '{word}'", f"raise {expressions.refusal(refusal)}"
                )
        if step.unknown is not None:
            body.lines += _guarded(
                "found == 'unknown'", f"raise {expressions.refusal(step.unknown)}"
            )
        scope.unresolved = frozenset()

    def _decode_step(self, step: Step, expressions: Expressions, scope: Scope, body: Body) -> None:
        for path in step.paths:
            operand = expressions.path(path, mark=False, hoist=False)
            if (
                operand is None
                or not isinstance(operand.type, RawType)
                or operand.type.late is None
            ):
                continue
            kind = StructType(*operand.type.late)
            name = path.parts[-1]
            refusals: dict[str, str] = {}
            for found in self._specs.struct(kind).fields.values():
                if found.refusal is not None:
                    refusals[found.name] = found.refusal
                if found.item_refusal is not None:
                    refusals[f"{found.name}[]"] = found.item_refusal
            table = f"{name.upper()}_REFUSALS"
            rows = ", ".join(f"{key!r}: {value!r}" for key, value in refusals.items())
            self.module.constants.append(
                ir.Constant(table, "Final[Mapping[str, str]]", f"{{{rows}}}", str(step.position))
            )
            decoder = self._decoder(kind)
            body.names.add(name)
            empty, status = f"{annotation(kind)}()", step.status or 400
            value = f"read_late({operand.code}, {decoder}, {empty}, {table}, {status})"
            body.lines.append(f"{name} = {value}")
            scope.late[kind] = name
            if step.via is not None:
                passed = expressions.call_transform(
                    step.via, step.arguments, step.position, given=Operand(name, kind)
                )
                if passed is not None:
                    body.lines.append(f"{name} = {passed.code}")

    def _do(self, name: str | None, step: Step, expressions: Expressions) -> str:
        signature = self.project.steps.get(name or "")
        if signature is None or name is None:
            self._findings.add(
                "unknown-step",
                step.position,
                f"`{name}` is no step of gateway/engine/steps.py",
                hint=did_you_mean(name or "", self.project.steps),
            )
            return "pass"
        self.project.used_steps.add(name)
        operands = expressions.arguments(signature.without(("run",)), step.arguments, step.position)
        passed = "".join(
            f", {key}={self._passed(signature, key, operand, expressions)}"
            for key, operand in (operands or {}).items()
        )
        return f"await steps.{name}(run{passed})"

    def _report(self, step: Step, expressions: Expressions, body: Body) -> list[str]:
        """Return the lines that end a plan with progress."""
        report = self.file.reports.get(step.name)
        if report is None:
            self._findings.add(
                "no-such-report",
                step.position,
                f"`{step.name}` is no report here",
                hint=did_you_mean(step.name, self.file.reports),
            )
            return ["raise AssertionError"]
        self._used.add(("report", report.name))
        block = report.block
        source = self._specs.find_struct(block.source, block.source_position)
        target = self._specs.find_struct(block.target, block.target_position)
        records = self._do(report.do, step, expressions).removeprefix("await ")
        streamed = "True"
        if report.streamed is not None:
            wanted = Field("streamed", ScalarType("boolean"), True, False, report.position)
            operand = expressions.rule(report.streamed, wanted, report.position, "streamed")
            streamed = operand.code if operand is not None else streamed
        if source is None or target is None:
            return ["raise AssertionError"]
        inner = Body(names={"source", "request", "call", "item"})
        scope = self._scope(Operand("source", source))
        code = Expressions(self._context, scope, inner).build(
            target, block.fields, block.names, report.position
        )
        usage = Usage(source, block.source_position)
        usage.note(scope, "")
        usage.note_block(block)
        self.project.coverage.check(usage, self.file, label=f"report {report.name}")
        self._note_produced(target, block.fields, block.omitted)
        self._check_stale(target, set(block.fields), block.omitted)
        extra = tuple(root[1:] for root in ("$request", "$call") if root in inner.roots)
        self.module.functions.append(
            ir.Function(
                name=f"{report.name}_frame",
                parameters=(f"source: {annotation(source)}", *self._parameters(extra)),
                returns=annotation(target),
                doc=f"Report `{report.name}`: what a record of `{report.do}` becomes.",
                lines=(*inner.lines, f"return {code}"),
                origin=str(report.position),
            )
        )
        made = ", ".join(["source", *extra])
        translate = f"lambda source: {report.name}_frame({made})" if extra else made
        if not extra:
            translate = f"{report.name}_frame"
        body.names.add("source")
        return [f"return Report({records}, translate={translate}, streamed={streamed})"]

    def _passed(
        self, signature: Signature, key: str, operand: Operand, expressions: Expressions
    ) -> str:
        parameter = next(item for item in signature.parameters if item.name == key)
        if operand.null and not parameter.takes_null:
            held = (
                operand
                if operand.code.isidentifier()
                else replace(operand, code=expressions.body.local(operand.code, key))
            )
            return f"UNSET if {held.code} is None else {held.code}"
        return operand.code

    def _fill_calls(self, body: Body, calls: list[CompiledCall], expressions: Expressions) -> None:
        texts: dict[str, str] = {}
        for call in calls:
            texts[call.rule.name] = self._invocation(call, expressions, body)
        body.lines = [
            re.sub(r"<<(\w+)>>", lambda match: texts.get(match[1], "Answer('')"), line)
            for line in body.lines
        ]

    def _invocation(self, call: CompiledCall, expressions: Expressions, body: Body) -> str:
        request = (
            f"{call.request}({', '.join(call.request_parameters)})" if call.request else "None"
        )
        method, path = call.operation.method.upper(), call.operation.path
        head = f"method={method!r}, path={path!r}, body={request}"
        if call.rule.stream is None:
            return f"FetchCall({head}, decoder={call.decoder}, translate={call.target})"
        streamed = "False"
        if call.rule.streamed is not None:
            target = Field("streamed", ScalarType("boolean"), True, False, call.rule.position)
            before = len(body.lines)
            operand = expressions.rule(call.rule.streamed, target, call.rule.position, "streamed")
            hoisted, body.lines = body.lines[before:], body.lines[:before]
            # What it hoists must stand before the step that returns the call.
            at = next(i for i, line in enumerate(body.lines) if f"<<{call.rule.name}>>" in line)
            while at and body.lines[at - 1].startswith("if "):
                at -= 1
            body.lines[at:at] = hoisted
            streamed = operand.code if operand is not None else "False"
        tail = f"translator={call.target}, streamed={streamed}"
        return f"StreamCall({head}, chunks={call.decoder}, {tail})"

    def _wants_stream(self) -> bool:
        """Write the function that tells from the request alone whether frames are wanted."""
        rules = [call.streamed for call in self.file.calls.values() if call.stream is not None]
        rules += [report.streamed for report in self.file.reports.values()]
        if self._request is None or not rules or rules[0] is None:
            return False
        place = self.file.plan_position
        scope = Scope({"": Operand("request", self._request)}, inline=frozenset({""}))
        target = Field("streamed", ScalarType("boolean"), True, False, place)
        operand = Expressions(self._context, scope, Body(names={"request"})).rule(
            rules[0], target, place, "streamed"
        )
        if operand is None:
            return False
        self.module.functions.append(
            ir.Function(
                name="wants_stream",
                parameters=(f"request: {annotation(self._request)}",),
                returns="bool",
                doc="Whether the client of a request wants frames, and not their fold.",
                lines=(f"return {operand.code}",),
                origin=str(place),
            )
        )
        return True

    def _refuses_all(self) -> bool:
        """Whether the plan is one refusal: an operation that is described and not served."""
        plan = self.file.plan
        return len(plan) == 1 and plan[0].kind == "refuse" and plan[0].when is None

    def _check_order(self) -> None:
        resolved = False
        for step in self.file.plan:
            resolved = resolved or step.kind == "model"
            if step.kind in ("call", "need") and not resolved:
                self._findings.add(
                    f"{step.kind}-before-model",
                    step.position,
                    f"a `{step.kind}` needs the model, which no step before it resolves",
                )
            name = self._step_named(step)
            signature = self.project.steps.get(name or "")
            if signature is not None and signature.needs_model and not resolved:
                self._findings.add(
                    "do-before-model",
                    step.position,
                    f"`{name}` works on the model, which no step before it resolves",
                )

    def _step_named(self, step: Step) -> str | None:
        """Return the step of `gateway.engine.steps` that a plan's step runs, if it runs one."""
        if step.kind == "report":
            report = self.file.reports.get(step.name)
            return report.do if report is not None else None
        return step.name if step.kind == "do" else step.do

    def _check_statuses(self) -> None:
        """Every error status that the spec documents must come from some step or error row."""
        if self._refuses_all():
            return
        stated = {
            refusal.status
            for step in self.file.plan
            for refusal in (
                step.refusal,
                step.otherwise,
                step.missing,
                step.illegal,
                step.unknown,
                step.cloud,
                step.conflict,
            )
            if refusal is not None
        }
        stated |= {step.status for step in self.file.plan if step.status is not None}
        if self._request is not None:
            stated.add(400)
        working = ("model", "call", "do", "report")
        if any(step.kind in working or step.do for step in self.file.plan):
            stated |= {
                row.refusal.status for file in self.project.files.values() for row in file.errors
            }
        stated |= {
            refusal.status for call in self.file.calls.values() for refusal in _rejections(call)
        }
        shared = self.project.files.get(SHARED)
        excused = {**(shared.unanswered if shared else {}), **self.file.unanswered}
        stated |= {int(status) for status in excused if status.isdigit()}
        for operation in self._operations:
            for status in operation.answers:
                if status.isdigit() and int(status) >= 400 and int(status) not in stated:
                    self._findings.add(
                        "status-never-answered",
                        self.file.plan_position,
                        f"{operation.name} documents {status}, no step here can answer it",
                        declared=operation.position,
                    )

    # -- calls without a client ----------------------------------------------------------------

    def _library_call(self, call: CallRule) -> None:
        self._used.add(("call", call.name))
        compiled = self._compile_call(call, None)
        if compiled is None:
            return
        parameters: tuple[str, ...] = ()
        body = "None"
        path = repr(compiled.operation.path)
        if call.request is not None:
            source = self._specs.find_struct(call.request.source, call.request.source_position)
            if source is not None:
                parameters = (f"request: {annotation(source)}",)
                body = f"{compiled.request}(request)"
        elif "{" in compiled.operation.path:
            names = re.findall(r"\{(\w+)\}", compiled.operation.path)
            parameters = tuple(f"{name}: str" for name in names)
            path = "f" + path
        target = call.response.target.replace(":", ".") if call.response else "Any"
        source_kind = call.response.source.replace(":", ".") if call.response else "Any"
        self.module.functions.append(
            ir.Function(
                name=call.name,
                parameters=parameters,
                returns=f"FetchCall[{source_kind}, {target}]",
                doc=f"The call `{call.operation}` of {call.api}.",
                lines=(
                    f"return FetchCall(method={compiled.operation.method.upper()!r}, path={path}, "
                    f"body={body}, decoder={compiled.decoder}, translate={compiled.target})",
                ),
                origin=str(call.position),
            )
        )

    # -- errors -------------------------------------------------------------------------------

    def _errors(self) -> None:
        body = Body(names={"failure", "call"})
        roots = {
            "$call": Operand("call", StructType("call", "Call")),
            "$upstream": Operand("failure", StructType("call", "Failure")),
        }
        expressions = Expressions(
            self._context, Scope(roots, inline=frozenset({"$call", "$upstream"})), body
        )
        caught = False
        taken: set[str] = set()
        for row in self.file.errors:
            self._check_faults(row)
            mine = {*row.statuses, *(name for name, _ in row.faults)}
            if caught:
                self._findings.add(
                    "row-unreachable", row.position, "a row before this one takes everything"
                )
            elif mine and all(name in taken or f"{name[0]}xx" in taken for name in mine):
                self._findings.add(
                    "row-unreachable", row.position, "rows before this one take all of it"
                )
            if row.code is None and row.message is None:
                taken |= mine
            tests: list[str] = []
            if row.faults:
                tests.append(f"failure.fault in {tuple(name for name, _ in row.faults)!r}")
            if row.statuses:
                tests.append(_status_test(row.statuses))
            if row.code is not None:
                tests.append(f"failure.code == {row.code!r}")
            if row.message is not None:
                tests.append(f"{row.message.lower()!r} in message")
            refusal = expressions.refusal(row.refusal)
            caught = caught or row.otherwise or not tests
            body.lines += _guarded(" and ".join(tests), f"return {refusal}")
        if not caught:
            self._findings.add(
                "no-catch-all", self.file.errors_position, "the last error row must be `otherwise`"
            )
        lines = body.lines
        if any("in message" in line for line in lines):
            lines = ["message = failure.message.lower()", *lines]
        self.module.functions.append(
            ir.Function(
                name="refusal_for",
                parameters=("failure: UpstreamFailure", "call: Call"),
                returns="Refusal",
                doc="Return what an upstream failure becomes for the client.",
                lines=tuple(lines),
                origin=str(self.file.errors_position),
            )
        )
        self._recoveries()

    def _check_faults(self, row: ErrorRow) -> None:
        found = self._specs.struct(StructType("call", "Failure")).fields.get("fault")
        known = found.type.enum if found and isinstance(found.type, ScalarType) else None
        for name, place in row.faults:
            if known is not None and name not in known:
                self._findings.add(
                    "bad-row", place, f"`{name}` is no fault", hint=did_you_mean(name, known)
                )

    def _recoveries(self) -> None:
        lines = ["message = failure.message.lower()"]
        for row in self.file.recover:
            if row.do not in RECOVERIES:
                self._findings.add(
                    "unknown-step",
                    row.position,
                    f"`{row.do}` is no recovery",
                    hint=did_you_mean(row.do, RECOVERIES),
                )
            tests = []
            if row.message is not None:
                tests.append(f"{row.message.lower()!r} in message")
            if row.code is not None:
                tests.append(f"failure.code == {row.code!r}")
            lines += _guarded(" and ".join(tests), f"return {row.do!r}")
        lines.append("return None")
        words = ", ".join(repr(name) for name in RECOVERIES)
        self.module.functions.append(
            ir.Function(
                name="recovery_for",
                parameters=("failure: UpstreamFailure",),
                returns=f"Literal[{words}] | None",
                doc="Return what is worth trying before the client is told of a failure.",
                lines=tuple(lines),
                origin=str(self.file.errors_position),
            )
        )

    # -- shared pieces ------------------------------------------------------------------------

    def _scope(self, source: Operand) -> Scope:
        roots = {"": source, "$call": Operand("call", StructType("call", "Call"))}
        if self._request is not None:
            roots["$request"] = Operand("request", self._request)
        return Scope(roots, late=dict(self._late))

    def _request_scope(self, source: StructType | None = None) -> Scope:
        kind = source or self._request
        roots = {"$call": Operand("call", StructType("call", "Call"))}
        if self._path is not None:
            roots["$path"] = Operand("call.path", self._path)
        if kind is not None:
            roots[""] = roots["$request"] = Operand("request", kind)
        return Scope(roots, late=dict(self._late))

    def _note_request(self, usage: Usage, scope: Scope) -> None:
        usage.note(scope, "", "$request")

    def _extra(self, body: Body) -> tuple[str, ...]:
        extra = []
        if "" in body.roots or "$request" in body.roots:
            extra.append("request")
        if "$call" in body.roots:
            extra.append("call")
        text = "\n".join(body.lines)
        return tuple(name for name in extra if re.search(rf"\b{name}\b", text))

    def _request_parameters(self, body: Body, source: StructType | None = None) -> tuple[str, ...]:
        """Return what a function of a plan takes: the request, its late values, the context."""
        extra = self._extra(body)
        parameters = list(self._parameters(extra, source))
        text = "\n".join(body.lines)
        at = 1 if extra and extra[0] == "request" else 0
        parameters[at:at] = [
            f"{code}: {annotation(kind)}"
            for kind, code in self._late.items()
            if re.search(rf"\b{code}\b", text)
        ]
        return tuple(parameters)

    def _parameters(
        self, extra: tuple[str, ...], source: StructType | None = None
    ) -> tuple[str, ...]:
        kinds = {"call": "Call"}
        kind = source or self._request
        if kind is not None:
            kinds["request"] = annotation(kind)
        return tuple(f"{name}: {kinds[name]}" for name in extra)

    def _note_produced(
        self,
        target: StructType,
        fields: dict[str, Rule],
        omitted: dict[str, Reason] | None = None,
    ) -> None:
        known = self._produced.setdefault(target, set())
        known.update(fields)
        known.update(omitted or {})

    def _check_rejected(self, block: Block) -> None:
        """An upstream's answer can't be refused: only a client is there to be told."""
        for name, refusal in block.rejected.items():
            self._findings.add(
                "bad-value",
                refusal.position,
                f"`{name}`: only a request can be `rejected`",
            )

    def _check_target(self, target: StructType, block: Block) -> None:
        """Every field of an upstream request is set, or left out with a reason."""
        for name, found in self._specs.struct(target).fields.items():
            if name not in block.fields and name not in block.omitted:
                self._findings.add(
                    "target-undecided",
                    block.target_position,
                    f"`{name}` of {target} is never sent; say why under `omitted`",
                    declared=found.position,
                    about=name,
                )
        self._check_stale(target, set(block.fields), block.omitted)

    def _check_stale(
        self, target: StructType, produced: set[str], omitted: dict[str, Reason]
    ) -> None:
        """What a block says it omits, it must neither produce nor make up."""
        known = self._specs.struct(target).fields
        for name, reason in omitted.items():
            if name in produced:
                self._findings.add(
                    "stale-ignore",
                    reason.position,
                    f"`{name}` is said to be omitted and is produced",
                )
            elif name not in known:
                self._findings.add(
                    "stale-ignore",
                    reason.position,
                    f"`{name}` omits nothing: {target} has no such field",
                    hint=did_you_mean(name, known),
                )

    def _check_omitted(self) -> None:
        """Every field of an answer's type is produced somewhere, or left out with a reason."""
        claimed: set[str] = set()
        for target, produced in self._produced.items():
            if target.api != self.file.api:
                continue
            struct = self._specs.struct(target)
            for name, found in struct.fields.items():
                if name in self.file.omitted:
                    claimed.add(name)
                    if name in produced:
                        self._findings.add(
                            "stale-ignore",
                            self.file.omitted[name].position,
                            f"`{name}` is said to be omitted and is produced",
                        )
                elif name not in produced:
                    self._findings.add(
                        "target-undecided",
                        self.file.position,
                        f"`{name}` of {target} is never produced; say why under `omitted`",
                        declared=found.position,
                        about=name,
                    )
            self.project.coverage.note_answers(self.file, target, produced)
        for name, reason in self.file.omitted.items():
            if name not in claimed:
                self._findings.add(
                    "stale-ignore",
                    reason.position,
                    f"`{name}` omits nothing: no answer here has it",
                )

    def _report_unused(self) -> None:
        shared = self.file.name == SHARED
        for kind, names in (
            ("shape", self.file.shapes),
            ("table", self.file.tables),
            ("answer", self.file.answers),
            ("call", self.file.calls),
            ("report", self.file.reports),
        ):
            for name, item in names.items():
                if (kind, name) not in self._used and not shared:
                    self._findings.add(
                        f"unused-{kind}",
                        item.position,
                        f"nothing in this file uses the {kind} `{name}`",
                    )


class _StateSpecs(Specs):
    """
    The project's specs, plus one struct for the state of a stream.

    `always` names what every chunk sets, and so is there while a chunk is translated.
    """

    def __init__(
        self,
        specs: Specs,
        call: CallRule,
        stream: Stream,
        states: dict[str, Operand],
        always: set[str],
    ) -> None:
        self.__dict__.update(specs.__dict__)
        kind = _state_struct(call, stream)
        self._structs = {
            **specs._structs,
            kind: Struct(
                kind,
                stream.block.position,
                {
                    name: Field(
                        name, operand.type, name in always, False, stream.state[name].position
                    )
                    for name, operand in states.items()
                },
            ),
        }


def _state_struct(call: CallRule, stream: Stream) -> StructType:
    return StructType("$state", f"{stream.block.position}:{call.name}")


def parse_annotation(text: str, specs: Specs) -> Type:
    """
    Return the type behind a transform's returned annotation, as far as paths go into it.

    `internal.Speech` and `list[internal.Call]` are followed; anything else is opaque.
    """
    text = re.sub(r"\s*\|\s*(UnsetType|None)", "", text).strip()
    listed = re.fullmatch(r"list\[(.+)\]", text)
    if listed:
        return ArrayType(parse_annotation(listed[1], specs))
    named = re.fullmatch(r"(\w+)\.(\w+)", text)
    if named and named[2] in specs.components(named[1]):
        return StructType(named[1], named[2])
    scalars: dict[str, Type] = {
        "str": ScalarType("string"),
        "int": ScalarType("integer"),
        "float": ScalarType("number"),
        "bool": ScalarType("boolean"),
    }
    return scalars.get(text, AnyType())


def _names(parameters: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(parameter.partition(":")[0] for parameter in parameters)


def _without_unread(lines: list[str], names: Iterable[str]) -> list[str]:
    """Drop assignments of late values that nothing reads: decoding was the check."""
    kept = lines
    for name in names:
        is_read = re.compile(rf"(?<![.\w]){name}\b(?!\s*=(?!=))")
        if not any(is_read.search(line) for line in kept):
            kept = [line.removeprefix(f"{name} = ") for line in kept]
    return kept


def _negated(test: str) -> str:
    """Return the opposite of a test, as it is best read."""
    left, is_plain, right = test.partition(" is ")
    if is_plain and re.fullmatch(r"[\w.]+", left) and right in ("True", "False"):
        return f"{left} is not {right}"
    return f"not ({test})"


def _holder(rule: StateRule) -> str:
    """Return the object at the top of a chunk that a plain reduction looks into, "" for none."""
    path = rule.source
    is_plain = path is not None and rule.via is None and len(path.parts) > 1
    return path.parts[0] if path is not None and is_plain and "|" not in path.parts[0] else ""


def _guarded(test: str, *lines: str) -> list[str]:
    if not test:
        return list(lines)
    return [f"if {test}:", *(f"    {line}" for line in lines)]


def _status_test(statuses: tuple[str, ...]) -> str:
    exact = tuple(int(text) for text in statuses if text.isdigit())
    tests = [f"failure.status in {exact!r}"] if exact else []
    for text in statuses:
        if text.endswith("xx"):
            low = int(text[0]) * 100
            tests.append(f"(failure.status is not None and {low} <= failure.status < {low + 100})")
    return " or ".join(tests) if len(tests) == 1 else "(" + " or ".join(tests) + ")"


def _rejections(call: CallRule) -> Iterable[Refusal]:
    blocks = [call.request] if call.request is not None else []
    for block in blocks:
        yield from block.rejected.values()
        for rule in _walk(block.fields.values()):
            for case in rule.cases:
                if case.reject is not None:
                    yield case.reject


def _walk(rules: Iterable[Rule]) -> Iterable[Rule]:
    for rule in rules:
        yield rule
        if rule.fields is not None:
            yield from _walk(rule.fields.values())
