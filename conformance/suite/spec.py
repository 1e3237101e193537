"""
What specs/ollama.yaml says of an answer, as checks every case gets for free.

This module finds the schema of an answer, closes it against undeclared keys, and checks values and
the order of keys. It does not use the gateway's code, but reads the spec itself.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from conformance.suite.compare import Mismatch, show
from conformance.suite.source import read_yaml

SPEC = Path(__file__).parents[2] / "specs" / "ollama.yaml"
NDJSON = "application/x-ndjson"


class Spec:
    """An OpenAPI description, asked by method, path, status and media type."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._components = {
            name: _close(schema) for name, schema in document["components"]["schemas"].items()
        }
        self._paths = [
            (re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), item)
            for path, item in document["paths"].items()
        ]

    def answer_schema(
        self, method: str, path: str, status: int, media_type: str
    ) -> tuple[dict[str, Any] | None, str | None]:
        """
        Return the schema of an answer's value (of one line, for NDJSON), or a complaint.

        Both are None for routes that the spec does not have: those are other people's APIs.
        """
        operation = self._operation(method, path)
        if operation is None:
            return None, None
        response = self._resolve(_by_status(operation["responses"], status))
        if response is None:
            return None, f"a status that specs/ollama.yaml knows of {method} {path}"
        content = response.get("content", {})
        if media_type not in content:
            known = ", ".join(content) or "no body"
            return (
                None,
                f"a content type of specs/ollama.yaml for {method} {path} {status}: {known}",
            )
        schema = self._resolve(content[media_type].get("schema", {})) or {}
        return (schema.get("items", {}) if media_type == NDJSON else schema), None

    def component(self, name: str) -> dict[str, Any] | None:
        """Return a reference to a named component, or None when there is none."""
        if name not in self._components:
            return None
        return {"$ref": f"#/components/schemas/{name}"}

    def check(self, value: Any, schema: Mapping[str, Any], path: str) -> Iterator[Mismatch]:
        """Yield what of a value does not fit: types, missing and undeclared keys, key order."""
        whole = {**_close(dict(schema)), "components": {"schemas": self._components}}
        errors = list(Draft202012Validator(whole).iter_errors(value))
        for error in errors:
            yield from self._explain(error, path)
        if not errors:
            yield from self._check_order(value, schema, path)

    def _explain(self, error: ValidationError, path: str) -> Iterator[Mismatch]:
        place = ".".join([path, *map(str, error.absolute_path)])
        rule: Any = error.validator_value
        schema: Any = error.schema
        instance: Any = error.instance
        match error.validator:
            case "required":
                for key in rule:
                    if key not in instance:
                        yield Mismatch(f"{place}.{key}", "present (specs/ollama.yaml)", "absent")
            case "additionalProperties":
                for key in instance:
                    if key not in schema.get("properties", {}):
                        got = show(instance[key])
                        yield Mismatch(f"{place}.{key}", "no such key in specs/ollama.yaml", got)
            case "anyOf" | "oneOf" if error.context:
                best = min(error.context, key=_badness)
                branch = best.schema_path[0]
                for part in error.context:
                    if part.schema_path[0] == branch:
                        yield from self._explain(part, path)
            case _:
                yield Mismatch(place, f"{error.message} (specs/ollama.yaml)", show(error.instance))

    def _check_order(self, value: Any, schema: Any, path: str) -> Iterator[Mismatch]:
        schema = self._chosen(value, schema)
        if isinstance(value, list):
            for number, item in enumerate(value):
                yield from self._check_order(item, schema.get("items", {}), f"{path}.{number}")
        elif isinstance(value, dict) and "properties" in schema:
            declared = [key for key in schema["properties"] if key in value]
            if list(value) != declared:
                yield Mismatch(f"{path} (order of keys)", ", ".join(declared), ", ".join(value))
            for key, item in value.items():
                part = schema["properties"].get(key, {})
                yield from self._check_order(item, part, f"{path}.{key}")

    def _chosen(self, value: Any, part: Any) -> dict[str, Any]:
        schema = self._resolve(part) or {}
        for word in ("anyOf", "oneOf"):
            for choice in schema.get(word, ()):
                whole = {**_close(dict(choice)), "components": {"schemas": self._components}}
                if Draft202012Validator(whole).is_valid(value):
                    return self._chosen(value, choice)
        return schema

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        for pattern, item in self._paths:
            if pattern.fullmatch(path) and method.lower() in item:
                found: dict[str, Any] = item[method.lower()]
                return found
        return None

    def _resolve(self, part: Any) -> dict[str, Any] | None:
        while isinstance(part, Mapping) and "$ref" in part:
            target: Any = self._document
            for step in part["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            part = target
        return part if isinstance(part, dict) else None


def _badness(error: ValidationError) -> tuple[int, int]:
    branch = error.schema_path[0]
    context = error.parent.context if error.parent is not None else None
    siblings = [part for part in context or () if part.schema_path[0] == branch]
    return len(siblings), -len(error.absolute_path)


def _by_status(responses: Mapping[str, Any], status: int) -> Any:
    for key in (str(status), f"{status // 100}XX", "default"):
        if key in responses:
            return responses[key]
    return None


def _close(schema: Any) -> Any:
    """Refuse undeclared keys wherever the spec declares some and does not allow others."""
    if isinstance(schema, list):
        return [_close(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        key: copy.deepcopy(value) if key in {"enum", "const", "required"} else _close(value)
        for key, value in schema.items()
    }
    if isinstance(schema.get("properties"), dict) and not _is_open(schema):
        closed["additionalProperties"] = False
    return closed


def _is_open(schema: Mapping[str, Any]) -> bool:
    words = ("additionalProperties", "patternProperties", "allOf", "unevaluatedProperties", "$ref")
    return any(word in schema for word in words)


@cache
def load_spec(path: Path = SPEC) -> Spec | None:
    """Load the spec; None when the file does not exist."""
    return Spec(read_yaml(path).value) if path.is_file() else None
