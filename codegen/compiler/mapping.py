"""
Mapping files compiled to modules: the parts of the compiler put together, file by file.
"""

from __future__ import annotations

from codegen.compiler import ir
from codegen.compiler.builder import Builder, Project
from codegen.compiler.calls import Calls
from codegen.compiler.errors import Errors
from codegen.compiler.patches import Patches
from codegen.compiler.plans import Plans
from codegen.compiler.shapes import Shapes
from codegen.compiler.tables import Tables
from codegen.rules.model import SHARED, MappingFile


def compile_mappings(project: Project) -> list[ir.Module]:
    """Return the module of every mapping file; problems are recorded with the project."""
    shared = project.files.get(SHARED)
    library = MappingCompiler(project, shared, None) if shared is not None else None
    compilers = [
        library
        if library is not None and file is shared
        else MappingCompiler(project, file, library)
        for file in project.files.values()
    ]
    return [compiler.compile() for compiler in compilers]


class MappingCompiler:
    """Compiles one file; shapes and tables are compiled when something names them."""

    def __init__(self, project: Project, file: MappingFile, shared: MappingCompiler | None) -> None:
        self._builder = Builder(project, file)
        self.tables: Tables = Tables(self._builder, shared.tables if shared else None)
        self.shapes: Shapes = Shapes(self._builder, self.tables, shared.shapes if shared else None)

    def compile(self) -> ir.Module:
        """Return the module; problems are recorded with the project."""
        builder, context = self._builder, self.shapes.context
        file = builder.file
        for name in file.shapes if file.name == SHARED else ():
            self.shapes.compiled(name, file.shapes[name].position)
        if file.errors:
            Errors(builder, context).compile()
        if file.passthrough is not None:
            Patches(builder, context, file.passthrough).compile()
        elif file.api is None:
            calls = Calls(builder, context)
            for call in file.calls.values():
                calls.library_call(call)
        elif file.plan:
            Plans(builder, context).compile()
        elif builder.operations:
            builder.findings.add(
                "no-plan", file.position, f"`{file.name}` serves an operation and has no `plan`"
            )
        self._report_unused()
        self._check_omitted()
        return builder.module

    def _check_omitted(self) -> None:
        """Every field of an answer's type is produced somewhere, or left out with a reason."""
        builder = self._builder
        claimed: set[str] = set()
        for target, produced in builder.produced.items():
            if target.api != builder.file.api:
                continue
            struct = builder.specs.struct(target)
            for name, found in struct.fields.items():
                if name in builder.file.omitted:
                    claimed.add(name)
                    if name in produced:
                        builder.findings.add(
                            "stale-ignore",
                            builder.file.omitted[name].position,
                            f"`{name}` is said to be omitted and is produced",
                        )
                elif name not in produced:
                    builder.findings.add(
                        "target-undecided",
                        builder.file.position,
                        f"`{name}` of {target} is never produced; say why under `omitted`",
                        declared=found.position,
                        about=name,
                    )
            builder.project.coverage.note_answers(builder.file, target, produced)
        for name, reason in builder.file.omitted.items():
            if name not in claimed:
                builder.findings.add(
                    "stale-ignore",
                    reason.position,
                    f"`{name}` omits nothing: no answer here has it",
                )

    def _report_unused(self) -> None:
        builder = self._builder
        shared = builder.file.name == SHARED
        for kind, names in (
            ("shape", builder.file.shapes),
            ("table", builder.file.tables),
            ("answer", builder.file.answers),
            ("call", builder.file.calls),
            ("report", builder.file.reports),
        ):
            for name, item in names.items():
                if (kind, name) not in builder.used and not shared:
                    builder.findings.add(
                        f"unused-{kind}",
                        item.position,
                        f"nothing in this file uses the {kind} `{name}`",
                    )
