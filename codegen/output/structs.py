"""
msgspec structs from the specs, through datamodel-code-generator.

Only components that a mapping can reach are generated, under the spec's own names and with fields
in the spec's order: the order of a struct is the order on the wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from datamodel_code_generator import (
    InputFileType,
    LiteralType,
    PythonVersion,
    generate,
)
from datamodel_code_generator.enums import DataModelType
from datamodel_code_generator.format import Formatter
from datamodel_code_generator.model import msgspec as msgspec_model

from codegen.descriptions.source import Plain, plain
from codegen.descriptions.spec import Specs

RAW = {"type": "string", "customTypePath": "msgspec.Raw"}
CONSTRAINTS = frozenset(
    {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength",
        "minItems", "maxItems", "pattern", "multipleOf", "format", "examples", "example",
        "description", "title", "uniqueItems", "readOnly", "writeOnly", "deprecated",
    }
)  # fmt: skip
"""Keywords that say nothing of a struct; limits are checked by plans, in Ollama's own words."""

GO_INT: dict[str, Plain] = {"minimum": -(2**63), "maximum": 2**63 - 1}
"""What an integer of a client's body may be: Go's `int` (docs/facts/ollama.md#integers)."""


def generate_structs(
    specs: Specs, api: str, names: Iterable[str], requests: frozenset[str], header: str
) -> str:
    """
    Return the Python text of an API's structs.

    `names` are the components wanted (what they refer to comes along). Those in `requests` refuse
    unknown keys: a key that the fast decode can't place sends a body to the lenient reader.
    """
    found = closure(specs, api, names)
    schemas = {
        name: _cleaned(plain(schema), is_request=name in requests)
        for name, schema in specs.components(api).items()
        if name in found
    }
    document = {
        "openapi": "3.1.0",
        "info": {"title": api, "version": "1"},
        "paths": {},
        "components": {"schemas": schemas},
    }
    # Values of JSON have no reference cycles, so the garbage collector need not track them.
    options: dict[str, Any] = {
        name: {
            "base_class_kwargs": {"gc": False}
            | ({"forbid_unknown_fields": True} if name in requests else {})
        }
        for name in found
    }
    return _generate(document, header, options)


def _generate(document: dict[str, Any], header: str, options: dict[str, Any]) -> str:
    original = msgspec_model.Struct.order_fields_for_construction
    # The generator moves required fields to the front, and with them the order on the wire.
    # mypy refuses to replace a method, here and below.
    msgspec_model.Struct.order_fields_for_construction = classmethod(  # type: ignore[method-assign, assignment]
        lambda cls, fields: list(fields)
    )
    try:
        text = generate(
            document,
            input_file_type=InputFileType.OpenAPI,
            output_model_type=DataModelType.MsgspecStruct,
            target_python_version=PythonVersion.PY_311,
            keyword_only=True,
            enum_field_as_literal=LiteralType.All,
            use_union_operator=True,
            use_standard_collections=True,
            disable_timestamp=True,
            custom_file_header=header,
            formatters=[Formatter.BUILTIN],
            extra_template_data=cast("Any", options) or None,
        )
    finally:
        msgspec_model.Struct.order_fields_for_construction = original  # type: ignore[method-assign]  # as above
    assert isinstance(text, str)
    return text


def _cleaned(schema: Plain, *, is_request: bool) -> Plain:
    if isinstance(schema, list):
        return [_cleaned(item, is_request=is_request) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-decode") == "raw":
        return dict(RAW)
    if schema.get("x-decode") == "any":
        return {}
    cleaned: dict[str, Plain] = {}
    for key, value in schema.items():
        if key == "properties" and isinstance(value, dict):
            cleaned[key] = {
                name: _cleaned(item, is_request=is_request) for name, item in value.items()
            }
        elif key not in CONSTRAINTS and not key.startswith("x-"):
            cleaned[key] = _cleaned(value, is_request=is_request)
    kind = cleaned.get("type")
    words = kind if isinstance(kind, list) else [kind]
    if is_request and "integer" in words and "number" not in words:
        cleaned |= GO_INT
    return cleaned


def closure(specs: Specs, api: str, names: Iterable[str]) -> frozenset[str]:
    """Return the components of an API and all that they refer to, late values and shapes too."""
    components = specs.components(api)
    waiting, found = list(names), set[str]()
    while waiting:
        name = waiting.pop()
        if name in found or name not in components:
            continue
        found.add(name)
        waiting.extend(_references(plain(components[name])))
    return frozenset(found)


def _references(schema: Plain) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item)
    elif isinstance(schema, dict):
        for note in ("x-late", "x-go-shape"):
            named = schema.get(note)
            if isinstance(named, str):
                yield named
        if schema.get("x-decode") in ("raw", "any"):
            return
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/components/schemas/"):
            yield reference.rsplit("/", 1)[-1]
        for value in schema.values():
            yield from _references(value)


def header_for(source: Path) -> str:
    """Return the marker line of a generated module."""
    return f"# Generated by codegen from {source.as_posix()}. Do not edit; run `nox -s codegen`."
