"""
What the parts of the compiler share: one mapping file, the module made of it, and its bookkeeping.

A part compiles one kind of entry of the file (shapes, calls, the plan …) and writes into the
module here. No part knows another's insides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from codegen.compiler import ir
from codegen.compiler.coverage import Coverage, Usage
from codegen.compiler.operand import Body, Operand, Scope
from codegen.compiler.runtime import CALLS, CONTEXT, DECODER, FINAL, PLANS, annotation, struct
from codegen.compiler.tree import Attribute, Call, Expression, Name, Subscript, names_read
from codegen.descriptions.problem import Findings, Position, did_you_mean
from codegen.descriptions.signatures import Signature
from codegen.descriptions.spec import JSON, NDJSON, Operation, Specs
from codegen.descriptions.types import Field, ScalarType, Struct, StructType, Type, arms
from codegen.rules.model import Block, MappingFile, Reason, Rule

REQUEST_CONTEXT = StructType("context", "RequestContext")
FAILURE_TYPE = StructType("context", "Failure")


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
    asked: list[tuple[str, tuple[Field, ...]]] = field(default_factory=list)
    """The APIs of requests that run a model, each with the way to one of their fields."""


class Builder:
    """One file while it is compiled."""

    def __init__(self, project: Project, file: MappingFile) -> None:
        self.project = project
        self.file = file
        self.findings = project.findings
        self.specs = project.specs
        self.module = ir.Module(
            name=file.name,
            source=file.file,
            doc=f"The mapping `{file.name}`, compiled.",
            package=CALLS if file.api is None and file.passthrough is None else PLANS,
        )
        self.used: set[tuple[str, str]] = set()
        """Entries of the file that something names, as kind and name."""
        self.late: dict[StructType, str] = {}
        """Late values that the plan decodes, with the variable that holds each."""
        self.produced: dict[StructType, set[str]] = {}
        """Fields of answers that something sets or leaves out for a reason."""
        stated = file.passthrough or file.client
        self._named = stated.operations if stated is not None else ()
        api = stated.api if stated is not None else None
        self.operations: list[Operation] = [
            operation
            for name, place in self._named
            if (operation := self.specs.operation(api or "", name, place)) is not None
        ]
        self.request = self._request_type()
        self.path = self._path_type()
        self._decoders: dict[StructType, Name] = {}

    # -- what the client's operation says ------------------------------------------------------

    def _request_type(self) -> StructType | None:
        kinds = dict.fromkeys(operation.request for operation in self.operations)
        if len(kinds) > 1:
            self.findings.add(
                "type-mismatch",
                self._named[1][1],
                f"`{self.file.name}` serves operations whose bodies differ",
                hint="give each its own mapping",
            )
        found = next(iter(kinds), None)
        return found if isinstance(found, StructType) else None

    def _path_type(self) -> StructType | None:
        """Return what `$path` holds: the parameters that all paths of this file have."""
        found = [parameters_of(operation.path) for operation in self.operations]
        names = [name for name in found[0] if all(name in one for one in found)] if found else []
        if not names:
            return None
        kind, place = StructType("$path", self.file.name), self.file.position
        text = ScalarType("string")
        fields = {name: Field(name, text, True, False, place) for name in names}
        self.specs.add_struct(Struct(kind, place, fields))
        return kind

    def answer_type(self) -> Type | None:
        """Return what the file's operation answers when all is well."""
        for operation in self.operations:
            for status, media in operation.answers.items():
                if status.startswith("2"):
                    for kind in (JSON, "text/plain", NDJSON):
                        if kind in media:
                            return media[kind]
        return None

    def check_answered(self, target: Type, where: Position) -> None:
        """What becomes of a call, a record or a plan is what the client's operation answers."""
        possible = {
            str(arm)
            for operation in self.operations
            for kind in operation.answered(JSON, NDJSON)
            for arm in arms(kind)
        }
        if self.operations and str(target) not in possible:
            names = " and ".join(operation.name for operation in self.operations)
            self.findings.add(
                "type-mismatch",
                where,
                f"{target} is not what {names} should answer: "
                + (" or ".join(sorted(possible)) or "no object"),
            )

    # -- scopes and parameters ----------------------------------------------------------------

    def scope(self, source: Operand) -> Scope:
        """Return the scope of a function that translates a value."""
        roots = {"": source, "$context": Operand(Name("context"), REQUEST_CONTEXT)}
        if self.request is not None:
            roots["$request"] = Operand(Name("request"), self.request)
        return Scope(roots, late=dict(self.late))

    def request_scope(self, source: StructType | None = None) -> Scope:
        """Return the scope of a function that has the request itself, or another of this type."""
        kind = source or self.request
        roots = {"$context": Operand(Name("context"), REQUEST_CONTEXT)}
        if self.path is not None:
            roots["$path"] = Operand(Attribute(Name("context"), "path"), self.path)
        if kind is not None:
            roots[""] = roots["$request"] = Operand(Name("request"), kind)
        return Scope(roots, late=dict(self.late))

    def extra(self, body: Body) -> tuple[str, ...]:
        """Return which of request and context the statements of a body read."""
        read = names_read(body.written())
        asked = {"request": {"", "$request"}, "context": {"$context", "$path"}}
        return tuple(name for name, roots in asked.items() if roots & body.roots and name in read)

    def parameters(
        self, extra: tuple[str, ...], source: StructType | None = None
    ) -> tuple[ir.Parameter, ...]:
        """Return parameters for request and context, as far as a function takes them."""
        kinds: dict[str, Expression] = {"context": CONTEXT}
        kind = source or self.request
        if kind is not None:
            kinds["request"] = annotation(kind)
        return tuple(ir.Parameter(name, kinds[name]) for name in extra)

    def request_parameters(
        self, body: Body, source: StructType | None = None
    ) -> tuple[ir.Parameter, ...]:
        """Return what a function of a plan takes: the request, its late values, the context."""
        extra = self.extra(body)
        parameters = list(self.parameters(extra, source))
        read = names_read(body.written())
        at = 1 if extra and extra[0] == "request" else 0
        parameters[at:at] = [
            ir.Parameter(name, annotation(kind)) for kind, name in self.late.items() if name in read
        ]
        return tuple(parameters)

    # -- the module ---------------------------------------------------------------------------

    def decoder(self, type_: StructType) -> Name:
        """Return the module's decoder of a type."""
        if type_ not in self._decoders:
            name = "DECODE_" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type_.name).upper()
            kind = struct(type_)
            self.module.constants.append(
                ir.Constant(
                    name,
                    Subscript(FINAL, (Subscript(DECODER, (kind,)),)),
                    Call(DECODER, (kind,)),
                )
            )
            self._decoders[type_] = Name(name)
        return self._decoders[type_]

    # -- what blocks leave out ----------------------------------------------------------------

    def note_produced(
        self,
        target: StructType,
        fields: dict[str, Rule],
        omitted: dict[str, Reason] | None = None,
    ) -> None:
        """Remember which fields of an answer are decided."""
        known = self.produced.setdefault(target, set())
        known.update(fields)
        known.update(omitted or {})

    def check_target(self, target: StructType, block: Block) -> None:
        """Every field of an upstream request is set, or left out with a reason."""
        for name, found in self.specs.struct(target).fields.items():
            if name not in block.fields and name not in block.omitted:
                self.findings.add(
                    "target-undecided",
                    block.target_position,
                    f"`{name}` of {target} is never sent; say why under `omitted`",
                    declared=found.position,
                    about=name,
                )
        self.check_stale(target, set(block.fields), block.omitted)

    def check_stale(
        self, target: StructType, produced: set[str], omitted: dict[str, Reason]
    ) -> None:
        """What a block says it omits, it must neither produce nor make up."""
        known = self.specs.struct(target).fields
        for name, reason in omitted.items():
            if name in produced:
                self.findings.add(
                    "stale-ignore",
                    reason.position,
                    f"`{name}` is said to be omitted and is produced",
                )
            elif name not in known:
                self.findings.add(
                    "stale-ignore",
                    reason.position,
                    f"`{name}` omits nothing: {target} has no such field",
                    hint=did_you_mean(name, known),
                )

    def check_coverage(self, usage: Usage, label: str = "") -> None:
        """Report what one translation leaves undecided, and keep it for the page."""
        self.project.coverage.check(usage, self.file, label=label)


def parameters_of(path: str) -> list[str]:
    """Return the names of a path's parameters."""
    return re.findall(r"\{(\w+)\}", path)
