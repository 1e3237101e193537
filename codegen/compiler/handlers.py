"""
Checks `handled_by` and `x-read-by`, which say what deals with a field instead of a rule.

A name is one of these:

- `gateway.engine.relay`, a module of the gateway, or `gateway.engine.relay.Relay`, what stands at
  its top;
- `plan`, `calls.chat`, `answers.load`, `shapes.tool` …, a part of the same mapping file, or
  `host.calls.download_state`, one of another;
- `$context.now`, what rules read of a request's context, settings among it;
- `LM Studio`, which decides what its own people set there.
"""

from __future__ import annotations

import ast
from dataclasses import fields, is_dataclass
from functools import cache, lru_cache
from pathlib import Path

from codegen.compiler.builder import REQUEST_CONTEXT, Project
from codegen.compiler.coverage import OUR_OWN
from codegen.descriptions.problem import Position, did_you_mean
from codegen.descriptions.types import StructType, Type
from codegen.rules.model import SHARED, MappingFile, Reason

OUTSIDE = ("LM Studio",)
PARTS = ("answers", "calls", "reports", "shapes", "streams", "tables")


def check_handlers(project: Project, root: Path) -> None:
    """Report reasons and notes that name a handler that does not exist."""
    owners = {file.file: file for file in project.files.values()}
    for reason in _reasons_in(list(owners.values())):
        owner, name = owners.get(reason.position.file), reason.handled_by
        if owner is None or name is None:
            continue
        # A reason in the shared file may name a part that any of the files has.
        meant = owners.values() if owner.name == SHARED else (owner,)
        if not any(_exists(name, project, file, root) for file in meant):
            project.findings.add(
                "no-such-handler",
                reason.position,
                f"`{name}` is no module, part of a mapping or value of `$context`",
                hint=did_you_mean(name, _parts_of(owner)),
            )
    for api in OUR_OWN:
        for name in project.specs.components(api):
            for field in project.specs.struct(StructType(api, name)).fields.values():
                if field.read_by is not None:
                    _check_reader(project, root, field.read_by, field.attribute, field.position)


def _check_reader(
    project: Project, root: Path, reader: str, attribute: str, where: Position
) -> None:
    """A field that no mapping reads is read by the module that its description names."""
    text = _text_of(root, reader)
    if text is None:
        project.findings.add("no-such-handler", where, f"`{reader}` is no module of the gateway")
    elif attribute not in _words_of(text):
        project.findings.add(
            "no-such-handler", where, f"`{reader}` does not name `{attribute}`, so it can't read it"
        )


def _exists(name: str, project: Project, file: MappingFile, root: Path) -> bool:
    head, _, rest = name.partition(".")
    if name in OUTSIDE or name in _parts_of(file):
        return True
    if head == "$context":
        return _leads_somewhere(project, rest.split("."))
    if head == "gateway":
        return _text_of(root, name) is not None or _stands_in(root, name)
    other = project.files.get(head)
    return other is not None and rest in _parts_of(other)


def _parts_of(file: MappingFile) -> list[str]:
    """Return the names of a mapping file's parts, as reasons write them."""
    named = [f"{part}.{name}" for part in PARTS for name in getattr(file, part)]
    return ["plan", *named] if file.plan else named


def _leads_somewhere(project: Project, parts: list[str]) -> bool:
    kind: Type = REQUEST_CONTEXT
    for part in parts:
        known = project.specs.struct(kind).fields if isinstance(kind, StructType) else {}
        if part not in known:
            return False
        kind = known[part].type
    return True


def _stands_in(root: Path, name: str) -> bool:
    module, _, definition = name.rpartition(".")
    text = _text_of(root, module)
    return text is not None and definition in _defined_in(text)


def _text_of(root: Path, module: str) -> str | None:
    path = root.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return None


@lru_cache(maxsize=64)
def _defined_in(text: str) -> frozenset[str]:
    """Return the functions and classes at the top of a module."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(node.name for node in ast.parse(text).body if isinstance(node, kinds))


@lru_cache(maxsize=64)
def _words_of(text: str) -> frozenset[str]:
    """Return the attributes and keywords that a module names."""
    nodes = list(ast.walk(ast.parse(text)))
    found = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    found |= {node.arg for node in nodes if isinstance(node, ast.keyword) and node.arg is not None}
    return frozenset(found)


def _reasons_in(value: object) -> list[Reason]:
    """Return every reason of a mapping file, wherever it stands."""
    found: list[Reason] = []
    _add_reasons(value, found)
    return found


def _add_reasons(value: object, found: list[Reason]) -> None:
    if isinstance(value, Reason):
        found.append(value)
    elif isinstance(value, dict):
        for item in value.values():
            _add_reasons(item, found)
    elif isinstance(value, tuple | list):
        for item in value:
            _add_reasons(item, found)
    else:
        for name in _attributes_of(type(value)):  # type: ignore[arg-type]  # mypy takes classes for unhashable
            _add_reasons(getattr(value, name), found)


@cache
def _attributes_of(kind: type) -> tuple[str, ...]:
    """Return the attributes of a dataclass; of anything else, none."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()
