"""
Streams: how chunks become frames, as a class that remembers from chunk to chunk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby

from codegen.compiler import ir
from codegen.compiler.builder import REQUEST_CONTEXT, Builder
from codegen.compiler.coverage import Usage
from codegen.compiler.declared import Declared, declared, declared_at
from codegen.compiler.expressions import Expressions
from codegen.compiler.folds import Folds, class_name
from codegen.compiler.operand import Body, Kept, Operand, Scope
from codegen.compiler.place import Context
from codegen.compiler.provenance import Origin, entries_of, said, state_entry
from codegen.compiler.runtime import BOOL, PARTIAL, UNSET, UNSET_TYPE, annotation, one_of
from codegen.compiler.tree import (
    NONE,
    SELF,
    TRUE,
    Assign,
    Call,
    Conditional,
    Expression,
    Literal,
    Name,
    Return,
    Tuple,
    assign,
    guarded,
    own,
)
from codegen.descriptions.problem import did_you_mean
from codegen.descriptions.signatures import Signature
from codegen.descriptions.types import ArrayType, Field, Struct, StructType, arms
from codegen.rules.model import CallRule, Emit, PathRef, StateRule, Stream


@dataclass(frozen=True)
class CompiledStream:
    """What a plan needs to invoke a call whose answer streams."""

    decoder: Expression
    pieces: Expression
    """The names of the chunk's members that hold pieces of a whole."""
    translator: Expression
    fold: Expression


@dataclass
class _Writing:
    """One stream while its class is written."""

    call: CallRule
    stream: Stream
    source: StructType
    target: StructType
    states: dict[str, Operand]
    kept: Kept
    roots: set[str] = field(default_factory=set)
    """Roots that its methods read."""
    read: set[str] = field(default_factory=set)
    """What is remembered and read, as paths."""
    usage: Usage = field(init=False)

    def __post_init__(self) -> None:
        self.usage = Usage(self.source, self.stream.block.ignored_position)


class Streams:
    """The streams of one file's calls."""

    def __init__(self, builder: Builder, context: Context) -> None:
        self._builder = builder
        self._context = context
        self._findings = builder.findings
        self._folds = Folds(builder, context)

    def compiled(self, call: CallRule, stream: Stream) -> CompiledStream | None:
        """Write the class of a stream, and that of its fold."""
        builder, block = self._builder, stream.block
        source = builder.specs.find_struct(block.source, block.source_position)
        target = builder.specs.find_struct(block.target, block.target_position)
        if source is None or target is None:
            return None
        builder.check_answered(target, block.target_position)
        for emit in stream.emit:
            if emit.event not in ("chunk", "end"):
                self._findings.add(
                    "bad-value", emit.position, f"`{emit.event}`: an event is `chunk` or `end`"
                )
        states = {
            rule.name: state
            for rule in stream.state.values()
            if (state := self._state_operand(rule, source)) is not None
        }
        writing = _Writing(call, stream, source, target, states, self._kept())
        chunk = self._chunk(writing)
        ends = [emit for emit in stream.emit if emit.event == "end"]
        if len(ends) != 1:
            self._findings.add(
                "no-end", block.position, f"`{call.name}` needs exactly one `end` frame"
            )
            return None
        complete, end = self._complete(writing), self._end(writing, ends[0])
        self._check(writing)
        fold = self._folds.compiled(call, stream, target)
        given = self._write(writing, chunk, complete, end)
        kind = Name(class_name(call, "Stream"))
        # Not a lambda: a name that a function inside reads is slower to read for all of the plan.
        made = Call(PARTIAL, (kind, *map(Name, given)))
        names = Tuple(tuple(map(Literal, sorted(self._pieces(source, set())))))
        return CompiledStream(builder.decoder(source), names, made, fold)

    def _pieces(self, source: StructType, seen: set[StructType]) -> set[str]:
        """Return the names of a chunk's members, at any depth, that hold pieces of a whole."""
        seen.add(source)
        found: set[str] = set()
        for each in self._builder.specs.struct(source).fields.values():
            if each.appends:
                found.add(each.name)
            inner = each.type.item if isinstance(each.type, ArrayType) else each.type
            for arm in arms(inner):
                if isinstance(arm, StructType) and arm not in seen:
                    found |= self._pieces(arm, seen)
        return found

    # -- what is remembered -------------------------------------------------------------------

    def _state_operand(self, rule: StateRule, source: StructType) -> Operand | None:
        code = own(rule.name)
        if rule.via is not None:
            signature = self._builder.project.transforms.get(rule.via)
            if signature is None:
                self._findings.add(
                    "no-such-transform",
                    rule.position,
                    f"`{rule.via}` is no transform of gateway/transforms",
                    hint=did_you_mean(rule.via, self._builder.project.transforms),
                )
                return None
            returned = declared(signature.returns, self._builder.specs)
            self._check_fold(rule, signature, returned)
            return Operand(code, returned.type, absent=True)
        if rule.source is None:
            return None
        scope = self._builder.scope(Operand(Name("chunk"), source))
        operand = Expressions.at(self._context, scope, Body()).place.path(rule.source)
        return Operand(code, operand.type, absent=True) if operand is not None else None

    def _check_fold(self, rule: StateRule, signature: Signature, returned: Declared) -> None:
        """What a fold returns is what it is given with the next chunk, and nothing before one."""
        if not signature.parameters:
            return
        first = declared(signature.parameters[0].annotation, self._builder.specs)
        if not first.takes(returned.type) or returned.null or not first.absent:
            self._findings.add(
                "type-mismatch",
                rule.position,
                f"`{signature.name}` returns `{signature.returns}`, and its first parameter "
                f"takes `{signature.parameters[0].annotation}`",
                hint="it takes what it returned before, or `UnsetType` for the first chunk",
                declared=declared_at(signature),
            )

    def _kept(self) -> Kept:
        """Return where a stream puts what is read at its start, from its request and context."""
        roots = {"$context": Operand(Name("context"), REQUEST_CONTEXT)}
        if self._builder.request is not None:
            roots["$request"] = Operand(Name("request"), self._builder.request)
        names = {"self", *("request", "_request", "context", "_context")}
        return Kept(Scope(roots), Body(names=names))

    def _state_struct(self, writing: _Writing, method: str, always: Iterable[str]) -> StructType:
        """
        Make known what a method may read of what is remembered, as a struct.

        `always` names what every chunk sets, and so is there while a chunk is translated.
        """
        position = writing.stream.block.position
        kind = StructType("$state", f"{position}:{writing.call.name}.{method}")
        rules = writing.stream.state
        fields = {
            name: Field(name, operand.type, name in always, False, rules[name].position)
            for name, operand in writing.states.items()
        }
        self._builder.specs.add_struct(Struct(kind, position, fields))
        return kind

    def _scope(self, writing: _Writing, method: str, always: Iterable[str] = ()) -> Scope:
        roots = {"$context": Operand(own("_context"), REQUEST_CONTEXT)}
        if self._builder.request is not None:
            roots["$request"] = Operand(own("_request"), self._builder.request)
        roots["$state"] = Operand(SELF, self._state_struct(writing, method, always))
        return Scope(roots, inline=frozenset({"$context", "$request"}))

    # -- a chunk ------------------------------------------------------------------------------

    def _chunk(self, writing: _Writing) -> ir.Function:
        rules = writing.stream.state.values()
        always = {rule.name for rule in rules if self._is_always_set(rule)}
        body = Body(names={"chunk", "self", "item"}, reads={})
        scope = self._scope(writing, "chunk", always)
        scope.roots[""] = Operand(Name("chunk"), writing.source)
        scope.kept = writing.kept
        expressions = Expressions.at(self._context, scope, body)
        known = (rule for rule in rules if rule.name in writing.states)
        for holder, group in groupby(known, key=_holder):
            self._reduce_all(holder, list(group), expressions)
        chunks = [emit for emit in writing.stream.emit if emit.event == "chunk"]
        is_always = False
        for emit in chunks:
            if is_always:
                self._findings.add(
                    "unreachable-frame", emit.position, "a frame before this one takes every chunk"
                )
            is_always = is_always or emit.when is None
            self._emit(emit, writing.target, expressions)
        if not any(emit.when is None for emit in chunks):
            body.lines.append(Return(NONE))
        writing.usage.note(scope, "")
        writing.read |= scope.used.get("$state", set())
        writing.roots |= body.roots
        return ir.Function(
            "chunk",
            (ir.SELF, ir.Parameter("chunk", annotation(writing.source))),
            one_of(annotation(writing.target), NONE),
            "Take in a chunk; return the frame that it makes, if it makes one.",
            body.written(),
            origins=(
                *(_origin("frame", writing, emit) for emit in chunks),
                Origin(
                    "state",
                    writing.call.name,
                    writing.stream.position,
                    entries=tuple(map(state_entry, rules)),
                ),
            ),
        )

    def _is_always_set(self, rule: StateRule) -> bool:
        """Whether every chunk gives what is remembered a value."""
        signature = self._builder.project.transforms.get(rule.via or "")
        return signature is not None and rule.source is None and not signature.may_be_absent

    def _emit(self, emit: Emit, target: StructType, expressions: Expressions) -> None:
        with expressions.conditions.where(emit.when):
            code = expressions.build(target, emit.fields, emit.names, emit.position)
        # The frame is built inside the branch; what it hoists stands before it.
        test = expressions.conditions.test(emit.when) if emit.when is not None else None
        expressions.place.body.lines += guarded(test, Return(code))

    def _reduce_all(self, holder: str, rules: list[StateRule], expressions: Expressions) -> None:
        """Write reductions that look into one object, asking once whether it is there."""
        place = expressions.place
        held = None
        if holder and len(rules) > 1:
            held = place.path(PathRef(holder, rules[0].position), mark=False)
        if held is None or held.presence is None:
            for rule in rules:
                self._reduce(rule, expressions)
            return
        inner = place.body.within(held)
        for rule in rules:
            self._reduce(rule, Expressions(place.within(inner)))
        place.body.lines += guarded(held.presence, *inner.written())

    def _reduce(self, rule: StateRule, expressions: Expressions) -> None:
        if rule.via is not None:
            self._feed(rule, rule.via, expressions)
            return
        assert rule.source is not None
        value = expressions.place.path(rule.source)
        if value is None:
            return
        kept = assign(own(rule.name), value.code)
        expressions.place.body.lines += guarded(value.presence, kept)

    def _feed(self, rule: StateRule, name: str, expressions: Expressions) -> None:
        """Give a transform what it returned before, and a value or what every chunk has."""
        body, state = expressions.place.body, own(rule.name)
        if not self._builder.project.transforms[name].parameters:
            self._findings.add(
                "transform-args",
                rule.position,
                f"`{name}` takes nothing, the first parameter of a fold is what it returned before",
            )
            return
        value = given = None
        if rule.source is not None:
            value = expressions.place.path(rule.source)
            if value is None:
                return
            given = replace(value, absent=False, null=False)
        operand = expressions.invocations.fold(
            name, state, rule.arguments or {}, rule.position, given=given
        )
        if operand is None:
            return
        if isinstance(operand.code, Conditional):
            self._findings.add(
                "transform-args",
                rule.position,
                f"`{name}` would be left out for a chunk that lacks an argument",
                hint="let its parameters take `UnsetType`",
            )
            return
        presence = value.presence if value is not None else None
        if presence is None:
            alias = body.alias(state, rule.name)
            body.lines.append(Assign((state, alias), operand.code))
        else:
            body.lines += guarded(presence, assign(state, operand.code))

    # -- the end ------------------------------------------------------------------------------

    def _complete(self, writing: _Writing) -> ir.Function:
        body = Body(names={"self"})
        code: Expression = TRUE
        condition = writing.stream.complete
        if condition is not None:
            scope = self._scope(writing, "complete")
            code = Expressions.at(self._context, scope, body).conditions.test(condition)
            if condition.nonempty:
                code = Call(BOOL, (code,))
            writing.read |= scope.used.get("$state", set())
        writing.roots |= body.roots
        return ir.Function(
            "complete",
            (ir.SELF,),
            BOOL,
            "Whether what has come by now may be the whole answer.",
            (*body.written(), Return(code)),
            is_property=True,
        )

    def _end(self, writing: _Writing, emit: Emit) -> ir.Function:
        body = Body(names={"self", "item"})
        scope = self._scope(writing, "end")
        expressions = Expressions.at(self._context, scope, body)
        code = expressions.build(writing.target, emit.fields, emit.names, emit.position)
        body.lines.append(Return(code))
        writing.read |= scope.used.get("$state", set())
        writing.roots |= body.roots
        return ir.Function(
            "end",
            (ir.SELF,),
            annotation(writing.target),
            "Return the last frame.",
            body.written(),
            origins=(_origin("end", writing, emit),),
        )

    # -- the whole ----------------------------------------------------------------------------

    def _check(self, writing: _Writing) -> None:
        builder, stream = self._builder, writing.stream
        read = {path.split(".", 1)[0] for path in writing.read}
        for rule in stream.state.values():
            if rule.name in writing.states and rule.name not in read:
                self._findings.add(
                    "unused-state", rule.position, f"`{rule.name}` is remembered and never read"
                )
        writing.usage.note_block(stream.block)
        builder.check_coverage(writing.usage, f"call {writing.call.name}")
        for emit in stream.emit:
            builder.note_produced(writing.target, emit.fields, stream.block.omitted)
        sent = {name for emit in stream.emit for name in emit.fields}
        builder.check_stale(writing.target, sent, stream.block.omitted)

    def _write(
        self, writing: _Writing, chunk: ir.Function, complete: ir.Function, end: ir.Function
    ) -> tuple[str, ...]:
        """Write the class; return what it takes of request and context."""
        builder, kept, states = self._builder, writing.kept, writing.states
        possible = ("request", "context") if builder.request is not None else ("context",)
        extra = tuple(root for root in possible if f"${root}" in writing.roots)
        roots = writing.roots | kept.body.roots
        given = tuple(root for root in possible if f"${root}" in roots)
        start = ir.Function(
            "__init__",
            (ir.SELF, *builder.parameters(given)),
            NONE,
            "",
            (
                *(assign(own(f"_{root}"), Name(root)) for root in extra),
                *kept.body.written(),
                *(
                    Assign((own(name),), UNSET, one_of(annotation(operand.type), UNSET_TYPE))
                    for name, operand in states.items()
                ),
            ),
        )
        builder.module.classes.append(
            ir.Class(
                name=class_name(writing.call, "Stream"),
                doc=f"Call `{writing.call.name}`: chunks of `{writing.call.operation}` as frames.",
                slots=(*(f"_{root}" for root in extra), *kept.slots, *states),
                methods=(start, chunk, complete, end),
            )
        )
        return given


def _origin(kind: str, writing: _Writing, emit: Emit) -> Origin:
    """Return what the code of a frame is made of."""
    return Origin(
        kind,
        writing.call.name,
        emit.position,
        writing.stream.target,
        entries_of(emit.fields, emit.names),
        writing.stream.omitted,
        when=said(emit.when) if emit.when is not None else "",
    )


def _holder(rule: StateRule) -> str:
    """Return the object at the top of a chunk that a plain reduction looks into, "" for none."""
    path = rule.source
    is_plain = path is not None and rule.via is None and len(path.parts) > 1
    return path.parts[0] if path is not None and is_plain and "|" not in path.parts[0] else ""
