"""
Tables: one word for another, compiled to constants at their first use.
"""

from __future__ import annotations

from dataclasses import replace

from codegen.compiler import ir
from codegen.compiler.builder import Builder
from codegen.compiler.place import TableRef
from codegen.compiler.runtime import FINAL, MAPPING, SHARED_RULES, STR, literal_type
from codegen.compiler.tree import Attribute, Literal, Name, Subscript
from codegen.descriptions.problem import Position, did_you_mean
from codegen.descriptions.types import ArrayType, ScalarType, StructType, Type
from codegen.rules.model import Table


class Tables:
    """The tables of one file; those of the shared one may be named from every file."""

    def __init__(self, builder: Builder, shared: Tables | None) -> None:
        self._builder = builder
        self._findings = builder.findings
        self._shared = shared
        self._compiled: dict[str, TableRef] = {}

    def find(self, name: str, where: Position) -> TableRef | None:
        """Return the table that a rule names, or record that there is none."""
        builder = self._builder
        if name in builder.file.tables:
            return self.compiled(name)
        shared = self._shared._builder.file.tables if self._shared is not None else {}
        if self._shared is not None and name in shared:
            builder.project.used_shared.add(name)
            found = self._shared.compiled(name)
            assert isinstance(found.code, Name)
            return replace(found, code=Attribute(SHARED_RULES, found.code.id))
        self._findings.add(
            "no-such-table",
            where,
            f"`{name}` is no table here",
            hint=did_you_mean(name, [*builder.file.tables, *shared]),
        )
        return None

    def compiled(self, name: str) -> TableRef:
        """Return a table of this file, compiling it at its first use."""
        builder = self._builder
        builder.used.add(("table", name))
        if name not in self._compiled:
            table = builder.file.tables[name]
            covers = self._check(table)
            constant = name.upper()
            values = [str(value.value) for _, value in table.rows.values()]
            if table.otherwise is not None:
                values.append(str(table.otherwise.value))
            words = literal_type(tuple(dict.fromkeys(values)))
            builder.module.constants.append(
                ir.Constant(
                    constant,
                    Subscript(FINAL, (Subscript(MAPPING, (STR, words)),)),
                    Literal({key: value.value for key, (_, value) in table.rows.items()}),
                )
            )
            self._compiled[name] = TableRef(Name(constant), table, covers)
        return self._compiled[name]

    def _check(self, table: Table) -> tuple[str, ...] | None:
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
        kind: Type | None = self._builder.specs.find_struct(name, place)
        if kind is None:
            return None
        for part in path.split("."):
            fields = self._builder.specs.struct(kind).fields if isinstance(kind, StructType) else {}
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
