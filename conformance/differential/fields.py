"""
What specs/ollama.yaml says can be sent: the operations, an example of each, and every field.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from conformance.suite.source import read_yaml
from conformance.suite.spec import SPEC

Path = tuple[str | int, ...]
DEPTH = 7
"""How deep fields are followed: schemas of tools hold schemas."""


@dataclass(frozen=True)
class Field:
    """A field of a request: where it stands, and the JSON types that it may have."""

    path: Path
    types: frozenset[str]


@dataclass(frozen=True)
class Operation:
    """An operation: how it is asked, bodies that it takes, and the fields of a body."""

    method: str
    path: str
    examples: tuple[Any, ...] = ()
    fields: tuple[Field, ...] = ()

    @property
    def route(self) -> str:
        """The route as docs/routes.md names it."""
        return f"{self.method} {self.path}"


@cache
def document() -> dict[str, Any]:
    """Return the description."""
    value: dict[str, Any] = read_yaml(SPEC).value
    return value


@cache
def operations() -> tuple[Operation, ...]:
    """Return all operations that the description has, in its order."""
    found = []
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            if not isinstance(operation, dict):
                continue  # the parameters of a path
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                found.append(Operation(method.upper(), path))
                continue
            examples = [one["value"] for one in content.get("examples", {}).values()]
            fields = tuple(walk(content["schema"], ()))
            found.append(Operation(method.upper(), path, tuple(examples) or ({},), fields))
    return tuple(found)


def walk(schema: dict[str, Any], path: Path) -> Iterator[Field]:
    """Yield the fields below a schema; an item of a list has the number 0."""
    schema = resolve(schema)
    if path:
        yield Field(path, frozenset(types_of(schema)))
    if len(path) >= DEPTH:
        return
    for part in [schema, *map(resolve, schema.get("oneOf", []))]:
        for name, inner in part.get("properties", {}).items():
            yield from walk(inner, (*path, name))
        if isinstance(part.get("items"), dict):
            yield from walk(part["items"], (*path, 0))


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what a schema refers to."""
    if "$ref" in schema:
        found: dict[str, Any] = document()["components"]["schemas"][
            schema["$ref"].rpartition("/")[2]
        ]
        return found
    return schema


def types_of(schema: dict[str, Any]) -> Iterator[str]:
    """Yield the JSON types that a schema allows."""
    stated = schema.get("type", [])
    yield from [stated] if isinstance(stated, str) else stated
    for part in schema.get("oneOf", []):
        yield from types_of(resolve(part))
