"""
Folds: how the frames of a stream join into the one answer of a client that wants no frames.
"""

from __future__ import annotations

from collections.abc import Iterable

from codegen.compiler import ir
from codegen.compiler.builder import Builder
from codegen.compiler.expressions import Expressions
from codegen.compiler.operand import Body, Operand
from codegen.compiler.place import Context
from codegen.compiler.runtime import LIST, UNSET, annotation
from codegen.compiler.tree import (
    NONE,
    Assign,
    Attribute,
    Call,
    Do,
    Expression,
    Literal,
    Name,
    Or,
    Return,
    Statement,
    Subscript,
    guarded,
    own,
)
from codegen.descriptions.types import ArrayType, StructType, Type
from codegen.rules.model import CallRule, Fold, PathRef, Rule, Stream


class Folds:
    """The folds of one file's streams."""

    def __init__(self, builder: Builder, context: Context) -> None:
        self._builder = builder
        self._context = context
        self._findings = builder.findings

    def compiled(self, call: CallRule, stream: Stream, target: StructType) -> Expression:
        """Write the class that joins frames; return its name."""
        fold = stream.fold
        if fold is None:
            self._findings.add(
                "fold-missing",
                stream.block.position,
                f"`{call.name}` lacks a `fold`, the answer for clients that want no frames",
            )
            return NONE
        self._check(fold, stream, target)
        kind = annotation(target)
        slots: list[str] = []
        start: list[Statement] = []
        result: list[Statement] = []
        body = Body(names={"frame", "last"})
        frames = Expressions.at(
            self._context, self._builder.scope(Operand(Name("frame"), target)), body
        )
        for path in fold.last:
            self._probe(target, path)
        for path in (*fold.concat, *fold.append):
            operand = frames.place.path(path)
            if operand is None:
                continue
            slot = path.text.replace(".", "_")
            slots.append(slot)
            joins = path in fold.concat
            take = Attribute(own(slot), "append" if joins else "extend")
            body.lines += guarded(operand.presence, Do(Call(take, (operand.code,))))
            item = annotation(self._item(target, path))
            start.append(Assign((own(slot),), Literal([]), Subscript(LIST, (item,))))
            value: Expression = own(slot)
            if joins:
                value = Call(Attribute(Literal(""), "join"), (value,))
            if operand.absent:
                value = Or((value, UNSET))
            result.append(Assign((self._field_of(Name("last"), target, path),), value))
        name = class_name(call, "Fold")
        self._builder.module.classes.append(
            ir.Class(
                name=name,
                doc=f"Call `{call.name}`: the one-shot answer from the frames.",
                slots=tuple(slots),
                methods=(
                    ir.Function("__init__", (ir.SELF,), NONE, "", tuple(start)),
                    ir.Function(
                        "add",
                        (ir.SELF, ir.Parameter("frame", kind)),
                        NONE,
                        "Take in a frame.",
                        body.written(),
                    ),
                    ir.Function(
                        "result",
                        (ir.SELF, ir.Parameter("last", kind)),
                        kind,
                        "Return the last frame, with everything that the frames before it held.",
                        (*result, Return(Name("last"))),
                    ),
                ),
            )
        )
        return Name(name)

    def _check(self, fold: Fold, stream: Stream, target: StructType) -> None:
        """Every field of every frame stands in the fold, and no other."""
        listed = {path.text: path for path in (*fold.concat, *fold.append, *fold.last)}
        produced = {leaf for emit in stream.emit for leaf in leaves(emit.fields)}
        for leaf in sorted(produced):
            if leaf not in listed:
                self._findings.add(
                    "fold-missing", fold.position, f"`{leaf}` is set in frames and not in the fold"
                )
        last = {leaf for emit in stream.emit if emit.event == "end" for leaf in leaves(emit.fields)}
        needed = {
            name
            for name, found in self._builder.specs.struct(target).fields.items()
            if found.required
        }
        for path in fold.last:
            # A required field that is not set was reported for the frame itself.
            if path.text in produced - last - needed:
                self._findings.add(
                    "fold-missing",
                    path.position,
                    f"`{path.text}` is taken from the last frame, which does not set it",
                    hint="`concat` or `append` it, or set it in the `end` frame",
                )
        for leaf, path in listed.items():
            if leaf not in produced:
                self._findings.add(
                    "fold-missing", path.position, f"`{leaf}` is in the fold and set in no frame"
                )

    def _probe(self, target: StructType, path: PathRef) -> Operand | None:
        """Look up what a path of a frame is, without reading it."""
        scope = self._builder.scope(Operand(Name("frame"), target))
        return Expressions.at(self._context, scope, Body()).place.path(path)

    def _item(self, target: StructType, path: PathRef) -> Type:
        operand = self._probe(target, path)
        assert operand is not None
        return operand.type.item if isinstance(operand.type, ArrayType) else operand.type

    def _field_of(self, frame: Name, target: StructType, path: PathRef) -> Attribute:
        """Return a field of a frame as what is assigned to."""
        code: Name | Attribute = frame
        kind: Type = target
        for part in path.parts:
            assert isinstance(kind, StructType)
            found = self._builder.specs.struct(kind).fields[part]
            code, kind = Attribute(code, found.attribute), found.type
        assert isinstance(code, Attribute)
        return code


def leaves(fields: dict[str, Rule], prefix: str = "") -> Iterable[str]:
    """Yield the fields that a frame sets, those of its objects by their paths."""
    for name, rule in fields.items():
        if rule.fields is not None:
            yield from leaves(rule.fields, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def class_name(call: CallRule, suffix: str) -> str:
    """Return the name of a class that is written for a call."""
    return "".join(part.capitalize() for part in call.name.split("_")) + suffix
