"""
YAML for cases and fixtures, with the line of everything that may be complained about.

This module reads a file and reports positions in it. It does not know what a case or a fixture
means. Scalars are YAML 1.2 (`on`, `no` and dates are words). Duplicate keys, anchors and merges are
refused, as in the project's other data files.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema import Draft202012Validator
from ruamel.yaml.error import MarkedYAMLError, YAMLStreamError

from codegen.descriptions.nodes import Node, compose

Keys = tuple[str | int, ...]


class SourceProblem(Exception):
    """One or more things wrong in data files; each line reads `file:line:column: what is wrong`."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass
class Document:
    """A file's plain value, and the place (line, column from one) of every key and item in it."""

    path: Path
    value: Any
    places: dict[Keys, tuple[int, int]] = field(default_factory=dict)

    def at(self, keys: Keys) -> str:
        """Return `file:line:column` of a value, or of its nearest parent that has a place."""
        for length in range(len(keys), -1, -1):
            place = self.places.get(keys[:length])
            if place:
                return f"{self.path}:{place[0]}:{place[1]}"
        return f"{self.path}:1:1"


def read_yaml(path: Path) -> Document:
    """Read one file; raises `SourceProblem` with every problem of the YAML itself."""
    try:
        node = compose(path, kind="rt")
    except (MarkedYAMLError, YAMLStreamError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        words = getattr(error, "problem", None) or getattr(error, "context", None) or error
        raise SourceProblem([f"{path}:{place}: not YAML: {words}"]) from None
    document = Document(path, None)
    problems: list[str] = []
    if node is not None:
        document.value = _build(node, (), document, problems)
    if problems:
        raise SourceProblem(problems)
    return document


def _build(node: Node, keys: Keys, document: Document, problems: list[str]) -> Any:
    document.places.setdefault(keys, (node.start_mark.line + 1, node.start_mark.column + 1))
    if getattr(node, "anchor", None):
        problems.append(f"{document.at(keys)}: anchors and aliases are not allowed here")
    if node.id == "mapping":
        return _build_mapping(node, keys, document, problems)
    if node.id == "sequence":
        return [
            _build(item, (*keys, number), document, problems)
            for number, item in enumerate(node.value)
        ]
    assert node.id == "scalar"
    return _scalar(node)


def _build_mapping(
    node: Node, keys: Keys, document: Document, problems: list[str]
) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key_node, value_node in node.value:
        mark = key_node.start_mark
        if key_node.id != "scalar" or key_node.value == "<<":
            problems.append(
                f"{document.path}:{mark.line + 1}:{mark.column + 1}: a key must be a word"
            )
            continue
        key = str(key_node.value)
        if key in value:
            problems.append(
                f"{document.path}:{mark.line + 1}:{mark.column + 1}: `{key}` stands here twice"
            )
        document.places[(*keys, key)] = (mark.line + 1, mark.column + 1)
        value[key] = _build(value_node, (*keys, key), document, problems)
    return value


def _scalar(node: Node) -> str | int | float | bool | None:
    text = str(node.value)
    match str(node.tag).rsplit(":", 1)[-1]:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text.replace("_", ""), 0)
        case "float":
            number = float(text.replace(".inf", "inf").replace(".nan", "nan"))
            return number if math.isfinite(number) else text
        case _:
            return text


def schema_problems(
    document: Document, keys: Keys, value: Any, schema: Mapping[str, Any]
) -> Iterator[str]:
    """Check a part of a document against a JSON Schema, in words a person can act on."""
    validator = Draft202012Validator(schema)
    for error in validator.iter_errors(value):
        for place, words in _explain(error):
            yield f"{document.at((*keys, *place))}: {words}"


def _explain(error: jsonschema.ValidationError) -> Iterator[tuple[Keys, str]]:
    place: Keys = tuple(error.absolute_path)
    where = ".".join(map(str, place)) or "this entry"
    rule: Any = error.validator_value
    schema: Any = error.schema
    instance: Any = error.instance
    match error.validator:
        case "additionalProperties":
            known = list(schema.get("properties", {}))
            for key in instance:
                if key not in known:
                    yield (*place, key), f"`{key}` is not a key of {where}{_nearest(key, known)}"
        case "required":
            for key in rule:
                if key not in instance:
                    yield place, f"{where} lacks `{key}`"
        case "type":
            kinds = rule if isinstance(rule, str) else " or ".join(rule)
            yield place, f"{where} must be of type {kinds}, this is {_kind(instance)}"
        case "enum":
            words = ", ".join(map(str, rule))
            yield place, f"{where} must be one of {words}; this is {instance!r}"
        case "pattern":
            yield place, f"{where} must match {rule}; this is {instance!r}"
        case "anyOf" | "oneOf" if error.context:
            deepest = max(error.context, key=lambda part: len(part.absolute_path))
            yield from _explain(deepest)
        case "dependentRequired":
            yield place, f"{where}: {error.message}"
        case _:
            yield place, f"{where}: {error.message}"


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
