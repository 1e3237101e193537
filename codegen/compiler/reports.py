"""
Reports: progress told line by line, each record of a step translated by a function.
"""

from __future__ import annotations

from codegen.compiler import ir
from codegen.compiler.builder import Builder
from codegen.compiler.coverage import Usage
from codegen.compiler.expressions import Expressions
from codegen.compiler.operand import Body, Operand
from codegen.compiler.place import Context
from codegen.compiler.provenance import Origin, entries_of
from codegen.compiler.runtime import REPORT, annotation
from codegen.compiler.tree import TRUE, Call, Expression, Lambda, Name, Return
from codegen.rules.model import ReportRule

SOURCE = Name("source")


class Reports:
    """The reports of one file."""

    def __init__(self, builder: Builder, context: Context) -> None:
        self._builder = builder
        self._context = context

    def made(self, report: ReportRule, records: Expression, plan: Expressions) -> Expression | None:
        """Return what ends a plan with progress; `records` is the call that yields it."""
        builder, block = self._builder, report.block
        source = builder.specs.find_struct(block.source, block.source_position)
        target = builder.specs.find_struct(block.target, block.target_position)
        streamed: Expression = TRUE
        operand = plan.wants_frames(report.streamed)
        if operand is not None:
            streamed = operand.code
        if source is None or target is None:
            return None
        builder.check_answered(target, block.target_position)
        body = Body(names={"source", "request", "context", "item"})
        scope = builder.scope(Operand(SOURCE, source))
        expressions = Expressions.at(self._context, scope, body)
        code = expressions.build(target, block.fields, block.names, report.position)
        body.lines.append(Return(code))
        usage = Usage(source, block.source_position)
        usage.note(scope, "")
        usage.note_block(block)
        builder.check_coverage(usage, f"report {report.name}")
        builder.note_produced(target, block.fields, block.omitted)
        builder.check_stale(target, set(block.fields), block.omitted)
        extra = tuple(root[1:] for root in ("$request", "$context") if root in body.roots)
        name = f"{report.name}_frame"
        builder.module.functions.append(
            ir.Function(
                name=name,
                parameters=(
                    ir.Parameter("source", annotation(source)),
                    *builder.parameters(extra),
                ),
                returns=annotation(target),
                doc=f"Report `{report.name}`: what a record of `{report.do}` becomes.",
                body=body.written(),
                origins=(
                    Origin(
                        "report",
                        report.name,
                        report.position,
                        block.target,
                        entries_of(block.fields, block.names),
                        block.omitted,
                    ),
                ),
            )
        )
        translate: Expression = Name(name)
        if extra:
            translate = Lambda(("source",), Call(Name(name), (SOURCE, *map(Name, extra))))
        return Call(REPORT, (records,), (("translate", translate), ("streamed", streamed)))
