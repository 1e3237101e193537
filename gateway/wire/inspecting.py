"""
Inspecting decoded bodies: checks and shapes that the typed decode cannot see.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any, Final

import msgspec
from msgspec import UNSET
from msgspec import inspect as types

from .fitting import Check, GoRules
from .lenient import UNREADABLE
from .shapes import Shape, plan_for

_Inspector = Callable[[Any], bool]

_INSPECTORS: Final[dict[tuple[Any, GoRules], _Inspector]] = {}


def inspector_for(kind: Any, rules: GoRules) -> _Inspector:
    """
    Return what tells whether a decoded value of a type passes the checks and shapes of the rules.
    """
    known = _INSPECTORS.get((kind, rules))
    if known is None:
        known = _Inspectors(rules).of(types.type_info(kind), "") or _sees_nothing
        _INSPECTORS[kind, rules] = known
    return known


def _sees_nothing(_: object) -> bool:
    return True


class _Inspectors:
    """Builds functions that return whether a decoded value passes the checks and shapes."""

    def __init__(self, rules: GoRules) -> None:
        self._rules = rules
        self._structs: dict[type, list[tuple[str, _Inspector]]] = {}

    def of(self, info: types.Type, key: str) -> _Inspector | None:
        """
        Return the inspector of a type's values at a key; None if there is nothing to inspect.

        It is not called for an absent value or null, which are fine; a null that matters is still
        raw here.
        """
        inspectors = list(self._parts(info, key))
        if len(inspectors) <= 1:
            # Nearly always, and one is entered for every value of every request.
            return inspectors[0] if inspectors else None
        return lambda value: all(one(value) for one in inspectors)

    def _parts(self, info: types.Type, key: str) -> Iterator[_Inspector]:
        check = self._rules.checks.get(key)
        if check is not None:
            yield _answers_nothing(check)
        shape = self._rules.shapes.get(key)
        if shape is not None:
            yield _fits_shape(shape)
        for member in info.types if isinstance(info, types.UnionType) else (info,):
            if isinstance(member, types.StructType):
                if steps := self._steps(member):
                    yield _fields(steps)
            elif isinstance(member, types.CollectionType):
                if look := self.of(member.item_type, f"{key}[]"):
                    yield _items(look)
            elif isinstance(member, types.DictType) and (
                look := self.of(member.value_type, f"{key}[]")
            ):
                yield _values(look)

    def _steps(self, info: types.StructType) -> list[tuple[str, _Inspector]]:
        steps = self._structs.get(info.cls)
        if steps is None:
            steps = self._structs[info.cls] = []
            for each in info.fields:
                look = self.of(each.type, f"{info.cls.__name__}.{each.encode_name}")
                if look is not None:
                    steps.append((each.name, look))
        return steps


def _answers_nothing(check: Check) -> _Inspector:
    return lambda value: check(value) is UNSET


def _fields(steps: list[tuple[str, _Inspector]]) -> _Inspector:
    names, looks = zip(*steps, strict=True)
    if len(names) == 1:
        (name,), (only,) = names, looks

        def fit_one(value: Any) -> bool:
            held = getattr(value, name)
            return held is UNSET or held is None or only(held)

        return fit_one
    read = attrgetter(*names)
    nothing = (UNSET,) * len(names)

    def fit(value: Any) -> bool:
        held = read(value)
        # Most fields of most requests are absent.
        if held == nothing:
            return True
        for at, each in enumerate(held):
            if each is not UNSET and each is not None and not looks[at](each):
                return False
        return True

    return fit


def _items(look: _Inspector) -> _Inspector:
    def fit(value: Iterable[Any]) -> bool:
        for each in value:  # noqa: SIM110 - a generator costs more than its steps
            if each is not None and not look(each):
                return False
        return True

    return fit


def _values(look: _Inspector) -> _Inspector:
    of_items = _items(look)
    return lambda value: of_items(value.values())


def _fits_shape(shape: type[msgspec.Struct]) -> _Inspector:
    decoder = msgspec.json.Decoder[Any](shape | None)
    names = {name for each in _structs_in(shape) for name in each.fields}
    spelled = re.compile(
        rb'"(' + b"|".join(re.escape(name.encode()) for name in names) + rb')"[ \t\r\n]*:',
        re.IGNORECASE,
    )
    known = {name.encode() for name in names}

    def fits(value: Any) -> bool:
        try:
            decoder.decode(value)
        except UNREADABLE:
            return False
        # A key in another letter case was ignored.
        return all(match[1] in known for match in spelled.finditer(value))

    return fits


def _structs_in(kind: Any) -> Iterator[Shape]:
    waiting, seen = [plan_for(kind).shape], set[int]()
    while waiting:
        shape = waiting.pop()
        if id(shape.fields) not in seen:
            seen.add(id(shape.fields))
            if shape.struct is not None:
                yield shape
            waiting += shape.fields.values()
        if shape.item is not None:
            waiting.append(shape.item)
