"""
Which values of a request's context are computed anew at each reading, read from its class's text.

A stream reads its context once, when it begins, except for what `x-changes` marks; a value that is
computed at each reading and not marked would stand still.
"""

from __future__ import annotations

import ast
from pathlib import Path

from codegen.descriptions.problem import Findings
from codegen.descriptions.spec import Specs
from codegen.descriptions.types import StructType


def check_changes(specs: Specs, context: StructType, module: Path, findings: Findings) -> None:
    """Report fields of the context that its class computes and the description does not mark."""
    computed = computed_values(module, context.name)
    for name, found in specs.struct(context).fields.items():
        if name in computed and not found.changes:
            findings.add(
                "changes-unmarked",
                found.position,
                f"`{name}` is computed whenever it is read, and a stream would read it once",
                hint="say `x-changes: true`",
            )


def computed_values(module: Path, name: str) -> set[str]:
    """
    Return what a class of a module computes when it is asked for it.

    That is its properties, and the names that its `__getattr__` compares with.
    """
    tree = ast.parse(module.read_text(encoding="utf-8")) if module.exists() else ast.Module([], [])
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    computed: set[str] = set()
    for node in (inner for one in classes if one.name == name for inner in ast.walk(one)):
        if not isinstance(node, ast.FunctionDef):
            continue
        if "property" in map(ast.unparse, node.decorator_list):
            computed.add(node.name)
        if node.name == "__getattr__":
            computed |= {
                str(item.value)
                for inner in ast.walk(node)
                if isinstance(inner, ast.Compare)
                for item in inner.comparators
                if isinstance(item, ast.Constant)
            }
    return computed
