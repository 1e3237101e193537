"""
What transforms and steps take and return, read from their text.

The generator never imports the gateway: a generator that runs the code it generates for can't
mend it when it is broken.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Parameter:
    """One parameter as annotated."""

    name: str
    annotation: str
    has_default: bool
    is_by_name: bool = False
    """Whether it can't be passed by place."""

    @property
    def takes_absent(self) -> bool:
        """Whether an absent value may be passed."""
        return "UnsetType" in _arms(self.annotation)

    @property
    def takes_null(self) -> bool:
        """Whether None may be passed."""
        return "None" in _arms(self.annotation)


@dataclass(frozen=True)
class Signature:
    """A function's name, parameters and returned type."""

    name: str
    parameters: tuple[Parameter, ...]
    returns: str
    documented: bool
    file: str
    line: int
    holds_model: bool
    """Whether it sets `run.lease`, and so keeps the model loaded for a call; only a step can."""
    needs_model: bool
    """Whether it reads `context.model`; only a step can."""

    @property
    def may_be_absent(self) -> bool:
        """Whether the function may return UNSET."""
        return "UnsetType" in _arms(self.returns)

    def without(self, names: tuple[str, ...]) -> Signature:
        """Return the signature less some parameters that the caller fills itself."""
        kept = tuple(item for item in self.parameters if item.name not in names)
        return replace(self, parameters=kept)


def read_signatures(path: Path, root: Path) -> dict[str, Signature]:
    """
    Return the public functions of a module, or of a package's public modules, by name.

    What does not exist has none.
    """
    if path.is_dir():
        modules = [
            module for module in sorted(path.glob("*.py")) if not module.name.startswith("_")
        ]
        return {
            name: signature
            for module in modules
            for name, signature in read_signatures(module, root).items()
        }
    if not path.exists():
        return {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name: _signature(node, path.relative_to(root).as_posix())
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
    }


def _arms(annotation: str) -> tuple[str, ...]:
    """Return a union's arms at its top: `list[str | None] | UnsetType` has two."""
    depth, start, found = 0, 0, []
    for index, letter in enumerate(annotation):
        depth += (letter in "[(") - (letter in "])")
        if letter == "|" and depth == 0:
            found.append(annotation[start:index].strip())
            start = index + 1
    return (*found, annotation[start:].strip())


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, file: str) -> Signature:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = len(positional) - len(arguments.defaults)
    parameters = [
        Parameter(item.arg, _text(item.annotation), index >= defaults)
        for index, item in enumerate(positional)
    ]
    parameters += [
        Parameter(item.arg, _text(item.annotation), default is not None, is_by_name=True)
        for item, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return Signature(
        node.name,
        tuple(parameters),
        _text(node.returns),
        ast.get_docstring(node) is not None,
        file,
        node.lineno,
        any(_is_lease(inner) for inner in ast.walk(node)),
        any(_is_model(inner) for inner in ast.walk(node)),
    )


def _is_lease(node: ast.AST) -> bool:
    """Whether this sets `run.lease`, however the run is named."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(item, ast.Attribute) and item.attr == "lease" for item in targets)


def _is_model(node: ast.AST) -> bool:
    """Whether this is `run.context.model`, however the run is named."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "model"
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "context"
    )


def _text(node: ast.expr | None) -> str:
    return ast.unparse(node) if node is not None else ""
