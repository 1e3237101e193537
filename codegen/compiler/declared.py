"""
Types that Python functions declare, read from their text, in the terms of the descriptions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from codegen.descriptions.problem import Position
from codegen.descriptions.signatures import Signature
from codegen.descriptions.spec import Specs
from codegen.descriptions.types import (
    AnyType,
    ArrayType,
    MapType,
    RawType,
    ScalarType,
    StructType,
    Type,
    fits,
    union,
)

NAMED: dict[str, Type] = {
    "str": ScalarType("string"),
    "int": ScalarType("integer"),
    "float": ScalarType("number"),
    "bool": ScalarType("boolean"),
    "Raw": RawType(),
    "Any": AnyType(),
    "object": AnyType(),
    # What a transform of a `rewrite` makes; no value of a description has this type.
    "Rewriter": AnyType(),
}


@dataclass(frozen=True)
class Declared:
    """What an annotation says; `None` and `UnsetType` belong to the place and not to the type."""

    type: Type
    absent: bool = False
    null: bool = False
    is_readable: bool = True
    """False for an annotation in words that descriptions do not have; `type` is then anything."""

    def takes(self, source: Type) -> bool:
        """Tell whether a value of a described type may be passed here, absence and null aside."""
        return isinstance(self.type, AnyType) or fits(source, self.type)

    @property
    def is_boolean(self) -> bool:
        """Whether it is true or false, and nothing else."""
        return self.type == ScalarType("boolean") and not self.null

    @property
    def is_text(self) -> bool:
        """Whether it is a text, if it is there."""
        return isinstance(self.type, ScalarType) and self.type.name == "string" and not self.null


def declared(text: str, specs: Specs) -> Declared:
    """Return what an annotation says; `internal.Speech` is a component of that description."""
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:
        return Declared(AnyType(), is_readable=False)
    return _declared(node, specs)


def declared_at(signature: Signature) -> Position:
    """Return where a transform or step stands."""
    return Position(signature.file, signature.line, 1)


def _declared(node: ast.expr, specs: Specs) -> Declared:
    parts = list(_arms(node))
    absent = any(isinstance(part, ast.Name) and part.id == "UnsetType" for part in parts)
    null = any(isinstance(part, ast.Constant) and part.value is None for part in parts)
    types = [_type(part, specs) for part in parts if not _is_absence(part)]
    known = [type_ for type_ in types if type_ is not None]
    if not types and (absent or null):
        return Declared(AnyType(), absent, null)
    if len(known) < len(parts) - absent - null or not known:
        return Declared(AnyType(), absent, null, is_readable=False)
    return Declared(union(known), absent, null)


def _arms(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _arms(node.left)
        yield from _arms(node.right)
    else:
        yield node


def _is_absence(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "UnsetType") or (
        isinstance(node, ast.Constant) and node.value is None
    )


def _type(node: ast.expr, specs: Specs) -> Type | None:
    match node:
        case ast.Name(id=name):
            return NAMED.get(name)
        case ast.Attribute(value=ast.Name(id="msgspec"), attr="Raw"):
            return RawType()
        case ast.Attribute(value=ast.Name(id=api), attr=name) if name in specs.components(api):
            return StructType(api, name)
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            held = _declared(item, specs)
            return ArrayType(held.type, held.null) if held.is_readable else None
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[_, item])):
            held = _declared(item, specs)
            return MapType(held.type, held.null) if held.is_readable else None
        case ast.Subscript(value=ast.Name(id="Literal"), slice=words):
            items = words.elts if isinstance(words, ast.Tuple) else [words]
            texts = [item.value for item in items if isinstance(item, ast.Constant)]
            if len(texts) == len(items) and all(isinstance(text, str) for text in texts):
                return ScalarType("string", tuple(str(text) for text in texts))
            return None
        case _:
            return None


def yielded(signature: Signature, specs: Specs) -> Declared | None:
    """Return what an async generator yields; None for a function that is awaited."""
    try:
        node = ast.parse(signature.returns, mode="eval").body
    except SyntaxError:
        return None
    match node:
        case ast.Subscript(value=ast.Name(id="AsyncIterator"), slice=item):
            return _declared(item, specs)
        case _:
            return None
