"""
The index of rules: which rule fills which field, and where every rule, step and reason stands.

`olgate explain` looks up in it what the generated code does. The lines of the generated modules in
it are those of their formatted texts, so the index is made after them.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from codegen.compiler import ir
from codegen.compiler.coverage import Coverage
from codegen.compiler.provenance import Entry, Origin, StepOrigin
from codegen.descriptions.problem import Position

FILE = "gateway/explain/rules.json"
"""Where the index is; nothing but `gateway.explain` reads it."""

STEP = re.compile(r"\s*# (?P<file>[\w/.-]+\.yaml):(?P<line>\d+): \w+$")


def rule_index(
    modules: Iterable[ir.Module], texts: Mapping[str, str], coverage: Coverage, shared: set[str]
) -> str:
    """
    Return the index as JSON.

    `texts` are the generated files by their paths, `shared` the shapes that every mapping may name.
    """
    found = {
        f"{module.package}/{module.name}.py": _module(
            module, texts[f"gateway/{module.package}/{module.name}.py"], shared
        )
        for module in modules
        if not module.is_empty
    }
    index = {"modules": found, "fields": _fields(coverage)}
    return json.dumps(index, indent=1, ensure_ascii=False) + "\n"


def _module(module: ir.Module, text: str, shared: set[str]) -> dict[str, Any]:
    names = dict(_functions(ast.parse(text)))
    lines = text.splitlines()
    functions: dict[str, Any] = {}
    steps: dict[str, Any] = {}
    rows: dict[str, Any] = {}
    owned = [("", function) for function in module.functions]
    owned += [(f"{one.name}.", method) for one in module.classes for method in one.methods]
    for owner, function in owned:
        name = owner + function.name
        if function.origins:
            functions[name] = [_origin(one, module, shared) for one in function.origins]
        if function.steps:
            steps[name] = _steps(function.steps, names[name], lines)
        if function.rows:
            returns = [node for node in ast.walk(names[name]) if isinstance(node, ast.Return)]
            rows[name] = [
                {"line": node.lineno, "at": _place(row.at), "what": row.what}
                for node, row in zip(
                    sorted(returns, key=lambda node: node.lineno), function.rows, strict=True
                )
            ]
    parts = {"functions": functions, "steps": steps, "rows": rows}
    return {"mapping": module.source} | {name: part for name, part in parts.items() if part}


def _functions(tree: ast.Module) -> Iterable[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}", inner


def _steps(
    steps: Iterable[StepOrigin], node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]
) -> list[dict[str, Any]]:
    """Return steps with the lines of the generated function at which each begins."""
    begins: dict[str, int] = {}
    for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
        if mark := STEP.match(lines[number - 1]):
            begins[f"{mark['file']}:{mark['line']}"] = number
    return [
        {"line": begins[_place(step.at)], "at": _place(step.at), "kind": step.kind}
        | {"what": step.what, "reads": list(step.reads)}
        | ({"when": step.when} if step.when else {})
        for step in steps
        if _place(step.at) in begins
    ]


def _origin(origin: Origin, module: ir.Module, shared: set[str]) -> dict[str, Any]:
    made: dict[str, Any] = {"kind": origin.kind, "name": origin.name, "at": _place(origin.at)}
    for name, text in (
        ("target", origin.target),
        ("verb", origin.verb),
        ("why", origin.why),
        ("when", origin.when),
    ):
        if text:
            made[name] = text
    made["rules"] = [_entry(entry, module, shared) for entry in origin.entries]
    if origin.omitted:
        made["omitted"] = {
            name: {"at": _place(reason.position), "why": reason.text}
            for name, reason in origin.omitted.items()
        }
    return made


def _entry(entry: Entry, module: ir.Module, shared: set[str]) -> dict[str, Any]:
    made: dict[str, Any] = {"field": entry.name, "at": _place(entry.at), "how": entry.how}
    if group := entry.at.included:
        made["group"] = group.group
    if entry.sources:
        made["from"] = list(entry.sources)
    if entry.when:
        made["when"] = entry.when
    if entry.shape:
        own = f"{module.package}/{module.name}.py:_{entry.shape}"
        of_shared = f"calls/shared.py:{entry.shape}"
        known = {function.name for function in module.functions}
        is_own = f"_{entry.shape}" in known or entry.shape not in shared
        made["shape"] = own if is_own else of_shared
    if entry.fields:
        made["rules"] = [_entry(inner, module, shared) for inner in entry.fields]
    return made


def _fields(coverage: Coverage) -> dict[str, Any]:
    """Return where each field of each translation's source goes, by mapping, label and type."""
    found: dict[str, Any] = {}
    for row in coverage.rows:
        sources = found.setdefault(row.mapping, {})
        fields = sources.setdefault(f"{row.label} {row.source}".strip(), {})
        fields[row.path] = {"goes": row.outcome} | ({"at": _place(row.at)} if row.at else {})
    for (mapping, source, path), reason in coverage.undeclared.items():
        text = f"ignored: {reason.text}{reason.position.from_group}"
        for label, fields in found.get(mapping, {}).items():
            if label.endswith(str(source)):
                fields[path] = {"goes": text, "at": _place(reason.position)}
    return found


def _place(position: Position) -> str:
    return f"{position.file}:{position.line}"
