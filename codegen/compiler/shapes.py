"""
Shapes: named translations of one object, compiled to functions at their first use.
"""

from __future__ import annotations

from dataclasses import replace

from codegen.compiler import ir
from codegen.compiler.builder import Builder
from codegen.compiler.coverage import Usage
from codegen.compiler.expressions import Expressions
from codegen.compiler.operand import Body, Operand
from codegen.compiler.place import Context, ShapeRef
from codegen.compiler.provenance import Origin, entries_of
from codegen.compiler.runtime import SHARED_RULES, annotation
from codegen.compiler.tables import Tables
from codegen.compiler.tree import Attribute, Name, Return
from codegen.descriptions.problem import Position, did_you_mean
from codegen.rules.model import SHARED, Shape


class Shapes:
    """The shapes of one file; those of the shared one may be named from every file."""

    def __init__(self, builder: Builder, tables: Tables, shared: Shapes | None) -> None:
        self._builder = builder
        self._findings = builder.findings
        self._shared = shared
        self._compiled: dict[str, ShapeRef | None] = {}
        self._open: set[str] = set()
        self.context = Context(
            specs=builder.specs,
            findings=builder.findings,
            transforms=builder.project.transforms,
            steps=builder.project.steps,
            shape=self.find,
            table=tables.find,
            decoder=builder.decoder,
            used_transforms=builder.project.used_transforms,
            read=builder.project.coverage.read,
        )

    def find(self, name: str, where: Position) -> ShapeRef | None:
        """Return the shape that a rule names, or record that there is none."""
        builder = self._builder
        if name in builder.file.shapes:
            if builder.file.name == SHARED:
                builder.project.used_shared.add(name)
            return self.compiled(name, where)
        shared = self._shared._builder.file.shapes if self._shared is not None else {}
        if self._shared is not None and name in shared:
            builder.project.used_shared.add(name)
            found = self._shared.compiled(name, where)
            if found is None:
                return None
            assert isinstance(found.code, Name)
            return replace(found, code=Attribute(SHARED_RULES, found.code.id))
        self._findings.add(
            "no-such-shape",
            where,
            f"`{name}` is no shape here",
            hint=did_you_mean(name, [*builder.file.shapes, *shared]),
        )
        return None

    def compiled(self, name: str, where: Position) -> ShapeRef | None:
        """Return a shape of this file, compiling it at its first use."""
        self._builder.used.add(("shape", name))
        if name not in self._compiled:
            self._compiled[name] = None
            self._open.add(name)
            self._compiled[name] = self._compile(self._builder.file.shapes[name])
            self._open.remove(name)
        elif name in self._open:
            self._findings.add("bad-value", where, f"the shape `{name}` uses itself")
        return self._compiled[name]

    def _compile(self, shape: Shape) -> ShapeRef | None:
        builder = self._builder
        source = builder.specs.find_struct(shape.block.source, shape.block.source_position)
        if source is None:
            return None
        body = Body(names={"source", "request", "context", "item"})
        scope = builder.scope(Operand(Name("source"), source))
        expressions = Expressions.at(self.context, scope, body)
        usage = Usage(source, shape.block.source_position)
        block = shape.block
        target = builder.specs.find_struct(block.target, block.target_position)
        if target is None:
            return None
        code = expressions.build(target, block.fields, block.names, shape.position)
        body.lines.append(Return(code))
        usage.note_block(block)
        builder.check_stale(target, set(block.fields), block.omitted)
        usage.note(scope, "")
        builder.check_coverage(usage, f"shape {shape.name}")
        extra = tuple(root[1:] for root in ("$request", "$context") if root in body.roots)
        name = shape.name if builder.file.name == SHARED else f"_{shape.name}"
        builder.module.functions.append(
            ir.Function(
                name=name,
                parameters=(
                    ir.Parameter("source", annotation(source)),
                    *builder.parameters(extra),
                ),
                returns=annotation(target),
                doc=f"Shape `{shape.name}`: {source} as {target}.",
                body=body.written(),
                origins=(
                    Origin(
                        "shape",
                        shape.name,
                        shape.position,
                        block.target,
                        entries_of(block.fields, block.names),
                        block.omitted,
                    ),
                ),
            )
        )
        return ShapeRef(Name(name), source, target, extra)
