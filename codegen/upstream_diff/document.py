"""
One document read: its values, and where a `$ref` in them leads.

A vendor's document may be incomplete or malformed anywhere. What can't be read becomes an `Unread`
with the reason, so that it is reported in its place and never taken for a field that is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from codegen.descriptions.problem import Position
from codegen.descriptions.source import Mapping, Scalar, Sequence, Value

_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:|^//")


class UnreadableDocument(Exception):
    """A file that can't be compared at all; the text says why, the file's name left out."""


@dataclass(frozen=True)
class Unread:
    """A part of a document that could not be read, and why."""

    reason: str


@dataclass(frozen=True, eq=False)
class Node:
    """A value inside a document."""

    value: object
    document: Document

    def get(self, *names: str) -> Node | None:
        """Return a value further down, or None where there is none."""
        value = self.value
        for name in names:
            if not isinstance(value, dict) or name not in value:
                return None
            value = value[name]
        return Node(value, self.document)

    def entries(self) -> Iterator[tuple[str, Node]]:
        """Iterate over an object's members; anything else has none."""
        if isinstance(self.value, dict):
            for name, value in self.value.items():
                yield name, Node(value, self.document)

    def items(self) -> Iterator[Node]:
        """Iterate over a list; anything else has no items."""
        if isinstance(self.value, list):
            for value in self.value:
                yield Node(value, self.document)

    def text(self, name: str) -> str | None:
        """Return a text under a key, or None."""
        value = self.value.get(name) if isinstance(self.value, dict) else None
        return value if isinstance(value, str) else None

    @property
    def identity(self) -> tuple[int, int]:
        """What two nodes share that are the same part of the same document."""
        return id(self.document), id(self.value)

    @property
    def position(self) -> Position | None:
        """Where it stands, in a document that was read with positions."""
        return self.document.places.get(id(self.value))

    def followed(self) -> Node | Unread:
        """Return where a `$ref` leads in the end; a value without one leads to itself."""
        node, seen = self, set[int]()
        while (reference := node.text("$ref")) is not None:
            if id(node.value) in seen:
                return Unread(f"`{reference}` leads in a circle")
            seen.add(id(node.value))
            found = node.document.find(reference)
            if isinstance(found, Unread):
                return found
            node = found
        return node


@dataclass(eq=False)
class Document:
    """A document in memory; `places` holds the positions of its objects and lists by identity."""

    contents: object
    folder: Path
    places: dict[int, Position] = field(default_factory=dict)
    others: dict[Path, Document | Unread] = field(default_factory=dict)
    """Documents that a `$ref` leads to, each read once."""

    @property
    def root(self) -> Node:
        """The whole of it."""
        return Node(self.contents, self)

    def find(self, reference: str) -> Node | Unread:
        """Return what a `$ref` means: a place here or in a file beside; nothing is fetched."""
        file, _, fragment = reference.partition("#")
        if not file:
            return self._pointed(reference, fragment)
        if _SCHEME.match(file):
            return Unread(f"described elsewhere, not read: `{reference}`")
        path = (self.folder / _unescaped(file)).resolve()
        if path not in self.others:
            self.others[path] = _open_other(path, self.others)
        other = self.others[path]
        if isinstance(other, Unread):
            return Unread(f"described elsewhere, not read: `{reference}` ({other.reason})")
        return other._pointed(reference, fragment)

    def _pointed(self, reference: str, fragment: str) -> Node | Unread:
        if fragment and not fragment.startswith("/"):
            return Unread(f"`{reference}` is not read: its end is a name and not a path")
        value = self.contents
        for part in fragment.split("/")[1:]:
            name = _unescaped(part).replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict) and name in value:
                value = value[name]
            elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
                value = value[int(name)]
            else:
                return Unread(f"`{reference}` leads nowhere")
        return Node(value, self)


def read_document(path: Path) -> Document:
    """
    Read a vendor's JSON or YAML file.

    Raises OSError when there is no such file, and UnreadableDocument when it is no JSON or YAML.
    """
    document = Document(_parsed(read_text(path)), path.resolve().parent)
    document.others[path.resolve()] = document
    return document


def read_text(path: Path) -> str:
    """Return a file's text; raise OSError, or UnreadableDocument when it is not UTF-8 or empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableDocument(f"this is not UTF-8 text: {error.reason}") from None
    if not text.strip():
        raise UnreadableDocument("the file is empty")
    return text


def own_document(source: Mapping, folder: Path) -> Document:
    """Return one of our specs, which is read already and has positions."""
    document = Document(None, folder)
    document.contents = _unmarked(source, source.position, document.places)
    return document


def _unescaped(text: str) -> str:
    def decoded(found: re.Match[str]) -> str:
        return bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "replace")

    return _ESCAPES.sub(decoded, text)


def _open_other(path: Path, others: dict[Path, Document | Unread]) -> Document | Unread:
    try:
        document = read_document(path)
    except OSError as error:
        return Unread((error.strerror or "can't be read").lower())
    except UnreadableDocument as error:
        return Unread(str(error))
    document.others = others
    return document


def _parsed(text: str) -> object:
    try:
        # Most documents in JSON are also YAML, but that reader is many times slower.
        return _with_text_keys(json.loads(text), {})
    except ValueError:
        pass
    except RecursionError:
        raise UnreadableDocument("its values are nested too deeply") from None
    try:
        return _with_text_keys(YAML(typ="safe", pure=True).load(text), {})
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UnreadableDocument(f"{where}{error.problem or error.context}") from None
    except YAMLError as error:
        raise UnreadableDocument(" ".join(str(error).split())) from None
    except RecursionError:
        raise UnreadableDocument("its values are nested too deeply") from None
    except (ValueError, TypeError, ArithmeticError) as error:
        # A malformed number or date, or a key that is a list.
        raise UnreadableDocument(f"a value can't be read: {error}") from None


def _with_text_keys(value: object, known: dict[int, object]) -> object:
    """Make every key text (YAML has `200:`); one object stays one, even within itself."""
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, dict):
        renamed: dict[str, object] = {}
        known[id(value)] = renamed
        for name, inner in value.items():
            key = name if isinstance(name, str) else "null" if name is None else str(name).lower()
            renamed[key] = _with_text_keys(inner, known)
        return renamed
    if isinstance(value, list):
        listed: list[object] = []
        known[id(value)] = listed
        listed.extend(_with_text_keys(inner, known) for inner in value)
        return listed
    return value


def _unmarked(value: Value, place: Position, places: dict[int, Position]) -> object:
    found: object
    match value:
        case Scalar():
            return value.value
        case Sequence():
            found = [_unmarked(item, item.position, places) for item in value.items]
        case Mapping():
            # A member's place is that of its key, where a reader looks for a field.
            found = {key.text: _unmarked(item, key.position, places) for key, item in value.items()}
    places[id(found)] = place
    return found
