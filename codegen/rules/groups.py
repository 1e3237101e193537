"""
Groups: fields, reasons, remembered values, changes and so on that several places include.

A group is put in where it is included, before the including construct is read, so that nothing
else knows of groups. What it puts in keeps its own position, with a note of where it is included.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from codegen.descriptions.problem import Findings, Position, did_you_mean, nearest
from codegen.descriptions.source import Key, Mapping, Scalar, Sequence, Value
from codegen.rules.model import FOLD, INCLUDE, SHARED
from codegen.rules.passing import LISTS


@dataclass(frozen=True)
class _Item:
    """One entry of a group: a field, a reason, a path of a fold's list, or a change."""

    group: str
    part: str
    slot: str
    """The list of a fold that it is in, "" for an entry of no list."""
    key: Key
    value: Value

    @property
    def name(self) -> tuple[str, str]:
        """What two items have in common that can't both be put in; each change has its own."""
        return self.part, self.key.text

    @property
    def shown(self) -> str:
        """What it is called in a problem."""
        return self.part if self.part in LISTS else self.key.text


@dataclass(frozen=True)
class _Group:
    key: Key
    body: Mapping
    file: str


@dataclass
class Groups:
    """The groups of all mapping files, and what of them has been put in somewhere."""

    documents: dict[str, Mapping]
    findings: Findings
    _included: set[Position] = field(default_factory=set)
    _taken: set[Position] = field(default_factory=set)

    def fill(self, node: Mapping, file: str, keys: Container[str], part: str) -> Mapping:
        """
        Return a mapping with what it includes put in; what it says itself wins.

        `keys` are those that its construct has. With `part`, the entries of that part of a group
        are put in, and not the parts themselves.
        """
        found: dict[tuple[str, str], _Item] = {}
        for name in _names(node):
            items = self._items(name, file, ())
            chosen = [
                item
                for item in items
                if (item.part == part if part else item.part in keys and item.part != FOLD)
            ]
            if items and not chosen:
                self.findings.add(
                    "unused-group",
                    name.position,
                    f"nothing of the group `{name.value}` can be included here",
                )
            self._join(found, chosen, name, _said(node, part))
        kept = [item for item in found.values() if item.name not in _said(node, part)]
        self._taken |= {item.key.position for item in kept}
        return _filled(node, kept, part)

    def finish(self) -> None:
        """Report groups that nothing includes, and entries of others that nothing takes."""
        for file in self.documents:
            for group in self._written(file).values():
                name = group.key.text
                if group.key.position not in self._included:
                    self.findings.add(
                        "unused-group", group.key.position, f"nothing includes the group `{name}`"
                    )
                    continue
                for item in _items_of(name, group.body):
                    if item.key.position not in self._taken:
                        self.findings.add(
                            "unused-group-entry",
                            item.key.position,
                            f"nothing takes `{item.shown}` of the group `{name}`",
                            hint="what includes the group says it itself, or has no place for it",
                        )

    def _written(self, file: str) -> dict[str, _Group]:
        groups = self.documents[file].get("groups") if file in self.documents else None
        return {
            key.text: _Group(key, body, file)
            for key, body in (groups.items() if isinstance(groups, Mapping) else ())
            if isinstance(body, Mapping)
        }

    def _find(self, name: Scalar, file: str) -> _Group | None:
        """Return the group of a name, in the file itself or in shared.yaml."""
        shared = PurePosixPath(file).with_name(f"{SHARED}.yaml").as_posix()
        known = {**self._written(shared), **self._written(file)}
        text = str(name.value)
        if text not in known:
            self.findings.add(
                "no-such-group",
                name.position,
                f"`{text}` is no group here",
                hint=did_you_mean(text, known),
            )
            # Use what was probably meant: else all that depends on it would be reported as well.
            text = nearest(text, known) or ""
        return known.get(text)

    def _items(self, name: Scalar, file: str, outer: tuple[Position, ...]) -> list[_Item]:
        """Return the entries of the group of this name, with those of the groups it includes."""
        group = self._find(name, file)
        if group is None:
            return []
        if group.key.position in outer:
            self.findings.add(
                "bad-value", name.position, f"the group `{group.key.text}` includes itself"
            )
            return []
        self._included.add(group.key.position)
        own = list(_items_of(group.key.text, group.body))
        found: dict[tuple[str, str], _Item] = {}
        said = {item.name for item in own}
        for inner in _names(group.body):
            items = self._items(inner, group.file, (*outer, group.key.position))
            self._join(found, items, inner, said)
        inherited = [item for item in found.values() if item.name not in said]
        return [_placed(item, group.key.text, name.position) for item in (*inherited, *own)]

    def _join(
        self,
        found: dict[tuple[str, str], _Item],
        items: list[_Item],
        name: Scalar,
        said: Container[tuple[str, str]],
    ) -> None:
        for item in items:
            other = found.setdefault(item.name, item)
            if other.key.position != item.key.position and item.name not in said:
                self.findings.add(
                    "group-conflict",
                    name.position,
                    f"`{item.key.text}` stands in the groups `{other.group}` and `{item.group}`",
                    hint="say here what it is, or take it out of one of them",
                )


def _names(node: Mapping) -> Iterator[Scalar]:
    """Yield the groups that a mapping includes, as they are written."""
    value = node.get(INCLUDE)
    for item in value.items if isinstance(value, Sequence) else (value,):
        if isinstance(item, Scalar) and isinstance(item.value, str):
            yield item


def _items_of(group: str, body: Mapping) -> Iterator[_Item]:
    """Yield what a group holds itself."""
    for part, held in body.items():
        for item in held if part.text in LISTS and isinstance(held, Sequence) else ():
            # A change has no name; its place tells it from others, however it is included.
            yield _Item(group, part.text, "", Key(str(item.position), item.position), item)
        for key, value in held.items() if isinstance(held, Mapping) else ():
            if part.text != FOLD:
                yield _Item(group, part.text, "", key, value)
            is_list = part.text == FOLD and key.text != INCLUDE
            for item in value if is_list and isinstance(value, Sequence) else ():
                if isinstance(item, Scalar):
                    yield _Item(group, FOLD, key.text, Key(str(item.value), item.position), item)


def _said(node: Mapping, part: str) -> set[tuple[str, str]]:
    """Return the names of what a mapping says itself, where a group could say it too."""
    if part:
        body = Mapping({part: (Key(part, node.position), node)}, node.position)
        return {item.name for item in _items_of("", body)}
    return {item.name for item in _items_of("", node)}


def _filled(node: Mapping, items: list[_Item], part: str) -> Mapping:
    """Return a mapping with items put in, each part's before what it says of that part itself."""
    entries = dict(node.entries)
    place = node.key(INCLUDE).position
    for name in dict.fromkeys(item.slot if part == FOLD else item.part for item in items):
        mine = [item for item in items if name in (item.slot if part == FOLD else item.part,)]
        if part and part != FOLD:
            entries |= {item.key.text: (item.key, item.value) for item in mine}
            continue
        key, own = entries.get(name, (Key(name, place), None))
        if part or name in LISTS:
            rest = own.items if isinstance(own, Sequence) else ()
            position = own.position if own is not None else place
            entries[name] = key, Sequence((*(item.value for item in mine), *rest), position)
        elif own is None or isinstance(own, Mapping):
            kept = own.entries if own is not None else {}
            put_in = {item.key.text: (item.key, item.value) for item in mine}
            position = own.position if own is not None else place
            entries[name] = key, Mapping({**put_in, **kept}, position)
    return Mapping(entries, node.position)


def _placed(item: _Item, group: str, at: Position) -> _Item:
    """Return an item with the note, at every position in it, that its group is included here."""
    key = Key(item.key.text, item.key.position.within(group, at))
    return replace(item, key=key, value=_noted(item.value, group, at))


def _noted(value: Value, group: str, at: Position) -> Value:
    position = value.position.within(group, at)
    match value:
        case Scalar():
            return Scalar(value.value, position)
        case Sequence():
            return Sequence(tuple(_noted(item, group, at) for item in value), position)
        case Mapping():
            entries = {
                key.text: (
                    Key(key.text, key.position.within(group, at)),
                    _noted(inner, group, at),
                )
                for key, inner in value.items()
            }
            return Mapping(entries, position)
