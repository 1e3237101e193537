"""
`python -m codegen.upstream_diff FILE [--api NAME]`: what a vendor's new document would change.

Any OpenAPI document is compared with ours, operation by operation and field by field: what is new,
gone or retyped, and which rules touch it. Nothing is written; a person edits the spec.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from codegen.__main__ import ROOT
from codegen.compiler.coverage import Row
from codegen.descriptions.problem import GenerationFailed, render
from codegen.descriptions.spec import METHODS
from codegen.generator import Generator

APIS = ("ollama", "openai", "lmstudio")
MAX_DEPTH = 12


@dataclass(frozen=True, order=True)
class Change:
    """One difference: where, what kind, and the two types."""

    operation: str
    side: str
    path: str
    kind: str
    ours: str = ""
    theirs: str = ""

    def __str__(self) -> str:
        where = f"{self.operation}: {self.side} `{self.path}`" if self.path else self.operation
        match self.kind:
            case "retyped":
                return f"retyped  {where}: {self.ours} → {self.theirs}"
            case _:
                return f"{self.kind:8} {where}"


class Document:
    """An OpenAPI document with its references resolved by `referencing`."""

    def __init__(self, contents: dict[str, Any]) -> None:
        self.contents = contents
        resource = Resource.from_contents(contents, default_specification=DRAFT202012)
        self._resolver = Registry().with_resource("", resource).resolver()

    def operations(self) -> dict[str, dict[str, Any]]:
        """Return operations by `method /path`."""
        return {
            f"{method} {path}": operation
            for path, item in self.contents.get("paths", {}).items()
            for method, operation in item.items()
            if method in METHODS
        }

    def sides(self, operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the fields of an operation's request and of its successful answers."""
        body = self._resolved(operation.get("requestBody", {}))
        yield "request", self._media_fields(body)
        fields: dict[str, str] = {}
        for status, answer in operation.get("responses", {}).items():
            if str(status).startswith("2"):
                fields |= self._media_fields(self._resolved(answer))
        yield "answer", fields

    def _media_fields(self, holder: dict[str, Any]) -> dict[str, str]:
        fields: dict[str, str] = {}
        for media in holder.get("content", {}).values():
            schema = self._resolved(media.get("schema", {}))
            if schema.get("type") == "array":
                # A stream is described as the list of its items.
                schema = schema.get("items", {})
            self._walk(schema, "", fields, 0)
        return fields

    def _walk(self, schema: Any, path: str, fields: dict[str, str], depth: int) -> None:
        schema = self._resolved(schema)
        if depth > MAX_DEPTH or not isinstance(schema, dict):
            return
        for word in ("oneOf", "anyOf", "allOf"):
            for part in schema.get(word, ()):
                self._walk(part, path, fields, depth + 1)
        if "x-late" in schema:
            self._walk(
                {"$ref": f"#/components/schemas/{schema['x-late']}"}, path, fields, depth + 1
            )
        for name, value in schema.get("properties", {}).items():
            inner = f"{path}.{name}" if path else name
            fields[inner] = self._type(value)
            self._walk(value, inner, fields, depth + 1)
        if "items" in schema:
            self._walk(schema["items"], f"{path}.*" if path else "*", fields, depth + 1)

    def _type(self, schema: Any) -> str:
        return "|".join(sorted(set(self._types(schema, 0)))) or "any"

    def _types(self, schema: Any, depth: int) -> Iterator[str]:
        schema = self._resolved(schema)
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return
        stated = schema.get("type", ())
        yield from [stated] if isinstance(stated, str) else stated
        if not stated and "properties" in schema:
            yield "object"
        for word in ("oneOf", "anyOf", "allOf"):
            for part in schema.get(word, ()):
                yield from self._types(part, depth + 1)

    def _resolved(self, value: Any) -> Any:
        seen = 0
        while isinstance(value, dict) and "$ref" in value and seen < MAX_DEPTH:
            try:
                value = self._resolver.lookup(value["$ref"]).contents
            except Unresolvable:
                return {}
            seen += 1
        return value if value is not None else {}


def compare(ours: Document, theirs: Document) -> list[Change]:
    """Return every difference, operations first."""
    changes: list[Change] = []
    own, other = ours.operations(), theirs.operations()
    changes += [Change(name, "", "", "new") for name in other if name not in own]
    changes += [Change(name, "", "", "gone") for name in own if name not in other]
    for name in own:
        if name not in other:
            continue
        sides = zip(ours.sides(own[name]), theirs.sides(other[name]), strict=True)
        for (side, before), (_, after) in sides:
            for path in sorted({*before, *after}):
                if path not in before:
                    changes.append(Change(name, side, path, "new", theirs=after[path]))
                elif path not in after:
                    changes.append(Change(name, side, path, "gone", ours=before[path]))
                elif _widened(before[path], after[path]):
                    changes.append(Change(name, side, path, "retyped", before[path], after[path]))
    return changes


def _widened(ours: str, theirs: str) -> bool:
    if "any" in (ours, theirs):
        return False
    before, after = set(ours.split("|")), set(theirs.split("|"))
    # A number covers integers, and we let null through wherever the wire has shown it.
    covered = before | ({"integer"} if "number" in before else set())
    return not after <= covered


class Rules:
    """Which rules touch a field, read off the compiled mappings."""

    def __init__(self, generator: Generator, api: str) -> None:
        generator.compile()
        self._rows = generator.project.coverage.rows
        self._calls = {
            f"call {call.name}": (file.name, f"{call.api} {call.operation}")
            for file in generator.project.files.values()
            for call in file.calls.values()
        }
        self._clients = {
            file.name: [f"{file.api} {name}" for name, _ in file.operations]
            for file in generator.project.files.values()
        }
        self._api = api

    def touching(self, change: Change) -> list[str]:
        """Return the rules that read or set a changed field, as the coverage page words them."""
        if not change.path:
            return []
        return sorted({self._line(row) for row in self._rows if self._touches(row, change)})

    def _touches(self, row: Row, change: Change) -> bool:
        operation = f"{self._api} {change.operation}"
        belongs = operation in self._clients.get(row.mapping, ()) or (
            self._calls.get(row.label, ("", ""))[1] == operation
        )
        if not belongs:
            return False
        reads = row.source.api == self._api and (
            row.path == change.path or row.path.startswith(change.path + ".")
        )
        return reads or f"`{change.path}`" in row.outcome

    @staticmethod
    def _line(row: Row) -> str:
        return f"{row.mapping}{' ' + row.label if row.label else ''}: `{row.path}` {row.outcome}"


def guess_api(theirs: Document, own: dict[str, Document]) -> str:
    """Return the API of ours that shares most operations with a document."""
    names = set(theirs.operations())
    return max(own, key=lambda api: len(names & set(own[api].operations())))


def main(arguments: list[str] | None = None) -> int:
    """Print the differences; return 0 when there are none, 1 when there are, 2 on bad input."""
    parser = argparse.ArgumentParser(prog="upstream-diff", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--api", choices=APIS, help="guessed from the operations when left out")
    options = parser.parse_args(arguments)
    try:
        theirs = Document(_read(options.file))
    except (OSError, YAMLError, ValueError) as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 2
    own = {api: Document(_read(ROOT / "specs" / f"{api}.yaml")) for api in APIS}
    api = options.api or guess_api(theirs, own)
    changes = compare(own[api], theirs)
    try:
        rules = Rules(Generator(ROOT), api)
    except GenerationFailed as failure:
        print(render(failure.problems, ROOT), file=sys.stderr)
        return 2
    print(f"{options.file} against specs/{api}.yaml: {len(changes)} difference(s)")
    for change in changes:
        print(change)
        for line in rules.touching(change):
            print(f"           {line}")
    return 1 if changes else 0


def _read(path: Path) -> dict[str, Any]:
    contents = YAML(typ="safe", pure=True).load(path)
    if not isinstance(contents, dict) or "paths" not in contents:
        raise ValueError("this is no OpenAPI document: it has no `paths`")
    return contents


if __name__ == "__main__":
    raise SystemExit(main())
