"""
JSON texts as trees that can hold what JSON libraries hide: doubled keys, and any spelling.

A generator makes them, the minimiser takes them apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Text:
    """A value as it is spelled: a number, a text, a word, or what is none of them."""

    spelled: bytes


@dataclass(frozen=True)
class List:
    """A list."""

    items: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Object:
    """An object; a key may come twice. A key is spelled as JSON."""

    members: tuple[tuple[str, Node], ...] = ()

    def get(self, key: str) -> Node | None:
        """Return the last value of a key, in any letter case, or None."""
        found = [node for name, node in self.members if name.lower() == key.lower()]
        return found[-1] if found else None

    def put(self, key: str, node: Node) -> Object:
        """Return the object with a member set."""
        if any(name == key for name, _ in self.members):
            pairs = tuple((name, node if name == key else old) for name, old in self.members)
            return replace(self, members=pairs)
        return replace(self, members=(*self.members, (key, node)))


Node = Text | List | Object


def of(value: Any) -> Node:
    """Return a JSON value as a tree."""
    if isinstance(value, Text | List | Object):
        return value
    if isinstance(value, dict):
        return Object(tuple((key, of(item)) for key, item in value.items()))
    if isinstance(value, list):
        return List(tuple(of(item) for item in value))
    return Text(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def write(node: Node) -> bytes:
    """Return a tree as text."""
    if isinstance(node, Text):
        return node.spelled
    if isinstance(node, List):
        return b"[" + b",".join(write(item) for item in node.items) + b"]"
    pairs = (
        json.dumps(key, ensure_ascii=False).encode("utf-8", "surrogatepass") + b":" + write(item)
        for key, item in node.members
    )
    return b"{" + b",".join(pairs) + b"}"


def put_at(node: Node, path: tuple[str | int, ...], value: Node) -> Node:
    """Return the tree with the value at a path set, with objects and lists made as needed."""
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(head, int):
        items = list(node.items) if isinstance(node, List) else []
        if not items:
            items.append(Object())
        place = min(head, len(items) - 1)
        items[place] = put_at(items[place], rest, value)
        return List(tuple(items))
    known = node if isinstance(node, Object) else Object()
    return known.put(head, put_at(known.get(head) or Object(), rest, value))


def smaller(node: Node) -> Iterator[Node]:
    """Yield trees that are a little smaller, the much smaller ones first."""
    if isinstance(node, Object):
        for place in range(len(node.members)):
            yield Object(node.members[:place] + node.members[place + 1 :])
        for place, (key, item) in enumerate(node.members):
            for less in smaller(item):
                yield Object((*node.members[:place], (key, less), *node.members[place + 1 :]))
    elif isinstance(node, List):
        for place in range(len(node.items)):
            yield List(node.items[:place] + node.items[place + 1 :])
        for place, item in enumerate(node.items):
            for less in smaller(item):
                yield List((*node.items[:place], less, *node.items[place + 1 :]))
    elif len(node.spelled) > 12 and node.spelled[:1] == b'"':
        inner = node.spelled[1:-1]
        half = len(inner) // 2
        for part in (inner[:half], inner[half:]):
            yield Text(b'"' + part + b'"')
