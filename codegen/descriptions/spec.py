"""
The API descriptions, read for what rules need: components, fields, operations.

`$ref` is resolved inside a file and between the files of `specs/`; nothing outside them exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from codegen.descriptions.problem import Findings, Position, did_you_mean
from codegen.descriptions.source import Mapping, Scalar, Sequence, Value, load
from codegen.descriptions.types import (
    AnyType,
    ArrayType,
    Field,
    MapType,
    RawType,
    ScalarName,
    ScalarType,
    Struct,
    StructType,
    Type,
    union,
)

METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"


@dataclass(frozen=True)
class Operation:
    """One method of one path: what it takes and what each status answers."""

    api: str
    method: str
    path: str
    position: Position
    request: Type | None
    reads_body: bool = True
    """Whether more is asked of a body than that it is there."""
    answers: dict[str, dict[str, Type]] = field(default_factory=dict)
    takes_bytes: bool = False
    """Whether its body is a file and not JSON."""
    runs_model: bool = False
    """Whether a model runs for it, which a plan must have made sure of."""

    def answered(self, *media: str) -> tuple[Type, ...]:
        """Return what it answers with a status of success, in some media types."""
        return tuple(
            kinds[name]
            for status, kinds in self.answers.items()
            if status.startswith("2")
            for name in media
            if name in kinds
        )

    @property
    def name(self) -> str:
        """The operation as rules write it."""
        return f"{self.method} {self.path}"


class Specs:
    """Every spec of the project, by its file's stem (`ollama`, `openai`, `lmstudio`, ...)."""

    def __init__(self, folder: Path, root: Path, findings: Findings) -> None:
        self._findings = findings
        self._structs: dict[StructType, Struct] = {}
        self._operations: dict[str, tuple[Operation, ...]] = {}
        self._components: dict[str, dict[str, Mapping]] = {}
        self.documents: dict[str, Mapping] = {}
        for path in sorted(folder.glob("*.yaml")):
            self.documents[path.name.split(".")[0]] = load(path, root, findings)

    def struct(self, type_: StructType) -> Struct:
        """Return a component's fields; an unknown name yields an empty struct and a problem."""
        known = self._structs.get(type_)
        if known is None:
            known = self._read_struct(type_)
            self._structs[type_] = known
        return known

    def add_struct(self, struct: Struct) -> None:
        """Make known a struct that no spec describes."""
        self._structs[struct.type] = struct

    def find_struct(self, text: str, position: Position) -> StructType | None:
        """Return the type that a rule names as `api:Component`, or record `no-such-type`."""
        api, _, name = text.partition(":")
        components = self.components(api)
        if name in components:
            return StructType(api, name)
        hint = (
            did_you_mean(name, components)
            if api in self.documents
            else did_you_mean(api, self.documents)
        )
        self._findings.add("no-such-type", position, f"`{text}`: no such component", hint=hint)
        return None

    def components(self, api: str) -> dict[str, Mapping]:
        """Return the component schemas of one spec by name."""
        if api not in self._components:
            schemas = _descend(self.documents.get(api), "components", "schemas")
            items = schemas.items() if isinstance(schemas, Mapping) else ()
            self._components[api] = {
                key.text: value for key, value in items if isinstance(value, Mapping)
            }
        return self._components[api]

    def place_of(self, api: str, name: str) -> Position:
        """Return where a component of a spec is named."""
        schemas = _descend(self.documents[api], "components", "schemas")
        assert isinstance(schemas, Mapping)
        return schemas.key(name).position

    def operations(self, api: str) -> tuple[Operation, ...]:
        """Return an API's operations in the order of its file."""
        if api not in self._operations:
            self._operations[api] = tuple(self._read_operations(api))
        return self._operations[api]

    def _read_operations(self, api: str) -> Iterator[Operation]:
        document = self.documents.get(api)
        paths = document.get("paths") if document else None
        if not isinstance(paths, Mapping):
            return
        for path, item in paths.items():
            if not isinstance(item, Mapping):
                continue
            for method, body in item.items():
                if method.text in METHODS and isinstance(body, Mapping):
                    yield self._operation(api, method.text, path.text, method.position, body)

    def operation(self, api: str, name: str, position: Position) -> Operation | None:
        """Return the operation that a rule names as `post /api/chat`, or record a problem."""
        known = {operation.name: operation for operation in self.operations(api)}
        if name in known:
            return known[name]
        if api not in self.documents:
            self._findings.add(
                "no-such-operation",
                position,
                f"`{name}`: there is no spec of {api}",
                hint=did_you_mean(api, self.documents),
            )
            return None
        self._findings.add(
            "no-such-operation",
            position,
            f"`{name}`: {api} has no such operation",
            hint=did_you_mean(name, known),
        )
        return None

    def type_of(self, api: str, schema: Value | None) -> Type:
        """Return the type of a schema, null left out."""
        return self._type(api, schema)[0]

    def _operation(
        self, api: str, method: str, path: str, position: Position, body: Mapping
    ) -> Operation:
        request = None
        content = _descend(body, "requestBody", "content", JSON, "schema")
        if content is not None:
            request = self.type_of(api, content)
        answers: dict[str, dict[str, Type]] = {}
        responses = body.get("responses")
        if isinstance(responses, Mapping):
            for status, answer in responses.items():
                answer = self.follow(api, answer)[1]
                media = _descend(answer, "content")
                answers[status.text] = (
                    {
                        kind.text: self.type_of(api, _descend(value, "schema"))
                        for kind, value in media.items()
                    }
                    if isinstance(media, Mapping)
                    else {}
                )
        reads_body = not _is_set(body, "x-go-unread")
        if not reads_body:
            request = None
        takes_bytes = _descend(body, "requestBody", "content", "application/octet-stream")
        return Operation(
            api,
            method,
            path,
            position,
            request,
            reads_body,
            answers,
            takes_bytes=takes_bytes is not None,
            runs_model=_is_set(body, "x-runs-model"),
        )

    def _read_struct(self, type_: StructType) -> Struct:
        schema = self.components(type_.api).get(type_.name)
        if schema is None:
            document = self.documents.get(type_.api)
            position = document.position if document else Position("specs", 1, 1)
            self._findings.add("no-such-type", position, f"`{type_}`: no such component")
            return Struct(type_, position)
        required = _words(schema.get("required"))
        fields: dict[str, Field] = {}
        properties = schema.get("properties")
        if isinstance(properties, Mapping):
            for key, value in properties.items():
                kind, nullable = self._type(type_.api, value)
                fields[key.text] = Field(
                    name=key.text,
                    type=kind,
                    required=key.text in required,
                    nullable=nullable,
                    position=key.position,
                    refusal=_word(value, "x-refusal"),
                    item_refusal=_word(_descend(value, "items"), "x-refusal"),
                    read_by=_word(value, "x-read-by"),
                    changes=_is_set(value, "x-changes"),
                    appends=_is_set(value, "x-appends"),
                    begins_prompt=_is_set(value, "x-begins-prompt"),
                    ends_beginning=_word(value, "x-ends-beginning"),
                    needs=_needs(value),
                    asks_context=_is_set(value, "x-asks-context"),
                )
        return Struct(type_, schema.position, fields)

    def _type(self, api: str, schema: Value | None) -> tuple[Type, bool]:
        if not isinstance(schema, Mapping):
            return AnyType(), True
        if _word(schema, "x-decode") == "raw":
            late = _word(schema, "x-late")
            if late is not None and late not in self.components(api):
                self._findings.add(
                    "no-such-reference",
                    schema.key("x-late").position,
                    f"`{late}` is no component of {api}",
                    hint=did_you_mean(late, self.components(api)),
                )
                late = None
            # Null reaches a raw field as the bytes `null`, so the field itself is never None.
            return RawType((api, late) if late else None), False
        if _word(schema, "x-decode") == "any":
            return AnyType(), True
        if "$ref" in schema:
            return self._reference(api, schema)
        for word in ("oneOf", "anyOf"):
            choices = schema.get(word)
            if isinstance(choices, Sequence):
                return self._choices(api, choices)
        return self._plain_type(api, schema)

    def _choices(self, api: str, choices: Sequence) -> tuple[Type, bool]:
        kinds: list[Type] = []
        nullable = False
        for choice in choices:
            if _word(choice, "type") == "null":
                nullable = True
                continue
            kind, also_null = self._type(api, choice)
            nullable = nullable or also_null
            kinds.append(kind)
        return (union(kinds) if kinds else AnyType()), nullable

    def _plain_type(self, api: str, schema: Mapping) -> tuple[Type, bool]:
        stated = schema.get("type")
        names = _words(stated) if isinstance(stated, Sequence) else (_word(schema, "type"),)
        nullable = "null" in names
        found = [self._one(api, name, schema) for name in names if name != "null"]
        kinds: list[Type] = [kind for kind in found if kind is not None] or [AnyType()]
        if names == (None,):
            nullable = True
        # `integer | number` is a number whose integers keep their exactness.
        return union(kinds), nullable

    def _one(self, api: str, name: str | None, schema: Mapping) -> Type | None:
        match name:
            case "string" | "integer" | "number" | "boolean":
                return ScalarType(_scalar_name(name), _enum(schema) if name == "string" else None)
            case "array":
                return ArrayType(*self._item(api, schema.get("items")))
            case "object":
                if "properties" in schema:
                    self._findings.add(
                        "inline-object",
                        schema.position,
                        "an object with properties needs a name: make it a component and `$ref` it",
                    )
                values = schema.get("additionalProperties")
                return MapType(*self._item(api, values), self._keys(schema))
            case _:
                return None

    def _item(self, api: str, schema: Value | None) -> tuple[Type, bool]:
        """Return what a list or an object holds, and whether null may be among it."""
        type_, nullable = self._type(api, schema)
        return type_, nullable and not isinstance(type_, AnyType)

    def _keys(self, schema: Mapping) -> tuple[str, str] | None:
        """Return the component, written `api:Name`, whose fields are an object's known keys."""
        text = _word(schema, "x-keys")
        if text is None:
            return None
        api, _, name = text.partition(":")
        if name in self.components(api):
            return api, name
        self._findings.add(
            "no-such-reference",
            schema.key("x-keys").position,
            f"`{text}` is no component",
            hint=did_you_mean(name, self.components(api)),
        )
        return None

    def _reference(self, api: str, schema: Mapping) -> tuple[Type, bool]:
        target_api, target = self.follow(api, schema)
        text = _word(schema, "$ref") or ""
        name = text.rsplit("/", 1)[-1]
        if isinstance(target, Mapping) and "/schemas/" in text and _is_struct(target):
            return StructType(target_api, name), False
        return self._type(target_api, target)

    def follow(self, api: str, value: Value) -> tuple[str, Value]:
        """Return where a `$ref` leads and in which API that is; anything else leads to itself."""
        text = _word(value, "$ref")
        if text is None or not isinstance(value, Mapping):
            return api, value
        file, _, pointer = text.partition("#/")
        owner = file.rsplit("/", 1)[-1].split(".")[0] if file else api
        target = _descend(self.documents.get(owner), *pointer.split("/"))
        if target is None:
            self._findings.add(
                "no-such-reference", value.key("$ref").position, f"`{text}` leads nowhere"
            )
            return owner, Mapping({}, value.position)
        return owner, target


def _is_struct(schema: Mapping) -> bool:
    return _word(schema, "type") == "object" and "properties" in schema


def _scalar_name(name: str) -> ScalarName:
    match name:
        case "string" | "integer" | "number" | "boolean":
            return name
        case _:
            raise AssertionError(name)


def _enum(schema: Mapping) -> tuple[str, ...] | None:
    values = schema.get("enum")
    constant = schema.get("const")
    if isinstance(constant, Scalar):
        return (str(constant.value),)
    return tuple(word for word in _words(values)) if isinstance(values, Sequence) else None


def _needs(value: Value) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the capabilities that a field needs, with the words of it that need them."""
    stated = value.get("x-needs") if isinstance(value, Mapping) else None
    if isinstance(stated, Mapping):
        return tuple((key.text, _words(words)) for key, words in stated.items())
    return () if (word := _word(value, "x-needs")) is None else ((word, ()),)


def _descend(value: Value | None, *names: str) -> Value | None:
    for name in names:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name.replace("~1", "/"))
    return value


def _word(value: Value | None, name: str) -> str | None:
    item = value.get(name) if isinstance(value, Mapping) else None
    return item.value if isinstance(item, Scalar) and isinstance(item.value, str) else None


def _is_set(value: Value | None, name: str) -> bool:
    item = value.get(name) if isinstance(value, Mapping) else None
    return isinstance(item, Scalar) and item.value is True


def _words(value: Value | None) -> tuple[str, ...]:
    if not isinstance(value, Sequence):
        return ()
    return tuple(str(item.value) for item in value.items if isinstance(item, Scalar))
