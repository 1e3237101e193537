"""
YAML with positions: every key and value knows the line it stands on.

Scalars are read as YAML 1.2 (`on` and `off` are words, not booleans). Duplicate keys, anchors,
aliases and merges are refused: what a rule says must be readable at the place where it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ruamel.yaml.error import MarkedYAMLError

from codegen.descriptions.nodes import Node, compose
from codegen.descriptions.problem import Findings, Position

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"


@dataclass(frozen=True)
class Scalar:
    """A word, number, boolean or null."""

    value: str | int | float | bool | None
    position: Position


@dataclass(frozen=True)
class Sequence:
    """A list of values."""

    items: tuple[Value, ...]
    position: Position

    def __iter__(self) -> Iterator[Value]:
        return iter(self.items)


@dataclass(frozen=True)
class Key:
    """A mapping's key and where it stands."""

    text: str
    position: Position


@dataclass(frozen=True)
class Mapping:
    """An ordered mapping; keys are always text."""

    entries: dict[str, tuple[Key, Value]]
    position: Position

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def get(self, name: str) -> Value | None:
        """Return the value under a key, or None."""
        entry = self.entries.get(name)
        return entry[1] if entry else None

    def key(self, name: str) -> Key:
        """Return the key itself, with its position."""
        return self.entries[name][0]

    def items(self) -> Iterator[tuple[Key, Value]]:
        """Iterate over keys and values in the file's order."""
        return iter(self.entries.values())


Value: TypeAlias = Scalar | Sequence | Mapping


def plain(value: Value) -> Plain:
    """Strip positions: what any YAML loader would have returned."""
    match value:
        case Scalar():
            return value.value
        case Sequence():
            return [plain(item) for item in value.items]
        case Mapping():
            return {key.text: plain(item) for key, item in value.items()}


def load(path: Path, root: Path, findings: Findings) -> Mapping:
    """
    Read one file.

    What is wrong with the YAML itself becomes a `bad-yaml` problem; the mapping is then empty.
    """
    name = path.relative_to(root).as_posix()
    start = Position(name, 1, 1)
    try:
        node = compose(path)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        position = Position(name, mark.line + 1, mark.column + 1) if mark else start
        findings.add("bad-yaml", position, str(error.problem or error.context))
        return Mapping({}, start)
    value = _Builder(name, findings).build(node) if node is not None else Mapping({}, start)
    if not isinstance(value, Mapping):
        findings.add("bad-yaml", start, "the file must hold a mapping")
        return Mapping({}, start)
    return value


class _Builder:
    def __init__(self, file: str, findings: Findings) -> None:
        self._file = file
        self._findings = findings

    def build(self, node: Node) -> Value:
        position = self._position(node)
        if getattr(node, "anchor", None):
            self._findings.add("bad-yaml", position, "anchors and aliases are not allowed here")
        if node.id == "mapping":
            return self._mapping(node, position)
        if node.id == "sequence":
            return Sequence(tuple(self.build(item) for item in node.value), position)
        assert node.id == "scalar"
        return Scalar(_scalar(node), position)

    def _mapping(self, node: Node, position: Position) -> Mapping:
        entries: dict[str, tuple[Key, Value]] = {}
        for key_node, value_node in node.value:
            place = self._position(key_node)
            if key_node.id != "scalar":
                self._findings.add("bad-yaml", place, "a key must be a word")
                continue
            key = Key(str(key_node.value), place)
            if key.text == "<<":
                self._findings.add("bad-yaml", place, "merges are not allowed here")
                continue
            if key.text in entries:
                self._findings.add("bad-yaml", place, f"`{key.text}` stands here twice")
            entries[key.text] = (key, self.build(value_node))
        return Mapping(entries, position)

    def _position(self, node: Node) -> Position:
        return Position(self._file, node.start_mark.line + 1, node.start_mark.column + 1)


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
            return float(text)
        case _:
            return text
