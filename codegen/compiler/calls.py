"""
Upstream calls: the body made for one, what its answer becomes, and calls of the gateway's own.
"""

from __future__ import annotations

from dataclasses import dataclass

from codegen.compiler import ir
from codegen.compiler.builder import Builder, parameters_of
from codegen.compiler.coverage import Usage
from codegen.compiler.expressions import Expressions
from codegen.compiler.operand import Body, Operand
from codegen.compiler.place import Context
from codegen.compiler.provenance import Origin, entries_of
from codegen.compiler.runtime import ANY, FETCH_CALL, PATH_VALUE, STR, STREAM_CALL, annotation
from codegen.compiler.streams import Streams
from codegen.compiler.tree import (
    NONE,
    Assign,
    Attribute,
    Await,
    Call,
    Conditional,
    Expression,
    Lambda,
    Literal,
    Name,
    Return,
    Statement,
    Subscript,
    Text,
)
from codegen.descriptions.problem import Position
from codegen.descriptions.spec import JSON, SSE, Operation
from codegen.descriptions.types import Type, arms
from codegen.rules.model import Alternative, Block, CallRule

_MOST_KEYWORDS = 15
"""The most keywords of a call that Python passes without a dictionary."""


@dataclass(frozen=True)
class CompiledCall:
    """What a plan needs to invoke a call."""

    rule: CallRule
    operation: Operation
    alternative: Operation | None
    request: str | None
    """The function that makes the body, if there is one."""
    parameters: tuple[str, ...]
    """What that function takes, by the names that a plan has for it."""
    decoder: Expression
    translate: Expression
    fold: Expression | None
    """What joins a stream's frames; None for a call with one answer."""
    pieces: Expression


@dataclass(frozen=True)
class _Answered:
    """What a call's answer becomes: the fields of `CompiledCall` that say so."""

    decoder: Expression
    translate: Expression
    fold: Expression | None = None
    pieces: Expression = NONE


class Calls:
    """The calls of one file."""

    def __init__(self, builder: Builder, context: Context) -> None:
        self._builder = builder
        self._context = context
        self._findings = builder.findings
        self._streams = Streams(builder, context)

    def compiled(self, call: CallRule, plan_usage: Usage | None) -> CompiledCall | None:
        """Compile a call that a plan makes, which has used what `plan_usage` says."""
        if not call.api or not call.operation:
            return None
        operation = self._builder.specs.operation(call.api, call.operation, call.operation_position)
        if operation is None:
            return None
        self._check_types(call, operation)
        alternative: Operation | None = None
        if call.alternative is not None:
            alternative = self._alternative(call.alternative, operation)
            if alternative is None:
                return None
        request: str | None = None
        parameters: tuple[ir.Parameter, ...] = ()
        if call.request is not None:
            made = self._request_function(call, call.request, plan_usage)
            if made is None:
                return None
            request, parameters = made.name, made.parameters
        answered: _Answered | None = None
        if call.stream is not None:
            stream = self._streams.compiled(call, call.stream)
            if stream is not None:
                answered = _Answered(stream.decoder, stream.translator, stream.fold, stream.pieces)
        elif call.response is not None:
            answered = self._response(call, call.response)
        else:
            self._findings.add(
                "no-answer", call.position, f"`{call.name}` needs a `stream` or a `response`"
            )
        if answered is None:
            return None
        names = tuple(parameter.name for parameter in parameters)
        return CompiledCall(
            call,
            operation,
            alternative,
            request,
            names,
            answered.decoder,
            answered.translate,
            answered.fold,
            answered.pieces,
        )

    def _alternative(self, rule: Alternative, operation: Operation) -> Operation | None:
        """Return the operation called instead, which takes the same; its answer is read alike."""
        found = self._builder.specs.operation(rule.api, rule.operation, rule.position)
        if found is None:
            return None
        if (found.method, found.request) != (operation.method, operation.request):
            self._findings.add(
                "type-mismatch",
                rule.position,
                f"`{rule.operation}` does not take what `{operation.name}` takes",
                declared=found.position,
            )
        return found

    def _check_types(self, call: CallRule, operation: Operation) -> None:
        """A call sends what its operation takes, and reads what that answers."""
        ends: list[tuple[str, Position, str, tuple[Type, ...]]] = []
        if call.request is not None:
            block, taken = call.request, operation.request
            only = (taken,) if taken is not None else ()
            ends.append((block.target, block.target_position, "takes", only))
        if call.stream is not None:
            block = call.stream.block
            ends.append((block.source, block.source_position, "streams", operation.answered(SSE)))
        elif call.response is not None:
            block = call.response
            ends.append((block.source, block.source_position, "answers", operation.answered(JSON)))
        for named, where, verb, types in ends:
            possible = sorted({str(arm) for type_ in types for arm in arms(type_)})
            if named not in possible:
                self._findings.add(
                    "type-mismatch",
                    where,
                    f"`{call.operation}` {verb} {' or '.join(possible) or 'no object'}, "
                    f"not {named}",
                    declared=operation.position,
                )

    def invocation(
        self, call: CompiledCall, streamed: Expression, elsewhere: Expression | None
    ) -> Expression:
        """
        Return what a plan ends in.

        `streamed` tells whether the client wants frames, `elsewhere` when the call's alternative
        is made.
        """
        method = call.operation.method.upper()
        path: Expression = Literal(call.operation.path)
        if call.alternative is not None and elsewhere is not None:
            path = Conditional(Literal(call.alternative.path), elsewhere, path)
        body: Expression = NONE
        if call.request is not None:
            parameters = tuple(map(Name, call.parameters))
            request = Name(call.request)
            # What a large request holds is translated apart, so that no other request waits.
            body = Conditional(
                Await(Call(Attribute(Name("run"), "apart"), (request, *parameters))),
                Attribute(Name("run"), "is_large"),
                Call(request, parameters),
            )
        head = (("method", Literal(method)), ("path", path), ("body", body))
        if call.fold is None:
            tail = (("decoder", call.decoder), ("translate", call.translate))
            return Call(FETCH_CALL, keywords=(*head, *tail))
        return Call(
            STREAM_CALL,
            keywords=(
                *head,
                ("chunks", call.decoder),
                ("pieces", call.pieces),
                ("translator", call.translate),
                ("fold", call.fold),
                ("streamed", streamed),
            ),
        )

    def _request_function(
        self, call: CallRule, block: Block, plan_usage: Usage | None
    ) -> ir.Function | None:
        builder = self._builder
        source = builder.specs.find_struct(block.source, block.source_position)
        target = builder.specs.find_struct(block.target, block.target_position)
        if source is None or target is None:
            return None
        body = Body(names={"request", "context", "item", *builder.late.values()})
        scope = builder.request_scope(source)
        expressions = Expressions.at(self._context, scope, body)
        code = expressions.build(target, block.fields, block.names, call.position)
        body.lines += _returned(code, body)
        builder.check_target(target, block)
        usage = Usage(source, block.source_position)
        usage.note(scope, "", "$request")
        usage.note_block(block)
        if call.streamed is not None and call.streamed.source is not None:
            path = call.streamed.source.text
            usage.used.add(path)
            usage.reached.setdefault(path, set()).add("frames, or their fold")
        if plan_usage is not None:
            usage.note_plan(plan_usage)
            usage.shared_ignored.update(builder.file.ignored)
        builder.check_coverage(usage, f"call {call.name}")
        function = ir.Function(
            name=f"{call.name}_request",
            parameters=builder.request_parameters(body, source),
            returns=annotation(target),
            doc=f"Call `{call.name}`: the body for `{call.operation}`.",
            body=body.written(),
            origins=(_origin("request", call, block),),
        )
        builder.module.functions.append(function)
        return function

    def _response(self, call: CallRule, block: Block) -> _Answered | None:
        builder = self._builder
        source = builder.specs.find_struct(block.source, block.source_position)
        target = builder.specs.find_struct(block.target, block.target_position)
        if source is None or target is None:
            return None
        builder.check_answered(target, block.target_position)
        body = Body(names={"response", "request", "context", "item"})
        scope = builder.scope(Operand(Name("response"), source))
        expressions = Expressions.at(self._context, scope, body)
        code = expressions.build(target, block.fields, block.names, call.position)
        body.lines.append(Return(code))
        usage = Usage(source, block.ignored_position)
        usage.note(scope, "")
        usage.note_block(block)
        builder.check_coverage(usage, f"call {call.name}")
        builder.note_produced(target, block.fields, block.omitted)
        builder.check_stale(target, set(block.fields), block.omitted)
        extra = builder.extra(body)
        name = f"{call.name}_response"
        builder.module.functions.append(
            ir.Function(
                name=name,
                parameters=(
                    ir.Parameter("response", annotation(source)),
                    *builder.parameters(extra),
                ),
                returns=annotation(target),
                doc=f"Call `{call.name}`: what its answer becomes.",
                body=body.written(),
                origins=(_origin("response", call, block),),
            )
        )
        made = Call(Name(name), (Name("response"), *map(Name, extra)))
        return _Answered(builder.decoder(source), Lambda(("response",), made))

    # -- calls without a client ----------------------------------------------------------------

    def library_call(self, call: CallRule) -> None:
        """Write the function of a call that the gateway makes for itself."""
        self._builder.used.add(("call", call.name))
        if call.alternative is not None:
            self._findings.add(
                "unknown-key",
                call.alternative.position,
                "an `alternative` is for calls of a plan, which has what its `when` reads",
            )
        compiled = self.compiled(call, None)
        if compiled is None:
            return
        specs = self._builder.specs
        parameters: tuple[ir.Parameter, ...] = ()
        body: Expression = NONE
        path: Expression = Literal(compiled.operation.path)
        names = parameters_of(compiled.operation.path)
        if call.request is not None and compiled.request is not None:
            source = specs.find_struct(call.request.source, call.request.source_position)
            if source is not None:
                parameters = (ir.Parameter("request", annotation(source)),)
                body = Call(Name(compiled.request), (Name("request"),))
        elif names:
            parameters = tuple(ir.Parameter(name, STR) for name in names)
            path = _path_with(compiled.operation.path, names)
        kinds: tuple[Expression, ...] = (ANY, ANY)
        if call.response is not None:
            ends = (
                specs.find_struct(call.response.source, call.response.source_position),
                specs.find_struct(call.response.target, call.response.target_position),
            )
            kinds = tuple(annotation(kind) if kind is not None else ANY for kind in ends)
        self._builder.module.functions.append(
            ir.Function(
                name=call.name,
                parameters=parameters,
                returns=Subscript(FETCH_CALL, kinds),
                doc=f"The call `{call.operation}` of {call.api}.",
                body=(
                    Return(
                        Call(
                            FETCH_CALL,
                            keywords=(
                                ("method", Literal(compiled.operation.method.upper())),
                                ("path", path),
                                ("body", body),
                                ("decoder", compiled.decoder),
                                ("translate", compiled.translate),
                            ),
                        )
                    ),
                ),
            )
        )


def _returned(made: Expression, body: Body) -> tuple[Statement, ...]:
    """
    Return what returns an object.

    Of many members the last ones are set one by one: Python passes more than it holds in its stack
    in a dictionary, which it makes for the call.
    """
    if not isinstance(made, Call) or len(made.keywords) <= _MOST_KEYWORDS:
        return (Return(made),)
    name = Name(body.fresh("made"))
    first, rest = made.keywords[:_MOST_KEYWORDS], made.keywords[_MOST_KEYWORDS:]
    return (
        Assign((name,), Call(made.function, made.arguments, first)),
        *(Assign((Attribute(name, member),), value) for member, value in rest),
        Return(name),
    )


def _origin(kind: str, call: CallRule, block: Block) -> Origin:
    """Return what the function of a block is made of."""
    made = entries_of(block.fields, block.names)
    return Origin(kind, call.name, block.position, block.target, made, block.omitted)


def _path_with(path: str, names: list[str]) -> Text:
    """Return a path with its parameters' values in it."""
    pieces: list[str | Expression] = []
    rest = path
    for name in names:
        before, _, rest = rest.partition(f"{{{name}}}")
        pieces += [before, Call(PATH_VALUE, (Name(name),))]
    return Text(tuple(pieces) + ((rest,) if rest else ()))
