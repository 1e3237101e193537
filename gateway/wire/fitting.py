"""
Fitting decoded JSON to a struct, as leniently as Go does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.faults import Refusal
from gateway.wire.shapes import JsonKind, Shape, fold, plan_for

Check = Callable[[Any], str | UnsetType]


@dataclass(frozen=True, eq=False)
class GoRules:
    """Properties of Ollama's Go types that a struct does not have.

    All keys are `Struct.field`, with `[]` for the elements of a list or of a map.

    `types` are the Go types that cannot be derived: `ChatRequest.tools` is "api.Tools",
    `Message.images[]` is "api.ImageData". Other types are derived: a struct `Tool` is "api.Tool", a
    list of it is "[]api.Tool". A word that ends in ".Alias" marks elements that Ollama parses with
    separate code: a failure inside such an element ends the parsing, so it takes precedence over
    every other type error, and is reported with the name of the struct around it.

    `checks` return the problem of a value whose type is right. On a field of any type but string,
    the check stands for separate code of Ollama and ends the parsing like an ".Alias"; the check
    gets the field's value as raw JSON. On a string, it is one failure among the others.

    `shapes` name the struct that a raw value must fit; the value itself stays as it was sent.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Check] = field(default_factory=dict)
    shapes: Mapping[str, type[msgspec.Struct]] = field(default_factory=dict)


NO_RULES: Final = GoRules()

_KINDS: Final[Mapping[type, JsonKind]] = {
    str: "string",
    bool: "bool",
    Raw: "number",
    list: "array",
    dict: "object",
}

_CONTAINERS: Final = (list, dict)

_ZEROS: Final[tuple[tuple[JsonKind, Callable[[], Any]], ...]] = (
    ("string", str),
    ("bool", bool),
    ("number", int),
    ("array", list),
    ("object", dict),
)


class _Place(NamedTuple):
    """The place of a value: `path` with `[]` for elements, `label` without (for Ollama's texts)."""

    path: str
    label: str
    owner: str
    is_pinned: bool
    """Whether `owner` stays the same: inside elements that Ollama parses with separate code."""


class _Fitter:
    """Walks a value in document order, drops unknown fields, and reports wrong kinds."""

    folds_keys = False
    _first_complaint: str | None = None

    def fit(self, value: Any, shape: Shape, place: _Place) -> Any:
        """Return the value as the type accepts it; problems go to `complain`."""
        if not shape.kinds:
            return value
        if value is None:
            return None if shape.is_nullable else self._zero(shape, place)
        kind = _KINDS[type(value)]
        if kind not in shape.kinds or (kind == "number" and not _fits_number(value, shape)):
            self.complain(value, shape, place)
            return self._zero(shape, place)
        if kind == "array" and shape.item is not None:
            inner = self.place_of_item(place)
            looks_at_each = self.looks_at(inner)
            if not looks_at_each and _all_fit(value, shape.item):
                return value
            # After a failure, what another plain value is makes no difference any more.
            return [
                self.fit_item(item, shape.item, inner)
                for item in value
                if self._first_complaint is None or looks_at_each or type(item) in _CONTAINERS
            ]
        if kind == "object" and shape.struct is not None:
            return self._fit_struct(value, shape, place)
        if kind == "object" and shape.item is not None:
            inner = self.place_of_item(place)
            return {key: self.fit_item(item, shape.item, inner) for key, item in value.items()}
        return value

    def fit_item(self, value: Any, shape: Shape, place: _Place) -> Any:
        """Return an element of a list or a map as its type accepts it."""
        return self.fit(value, shape, place)

    def looks_at(self, place: _Place) -> bool:
        """Return whether values at a place must be looked at one by one, whatever their kinds."""
        return False

    def place_of_item(self, place: _Place) -> _Place:
        """Return the place of a list's or a map's elements."""
        return place._replace(path=f"{place.path}[]")

    def place_of_fields(self, shape: Shape, place: _Place) -> _Place:
        """Return the place from which the paths of a struct's fields start."""
        return place

    def complain(self, value: Any, shape: Shape, place: _Place) -> None:
        """Note or raise a problem: the type does not accept the kind of a value."""
        raise NotImplementedError

    def _fit_struct(self, value: dict[str, Any], shape: Shape, place: _Place) -> dict[str, Any]:
        outer = self.place_of_fields(shape, place)
        fitted: dict[str, Any] = {}
        for key, item in value.items():
            name = self._name_of(key, shape)
            if name is not None and (item is not None or shape.fields[name].is_nullable):
                inner = self.place_of_field(name, shape, outer)
                fitted[name] = self.fit(item, shape.fields[name], inner)
        for name in shape.required:
            if name not in fitted:
                fitted[name] = self._zero(shape.fields[name], outer)
        return fitted

    def place_of_field(self, name: str, shape: Shape, outer: _Place) -> _Place:
        """Return the place of a field of the struct `shape`."""
        return outer._replace(path=f"{outer.path}.{name}" if outer.path else name)

    def _name_of(self, key: str, shape: Shape) -> str | None:
        if key in shape.fields:
            return key
        return shape.names.get(fold(key)) if self.folds_keys else None

    def _zero(self, shape: Shape, place: _Place) -> Any:
        """Return Go's zero value, which replaces a null if the type has no null."""
        if shape.is_nullable:
            return None
        if shape.struct is not None:
            return self._fit_struct({}, shape, place)
        return next(make() for kind, make in _ZEROS if kind in shape.kinds)


class BodyFitter(_Fitter):
    """Fits a body, and raises the failure that Ollama reports."""

    folds_keys = True

    def __init__(self, go_name: str, rules: GoRules, objects: Mapping[str, str]) -> None:
        self._go_name = go_name
        self._rules = rules
        self._objects = objects

    def fit_whole(self, value: Any, shape: Shape) -> Any:
        fitted = self.fit(value, shape, _Place("", "", self._go_name, is_pinned=False))
        self._raise_first()
        return fitted

    def fit(self, value: Any, shape: Shape, place: _Place) -> Any:
        if not shape.kinds and place.label in self._objects and not isinstance(value, dict | None):
            self.complain(value, shape, place)
            return None
        check = self._rules.checks.get(place.path)
        if check is not None and value is not None:
            if "string" in shape.kinds:
                problem = check(value) if isinstance(value, str) else UNSET
                if not isinstance(problem, UnsetType):
                    self._first_complaint = self._first_complaint or problem
            else:
                problem = check(Raw(msgspec.json.encode(value)))
                if not isinstance(problem, UnsetType):
                    raise Refusal(400, problem)
                place = place._replace(is_pinned=True)
        inner = self._rules.shapes.get(place.path)
        if inner is not None:
            # Only the problems matter here: the value is passed on as it was sent.
            super().fit(value, replace(plan_for(inner).shape, is_nullable=True), place)
            return value
        return super().fit(value, shape, place)

    def fit_item(self, value: Any, shape: Shape, place: _Place) -> Any:
        if not self._is_parsed_alone(place):
            return super().fit_item(value, shape, place)
        earlier, self._first_complaint = self._first_complaint, None
        fitted = super().fit_item(value, shape, place._replace(is_pinned=True))
        self._raise_first()
        self._first_complaint = earlier
        return fitted

    def looks_at(self, place: _Place) -> bool:
        path, rules = place.path, self._rules
        return path in rules.checks or path in rules.shapes or self._is_parsed_alone(place)

    def place_of_fields(self, shape: Shape, place: _Place) -> _Place:
        if place.is_pinned or not place.path:
            return place
        word = self._rules.types.get(place.path, shape.struct or "")
        return place._replace(owner=word.rpartition(".")[2])

    def place_of_field(self, name: str, shape: Shape, outer: _Place) -> _Place:
        label = f"{outer.label}.{name}" if outer.label else name
        return outer._replace(path=f"{shape.struct}.{name}", label=label)

    def complain(self, value: Any, shape: Shape, place: _Place) -> None:
        kind: str = _KINDS[type(value)]
        if kind == "number" and "number" in shape.kinds:
            kind = f"number {bytes(value).decode()}"
        if place.path:
            word = self._rules.types.get(place.path) or self._objects.get(place.label, shape.word)
            target = f"Go struct field {place.owner}.{place.label} of type {word}"
        else:
            target = f"Go value of type api.{self._go_name}"
        complaint = f"json: cannot unmarshal {kind} into {target}"
        self._first_complaint = self._first_complaint or complaint

    def _is_parsed_alone(self, place: _Place) -> bool:
        """Return whether elements are decoded one by one, so that the first bad one is reported."""
        of_own = self._rules.types.get(place.path, "").endswith(".Alias")
        return of_own or place.path.removesuffix("[]") in self._rules.checks

    def _raise_first(self) -> None:
        if self._first_complaint is not None:
            raise Refusal(400, self._first_complaint)


class LateFitter(_Fitter):
    """Fits a late value; every failure has its own text."""

    def __init__(self, refusals: Mapping[str, str], status: int) -> None:
        self._refusals = refusals
        self._status = status

    def fit_whole(self, value: Any, shape: Shape) -> Any:
        return self.fit(value, shape, _Place("", "", "", is_pinned=False))

    def fit_item(self, value: Any, shape: Shape, place: _Place) -> Any:
        if value is None and shape.kinds:
            self.complain(value, shape, place)
        return super().fit_item(value, shape, place)

    def complain(self, value: Any, shape: Shape, place: _Place) -> NoReturn:
        for path in _path_and_parents(place.path):
            if path in self._refusals:
                raise Refusal(self._status, self._refusals[path])
        expected = " or ".join(sorted(shape.kinds))
        where = f'"{place.path}"' if place.path else "the value"
        raise Refusal(self._status, f"{where} must be of type {expected}")


def _path_and_parents(path: str) -> Iterator[str]:
    yield path
    while path.endswith("[]"):
        path = path.removesuffix("[]")
        yield path


_WHOLE_NUMBERS: Final = re.compile(rb"-?+[0-9]++(?:,-?+[0-9]++)*+")


def _all_fit(items: list[Any], shape: Shape) -> bool:
    """
    Return whether a list's elements are plain values that all fit, without a step for each.

    False may also mean that they must be looked at one by one.
    """
    if not items or shape.struct is not None or shape.item is not None:
        return False
    kinds = set(map(type, items))
    if not all(kind in _KINDS and _KINDS[kind] in shape.kinds for kind in kinds):
        return False
    if Raw not in kinds:
        return True
    if len(kinds) > 1:
        return False
    if shape.is_integer:
        return _WHOLE_NUMBERS.fullmatch(b",".join(items)) is not None
    return all(map(math.isfinite, map(float, map(bytes, items))))


def _fits_number(value: Raw, shape: Shape) -> bool:
    text = bytes(value).decode()
    if shape.is_integer:
        return text.removeprefix("-").isdigit()
    return math.isfinite(float(text))
