"""
Two schemas compared: every field of both, once, however often a type contains itself.

What is walked are pairs of places, ours and theirs. What they hold is compared where the pair is
met first; where it is met again, that place is only named. So the work grows with the number of
pairs and not with the number of paths, of which a type with several fields of its own type has
infinitely many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from codegen.descriptions.problem import Position
from codegen.upstream_diff.shape import ANYTHING, Alternatives, Identity, Shape, Shapes

_Contents: TypeAlias = tuple[
    frozenset[tuple[str, frozenset[Identity]]],
    frozenset[str],
    frozenset[Identity],
    frozenset[Identity],
    tuple[str, ...],
]
"""What a shape holds: by that it is known again, whether or not null may stand in its place."""

MAX_PAIRS = 20_000
"""Alternatives can combine to more pairs than can be compared; no known document has a tenth."""


@dataclass(frozen=True)
class Difference:
    """One difference below one place; `path` is empty for the place itself."""

    path: str
    kind: str
    text: str
    place: Position | None = None
    """Where ours stands, or the object that lacks the field."""
    notes: tuple[str, ...] = ()
    minor: bool = False
    """Whether it says nothing new: theirs allows less only in leaving out null, or says less."""


class Comparison:
    """The differences between what we describe and what they describe."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes

    def compare(self, ours: Alternatives, theirs: Alternatives) -> list[Difference]:
        """Return the differences of one place and of everything below it."""
        found: list[Difference] = []
        first: dict[tuple[_Contents, _Contents], str] = {}
        again: list[tuple[str, str, Position | None]] = []
        waiting = deque([("", ours, theirs)])
        while waiting:
            path, own, other = waiting.popleft()
            before, after = self._shapes.of(own), self._shapes.of(other)
            found += self._at(path, own, other, before, after)
            key = _contents(before), _contents(after)
            if key in first:
                if not _is_within(path, first[key]):
                    again.append((path, first[key], _place(before)))
                continue
            if len(first) == MAX_PAIRS:
                text = f"the comparison ended after {MAX_PAIRS} pairs of types"
                found.append(Difference("", "unread", text))
                break
            first[key] = path
            found += self._fields(path, before, after)
            waiting.extend(_below(path, before, after))
        while told := [
            entry for entry in again if any(_is_of_contents(one, entry[1]) for one in found)
        ]:
            # Such a line may itself be below the first place of another.
            again = [entry for entry in again if entry not in told]
            for path, same, place in told:
                text = f"as `{same}`, where its differences are listed"
                found.append(Difference(path, "same", text, place))
        return found

    def _at(
        self, path: str, own: Alternatives, other: Alternatives, ours: Shape, theirs: Shape
    ) -> Iterator[Difference]:
        for side, shape in (("ours", ours), ("theirs", theirs)):
            for reason in shape.unread:
                text = f"{side}: {reason}"
                yield Difference(path, "unread", text, _place(ours), _notes(ours))
        if not (ours.unread or theirs.unread):
            yield from self._types(path, own, other, ours, theirs)
            yield from _words(path, ours, theirs)

    def _types(
        self, path: str, own: Alternatives, other: Alternatives, ours: Shape, theirs: Shape
    ) -> Iterator[Difference]:
        if ours.types == theirs.types:
            return
        minor = ours.types is None or theirs.types is None
        if ours.types is not None and theirs.types is not None:
            gained = theirs.types - ours.types - _whole(ours)
            lost = ours.types - theirs.types - {"null"} - _whole(theirs)
            if "integer" in theirs.types:
                lost -= {"number"}
            minor = not gained and not lost
        before, after = self._shapes.describe(own, 0), self._shapes.describe(other, 0)
        text = f"ours {before}; theirs {after}"
        yield Difference(path, "type", text, _place(ours), _notes(ours), minor)

    def _fields(self, path: str, ours: Shape, theirs: Shape) -> Iterator[Difference]:
        if not (ours.fields or theirs.fields):
            return
        if any(shape.unread and not shape.fields for shape in (ours, theirs)):
            return
        place, notes = place_of_fields(ours), _notes(ours)
        if not theirs.fields:
            if theirs.takes_object and ours.takes_object:
                text = f"theirs names no fields; ours {{{', '.join(ours.fields)}}}"
                yield Difference(path, "bare", text, place, notes)
            return
        if not ours.fields:
            if ours.takes_object and theirs.takes_object:
                text = f"ours names no fields; theirs {{{', '.join(theirs.fields)}}}"
                yield Difference(path, "bare", text, place, notes)
            return
        for name in theirs.fields.keys() - ours.fields.keys():
            text = self._shapes.describe(theirs.fields[name])
            text += ", required" if name in theirs.required else ""
            yield Difference(joined(path, name), "new", f"theirs {text}", place, notes)
        if not theirs.unread:
            for name in ours.fields.keys() - theirs.fields.keys():
                shape = self._shapes.of(ours.fields[name])
                text = f"ours {self._shapes.describe(ours.fields[name])}"
                text += ", deprecated" if _is_deprecated(shape) else ""
                every = tuple(dict.fromkeys((*_notes(shape), *notes)))
                at = _first_place(ours.fields[name]) or place
                yield Difference(joined(path, name), "absent", text, at, every)
        both = ours.fields.keys() & theirs.fields.keys()
        parts = [
            f"only {side} requires {', '.join(f'`{name}`' for name in sorted(names))}"
            for side, names in (
                ("theirs", (theirs.required - ours.required) & both),
                ("ours", (ours.required - theirs.required) & both),
            )
            if names
        ]
        if parts:
            yield Difference(path, "required", "; ".join(parts), place, notes)


def joined(path: str, name: str) -> str:
    """Return the path of a field: `*` stands for a list's items, `{*}` for an object's free keys.

    >>> joined("messages.*", "role"), joined("", "model")
    ('messages.*.role', 'model')
    """
    return f"{path}.{name}" if path else name


def _below(
    path: str, ours: Shape, theirs: Shape
) -> Iterator[tuple[str, Alternatives, Alternatives]]:
    for name in ours.fields:
        if name in theirs.fields:
            yield joined(path, name), ours.fields[name], theirs.fields[name]
    if ours.unread or theirs.unread:
        return
    if (ours.items or theirs.items) and _take(ours, theirs, "array"):
        yield joined(path, "*"), ours.items or ANYTHING, theirs.items or ANYTHING
    if (ours.values or theirs.values) and _take(ours, theirs, "object"):
        yield joined(path, "{*}"), ours.values or ANYTHING, theirs.values or ANYTHING


def _take(ours: Shape, theirs: Shape, name: str) -> bool:
    return all(shape.types is not None and name in shape.types for shape in (ours, theirs))


def _words(path: str, ours: Shape, theirs: Shape) -> Iterator[Difference]:
    place, notes = _place(ours), _notes(ours)
    if ours.types is None or theirs.types is None:
        return
    for name in sorted(ours.types & theirs.types):
        own, other = ours.words.get(name), theirs.words.get(name)
        if own is not None and other is not None:
            if other - own:
                text = f"theirs also has {_listed(other - own)}"
                yield Difference(path, "values", text, place, notes)
            if own - other:
                text = f"theirs lacks {_listed(own - other)}"
                yield Difference(path, "values", text, place, notes)
        elif own is not None:
            text = f"ours only {_listed(own)}; theirs any {name}"
            yield Difference(path, "values", text, place, notes)
        elif other is not None and not ours.known:
            text = f"ours any {name}; theirs only {_listed(other)}"
            yield Difference(path, "values", text, place, notes)
        else:
            named = (other or theirs.known) - ours.known
            if named and ours.known:
                text = f"theirs also names {_listed(named)}"
                yield Difference(path, "values", text, place, notes)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


def _whole(shape: Shape) -> set[str]:
    return {"integer"} if shape.types is not None and "number" in shape.types else set()


def _identities(nodes: Alternatives) -> frozenset[Identity]:
    return frozenset(node.identity for node in nodes)


def _contents(shape: Shape) -> _Contents:
    return (
        frozenset((name, _identities(nodes)) for name, nodes in shape.fields.items()),
        shape.required,
        _identities(shape.items),
        _identities(shape.values),
        shape.unread,
    )


def _is_of_contents(difference: Difference, path: str) -> bool:
    """Whether a difference is one of what a place holds, and not of the place itself."""
    if difference.minor or not _is_within(difference.path, path):
        return False
    return difference.path != path or difference.kind in ("bare", "required")


def _is_within(path: str, above: str) -> bool:
    return not above or path == above or path.startswith(f"{above}.")


def _first_place(nodes: Alternatives) -> Position | None:
    return next((node.position for node in nodes if node.position is not None), None)


def _place(shape: Shape) -> Position | None:
    return _first_place(shape.schemas)


def _is_deprecated(shape: Shape) -> bool:
    return any(
        (stated := node.get("deprecated")) is not None and stated.value is True
        for node in shape.schemas
    )


def place_of_fields(shape: Shape) -> Position | None:
    """Return where an object's fields stand: a reader who adds one wants to see the others."""
    holders = tuple(node for node in shape.schemas if node.get("properties"))
    return _first_place(holders) or _place(shape)


def _notes(shape: Shape) -> tuple[str, ...]:
    return tuple(
        f"{node.position or 'ours'}: {' '.join(text.split())}"
        for node in shape.schemas
        if (text := node.text("x-wire")) is not None
    )
