"""Mutations of a JSON value: one place of it changed, in every way that a host may get it wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Place: TypeAlias = tuple[str | int, ...]

OTHERS: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "seven": 7,
    "negative": -1,
    "fraction": 0.5,
    "huge": 1e300,
    "long": 10**30,
    "empty text": "",
    "text": "odd",
    "number as text": "4",
    "half": "\ud83d",
    "empty list": [],
    "list": [1, "a", None],
    "empty object": {},
    "object": {"odd": [1]},
}
"""A value of each type, and those of a type that are known to make trouble."""

_TWIN = "\x00twin"


@dataclass(frozen=True)
class Mutation:
    """
    A changed text and what was changed: a place, and how.

    `how` is a key of OTHERS, or one of `absent`, `doubled`, `cut`.
    """

    place: Place
    how: str
    text: bytes

    @property
    def name(self) -> str:
        """The place and the change, for people."""
        return f"{'.'.join(map(str, self.place)) or 'all'} {self.how}"


def mutations(value: Any) -> Iterator[Mutation]:
    """Yield every mutation of a JSON object or list."""
    for place in places(value):
        parent, last = _parent(value, place), place[-1]
        yield Mutation(place, "absent", _write(_changed(value, place)))
        for how, other in OTHERS.items():
            if other != parent[last] or type(other) is not type(parent[last]):
                yield Mutation(place, how, _write(_changed(value, place, other)))
        yield Mutation(place, "doubled", _doubled(value, place))
        yield Mutation(place, "cut", _cut(value, place))
    for how, other in OTHERS.items():
        yield Mutation((), how, _write(other))


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Yield the place of everything inside a value, outer places first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(inner):
        yield (*here, key)
        if isinstance(item, dict | list):
            yield from places(item, (*here, key))


def _parent(value: Any, place: Place) -> Any:
    for key in place[:-1]:
        value = value[key]
    return value


def _changed(value: Any, place: Place, *other: Any) -> Any:
    changed = copy.deepcopy(value)
    parent = _parent(changed, place)
    if other:
        parent[place[-1]] = other[0]
    else:
        del parent[place[-1]]
    return changed


def _doubled(value: Any, place: Place) -> bytes:
    changed = copy.deepcopy(value)
    parent, last = _parent(changed, place), place[-1]
    if isinstance(parent, list):
        assert isinstance(last, int)
        parent.insert(last, copy.deepcopy(parent[last]))
        return _write(changed)
    parent[_TWIN] = parent[last]
    return _write(changed).replace(json.dumps(_TWIN).encode(), json.dumps(last).encode())


def _cut(value: Any, place: Place) -> bytes:
    """Write a value up to the one at a place."""
    marked = _write(_changed(value, place, _TWIN))
    return marked[: marked.index(json.dumps(_TWIN).encode())]


def _write(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
