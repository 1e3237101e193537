"""
What schemas allow, in a form that two documents can be compared by.

A place may be described by several schemas: alternatives, of which a value fits one. A `Shape` is
what they allow together: a type is allowed when one alternative allows it, and a field is required
when every alternative that takes an object requires it. `allOf`, and what stands beside a `$ref`,
restrict. Fields, items and values stay nodes, so that a type may contain itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Literal, TypeAlias

from codegen.upstream_diff.document import Document, Node, Unread

Alternatives: TypeAlias = tuple[Node, ...]
Identity: TypeAlias = tuple[int, int]
Words: TypeAlias = dict[str, frozenset[str]]

JSON_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})

ANYTHING: Alternatives = (Document(True, Path()).root,)
"""What a schema allows that is not there."""


@dataclass(frozen=True)
class _Group:
    """Several schemas in one place where a node has room for one."""

    how: Literal["all", "any"]
    parts: Alternatives


@dataclass(frozen=True)
class Shape:
    """What a value at one place may be; `types` is None when any is allowed."""

    types: frozenset[str] | None = None
    words: Words = field(default_factory=dict)
    """By type the only values allowed, as JSON; a type that is missing here takes any value."""
    known: frozenset[str] = frozenset()
    """Values that are named without being the only ones."""
    fields: dict[str, Alternatives] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    items: Alternatives = ()
    values: Alternatives = ()
    """Schemas of an object's free keys."""
    unread: tuple[str, ...] = ()
    """Why parts of it are not known."""
    schemas: Alternatives = ()
    """The schemas that it was worked out from."""

    @property
    def takes_object(self) -> bool:
        """Whether an object may stand here."""
        return self.types is None or "object" in self.types


class Shapes:
    """Works out shapes; what a schema allows is worked out once."""

    def __init__(self) -> None:
        self._known: dict[Identity, Shape] = {}
        self._begun: set[Identity] = set()
        self._cut: set[Identity] = set()
        self._groups: dict[tuple[str, tuple[Identity, ...]], Node] = {}

    def of(self, alternatives: Alternatives) -> Shape:
        """Return what alternatives allow together."""
        return self._either([self._shape(node) for node in alternatives])

    def describe(self, alternatives: Alternatives, depth: int = 2) -> str:
        """Return a type in words, as deep as asked; 0 leaves out what lists and objects hold."""
        shape = self.of(alternatives)
        if shape.unread:
            return "not read"
        if shape.types is None:
            return "any value"
        texts = [
            self._describe_one(name, shape, depth)
            for name in sorted(shape.types, key=lambda name: (name == "null", name))
        ]
        return " | ".join(texts) or "no value"

    def _describe_one(self, name: str, shape: Shape, depth: int) -> str:
        if name in shape.words:
            return f"{name} ({', '.join(sorted(shape.words[name]))})"
        inner = shape.items if name == "array" else shape.values if name == "object" else ()
        if name == "object" and shape.fields and depth:
            return f"object {{{', '.join(shape.fields)}}}"
        if inner and depth:
            text = self.describe(inner, depth - 1)
            return f"{name} of ({text})" if " | " in text else f"{name} of {text}"
        return name

    def _shape(self, node: Node) -> Shape | None:
        """Return what one schema allows, or None when it is being worked out already."""
        key = node.identity
        if key in self._known:
            return self._known[key]
        if key in self._begun:
            self._cut.add(key)
            return None
        self._begun.add(key)
        shape = self._worked_out(node)
        self._begun.discard(key)
        self._cut.discard(key)
        if not self._cut:
            # Otherwise a part was left out that is in a schema further up.
            self._known[key] = shape
        return shape

    def _worked_out(self, node: Node) -> Shape:
        match node.value:
            case _Group(how=how, parts=grouped):
                shapes = [self._shape(part) for part in grouped]
                return self._either(shapes) if how == "any" else self._all(shapes)
            case True:
                return Shape()
            case False:
                return Shape(types=frozenset())
            case dict():
                pass
            case other:
                return Shape(unread=(f"{named_kind(other)} where a schema should stand",))
        parts: list[Shape | None] = [_own_shape(node)]
        reference = node.text("$ref")
        if reference is not None:
            found = node.document.find(reference)
            target = found if isinstance(found, Unread) else self._shape(found)
            if target is None:
                # A schema that this one is part of says nothing more, unless it is nothing else.
                end = node.followed()
                target = end if isinstance(end, Unread) else Shape()
            if isinstance(target, Unread):
                return Shape(unread=(target.reason,))
            parts.append(target)
        for word in ("allOf", "oneOf", "anyOf"):
            branches = node.get(word)
            if branches is None:
                continue
            shapes = [self._shape(branch) for branch in branches.items()]
            if not isinstance(branches.value, list):
                kind = named_kind(branches.value)
                parts.append(Shape(unread=(f"`{word}` is {kind}, not a list",)))
            elif word == "allOf":
                parts.append(self._all(shapes))
            else:
                parts.append(self._either(shapes))
        late = node.text("x-late")
        if late is not None and "oneOf" not in node.value:
            found = node.document.find(f"#/components/schemas/{late}")
            parts += [self._shape(found)] if isinstance(found, Node) else []
        shape = self._all(parts)
        if node.value.get("nullable") is True and shape.types is not None:
            # It is 3.0's word, and in 3.1 it is written by those who mean it.
            shape = replace(shape, types=shape.types | {"null"})
        return replace(shape, schemas=_once([node, *shape.schemas]))

    def _either(self, shapes: Iterable[Shape | None]) -> Shape:
        given = [shape for shape in shapes if shape is not None]
        if len(given) == 1:
            return given[0]
        types: frozenset[str] | None = frozenset()
        for shape in given:
            types = None if types is None or shape.types is None else types | shape.types
        words = {}
        for name in {name for shape in given for name in shape.words}:
            open_too = any(
                name not in shape.words and (shape.types is None or name in shape.types)
                for shape in given
            )
            if not open_too:
                words[name] = frozenset[str]().union(
                    *(shape.words.get(name, frozenset()) for shape in given)
                )
        every = {word for shape in given for found in shape.words.values() for word in found}
        closed = {word for found in words.values() for word in found}
        named = {word for shape in given for word in shape.known}
        objects = [shape for shape in given if shape.takes_object and not shape.unread]
        fields: dict[str, list[Node]] = {}
        for shape in given:
            for name, nodes in shape.fields.items():
                fields.setdefault(name, []).extend(nodes)
        return Shape(
            types=types if given else None,
            words=words,
            known=frozenset(named | (every - closed)),
            fields={name: _once(nodes) for name, nodes in fields.items()},
            required=frozenset.intersection(*(shape.required for shape in objects))
            if objects
            else frozenset(),
            items=_once(node for shape in given for node in shape.items),
            values=_once(node for shape in given for node in shape.values),
            unread=tuple(dict.fromkeys(text for shape in given for text in shape.unread)),
            schemas=_once(node for shape in given for node in shape.schemas),
        )

    def _all(self, shapes: Iterable[Shape | None]) -> Shape:
        given = [shape for shape in shapes if shape is not None]
        return reduce(self._both, given) if given else Shape()

    def _both(self, one: Shape, two: Shape) -> Shape:
        types = _common(one.types, two.types)
        words: Words = dict(one.words)
        for name, found in two.words.items():
            words[name] = words[name] & found if name in words else found
        fields = dict(one.fields)
        for name, nodes in two.fields.items():
            fields[name] = self._group("all", fields.get(name, ()), nodes)
        return Shape(
            types=types,
            words={name: found for name, found in words.items() if types is None or name in types},
            known=one.known | two.known,
            fields=fields,
            required=one.required | two.required,
            items=self._group("all", one.items, two.items),
            values=self._group("all", one.values, two.values),
            unread=tuple(dict.fromkeys((*one.unread, *two.unread))),
            schemas=_once([*one.schemas, *two.schemas]),
        )

    def _group(
        self, how: Literal["all", "any"], one: Alternatives, two: Alternatives
    ) -> Alternatives:
        if not one or not two or one == two:
            return one or two
        parts = tuple(
            nodes[0] if len(nodes) == 1 else self._group_node("any", nodes) for nodes in (one, two)
        )
        return (self._group_node(how, parts),)

    def _group_node(self, how: Literal["all", "any"], parts: Alternatives) -> Node:
        key = how, tuple(part.identity for part in parts)
        if key not in self._groups:
            self._groups[key] = Node(_Group(how, parts), parts[0].document)
        return self._groups[key]


def _own_shape(node: Node) -> Shape:
    """Return what a schema says itself, without the schemas that it names or holds."""
    assert isinstance(node.value, dict)
    unread: list[str] = []
    types = _stated_types(node.value, unread)
    words: Words = {}
    enum = [node.value["const"]] if "const" in node.value else node.value.get("enum")
    if enum is not None and not isinstance(enum, list):
        unread.append("`enum` is not a list")
    elif enum is not None:
        for value in enum:
            name = _type_of(value, types)
            words[name] = words.get(name, frozenset()) | {_as_json(value)}
        # A null among the words is meant, whatever `type` says.
        null = frozenset(words) & {"null"}
        words.pop("null", None)
        types = null | (frozenset(words) if types is None else types & {*words, "null"})
    fields = _members(node, "properties", unread)
    values = _members(node, "patternProperties", unread)
    extra = node.get("additionalProperties")
    if extra is not None and not isinstance(extra.value, bool):
        values["additionalProperties"] = (extra,)
    items = [*(node.get("prefixItems") or Node([], node.document)).items()]
    item = node.get("items")
    if item is not None:
        items += item.items() if isinstance(item.value, list) else [item]
    if types is None and (fields or values):
        types = frozenset({"object"})
    elif types is None and items:
        types = frozenset({"array"})
    required = node.value.get("required", [])
    if not isinstance(required, list):
        # Written on a property itself, as `required: true`, it means nothing here.
        required = []
    known = node.value.get("x-known")
    return Shape(
        types=types,
        words=words,
        known=frozenset(map(_as_json, known)) if isinstance(known, list) else frozenset(),
        fields=fields,
        required=frozenset(name for name in required if isinstance(name, str)),
        items=_once(items),
        values=_once(node for nodes in values.values() for node in nodes),
        unread=tuple(unread),
    )


def _stated_types(schema: dict[str, object], unread: list[str]) -> frozenset[str] | None:
    stated = schema.get("type")
    if stated is None:
        return None
    names = stated if isinstance(stated, list) else [stated]
    strange = [name for name in names if not (isinstance(name, str) and name in JSON_TYPES)]
    if strange:
        unread.append(f"`type` is {_as_json(strange[0])}, which is not a JSON type")
        return None
    return frozenset(names)


def _members(node: Node, word: str, unread: list[str]) -> dict[str, Alternatives]:
    found = node.get(word)
    if found is not None and not isinstance(found.value, dict):
        unread.append(f"`{word}` is {named_kind(found.value)}, not an object")
        return {}
    return {name: (inner,) for name, inner in found.entries()} if found else {}


def named_kind(value: object) -> str:
    """Return what kind of JSON value something is, with its article.

    >>> named_kind(None), named_kind([]), named_kind(1.5)
    ('null', 'a list', 'a number')
    """
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a date"


def _type_of(value: object, among: frozenset[str] | None) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer" if among is None or "integer" in among else "number"
        case float():
            return "number"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "string"


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _common(one: frozenset[str] | None, two: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or two is None:
        return one if two is None else two
    pairs = ((one, two), (two, one))
    whole = any("number" in wide and "integer" in narrow for wide, narrow in pairs)
    return (one & two) | ({"integer"} if whole else set())


def _once(nodes: Iterable[Node]) -> Alternatives:
    return tuple({node.identity: node for node in nodes}.values())
