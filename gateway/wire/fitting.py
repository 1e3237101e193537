"""
Fitting decoded JSON to a struct, as leniently as Go does.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..faults import Refusal
from .go_json import Repeated, members, numbers_in
from .shapes import JsonKind, Shape, fold, plan_for

Check = Callable[[Any], str | UnsetType]

IN_STEPS: Final[dict[Check, Callable[[str], Generator[None, None, str | UnsetType]]]] = {}
"""Checks of texts that may be long, each with the same check in steps of a bounded time."""


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

    `octets` are the texts that hold bytes in base64, for which Go also takes an array of numbers.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Check] = field(default_factory=dict)
    shapes: Mapping[str, type[msgspec.Struct]] = field(default_factory=dict)
    octets: frozenset[str] = frozenset()


NO_RULES: Final = GoRules()

_RAW_MESSAGE: Final = "json.RawMessage"
_MAP: Final = "map[string]interface {}"
_NUMBER: Final = Shape(frozenset({"number"}), "float64")
_OCTET: Final = Shape(frozenset({"number"}), "uint8", is_integer=True, largest=255, smallest=0)

_KINDS: Final[Mapping[type, JsonKind]] = {
    str: "string",
    bool: "bool",
    Raw: "number",
    list: "array",
    dict: "object",
    Repeated: "object",
}

_CONTAINERS: Final = (list, dict, Repeated)

_ZEROS: Final[tuple[tuple[JsonKind, Callable[[], Any]], ...]] = (
    ("string", str),
    ("bool", bool),
    ("number", int),
    ("array", list),
    ("object", dict),
)


class Place(NamedTuple):
    """The place of a value: `path` with `[]` for elements, `label` without (for Ollama's texts)."""

    path: str
    label: str
    owner: str
    is_pinned: bool
    """Whether `owner` stays the same: inside elements that Ollama parses with separate code."""


class _Fitter:
    """
    Walks a value in document order: drops what a type does not know, complains about kinds.

    `earlier` is what an earlier value under the same key became, UNSET where there was none.
    """

    folds_keys = False
    _first_complaint: str | None = None

    def fit(self, value: Any, shape: Shape, place: Place, earlier: Any = UNSET) -> Any:
        """The value as the type takes it; complaints go to `complain`."""
        if not shape.kinds:
            return value
        if value is None:
            return self.emptied(shape, place, earlier)
        kind = _KINDS[type(value)]
        if kind not in shape.kinds or (kind == "number" and not _fits_number(value, shape)):
            self.complain(value, shape, place)
            return self.zero(shape, place)
        if kind == "array" and shape.item is not None:
            inner = self.place_of_item(place)
            looks_at_each = self.looks_at(inner)
            if not looks_at_each and _all_fit(value, shape.item):
                return value
            # After a failure, what another plain value is makes no difference any more.
            return [
                self.fit_item(item, shape.item, inner, old)
                for item, old in zip(value, _padded(earlier, len(value)), strict=True)
                if self._first_complaint is None or looks_at_each or type(item) in _CONTAINERS
            ]
        if kind == "object" and shape.struct is not None:
            return self._fit_struct(value, shape, place, earlier)
        if kind == "object" and shape.item is not None:
            inner = self.place_of_item(place)
            fitted = dict(earlier) if isinstance(earlier, dict) else {}
            for key, item in members(value):
                fitted[key] = self.fit_item(item, shape.item, inner)
            return fitted
        return value

    def fit_item(self, value: Any, shape: Shape, place: Place, earlier: Any = UNSET) -> Any:
        """An element of a list or a map."""
        return self.fit(value, shape, place, earlier)

    def emptied(self, shape: Shape, place: Place, earlier: Any) -> Any:
        """Return the value that a null leaves."""
        return None if shape.is_nullable else self.zero(shape, place)

    def looks_at(self, place: Place) -> bool:
        """Return whether values at a place must be looked at one by one, whatever their kinds."""
        return False

    def place_of_item(self, place: Place) -> Place:
        """Return the place of a list's or a map's elements."""
        return place._replace(path=f"{place.path}[]")

    def place_of_fields(self, shape: Shape, place: Place) -> Place:
        """Return the place from which the paths of a struct's fields start."""
        return place

    def complain(self, value: Any, shape: Shape, place: Place) -> None:
        """Note or raise a problem: the type does not accept the kind of a value."""
        raise NotImplementedError

    def _fit_struct(
        self, value: dict[str, Any], shape: Shape, place: Place, earlier: Any = UNSET
    ) -> dict[str, Any]:
        outer = self.place_of_fields(shape, place)
        fitted: dict[str, Any] = dict(earlier) if isinstance(earlier, dict) else {}
        for key, item in members(value):
            name = self.name_of(key, shape)
            if name is None or (item is None and not self._takes_null(name, shape, fitted)):
                continue
            inner = self.place_of_field(name, shape, outer)
            fitted[name] = self.fit(item, shape.fields[name], inner, fitted.get(name, UNSET))
        for name in shape.required:
            if name not in fitted:
                fitted[name] = self.zero(shape.fields[name], outer)
        return fitted

    def _takes_null(self, name: str, shape: Shape, fitted: dict[str, Any]) -> bool:
        return shape.fields[name].is_nullable or name in fitted

    def place_of_field(self, name: str, shape: Shape, outer: Place) -> Place:
        """Return the place of a field of the struct `shape`."""
        return outer._replace(path=f"{outer.path}.{name}" if outer.path else name)

    def name_of(self, key: str, shape: Shape) -> str | None:
        """Return the field that a key means, None when it means none."""
        if key in shape.fields:
            return key
        return shape.names.get(fold(key)) if self.folds_keys else None

    def zero(self, shape: Shape, place: Place) -> Any:
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
        self._objects = {f"{go_name}.{name}": word for name, word in objects.items()}
        self.kept_as_sent: set[str] = set()
        """Fields at the top whose bytes count as they were sent (Go's json.RawMessage)."""

    def fit_whole(self, value: Any, shape: Shape) -> Any:
        """Fit a whole body; raises `Refusal` with the first complaint."""
        fitted = self.fit(value, shape, self.place_of_whole())
        self.raise_first()
        return fitted

    def place_of_whole(self) -> Place:
        """Return the place of the body."""
        # Go joins the name of an embedded struct to the path, and an anonymous one has no name.
        is_embedded = self._go_name in self._rules.types
        label, owner = (self._go_name, "") if is_embedded else ("", self._go_name)
        return Place("", label, owner, is_pinned=False)

    def is_object(self, place: Place) -> bool:
        """Return whether a value that is kept raw must be an object."""
        return place.path in self._objects

    def fit(self, value: Any, shape: Shape, place: Place, earlier: Any = UNSET) -> Any:
        if not shape.kinds and value is not None:
            return self._fit_any(value, shape, place, earlier)
        if place.path in self._rules.octets and isinstance(value, list):
            return self._fit_octets(value, place)
        check = self._rules.checks.get(place.path)
        if check is not None and value is not None:
            if "string" in shape.kinds:
                if isinstance(value, str):
                    self.note(check(value))
            else:
                place = self._checked(check, value, place)
        return super().fit(value, shape, place, earlier)

    def note(self, problem: str | UnsetType) -> None:
        """Note what a check finds, if it finds something."""
        if not isinstance(problem, UnsetType):
            self._first_complaint = self._first_complaint or problem

    def fit_item(self, value: Any, shape: Shape, place: Place, earlier: Any = UNSET) -> Any:
        if not self._is_parsed_alone(place):
            return super().fit_item(value, shape, place, earlier)
        before = self.begin_item(place)
        fitted = super().fit_item(value, shape, self.pinned(place))
        self.end_item(place, before)
        return fitted

    def pinned(self, place: Place) -> Place:
        """Return the place inside an item, whose owner stays if it is parsed alone."""
        return place._replace(is_pinned=True) if self._is_parsed_alone(place) else place

    def begin_item(self, place: Place) -> str | None:
        """Begin an item: complaints before it wait while it is parsed alone. Returns these."""
        before = self._first_complaint
        if self._is_parsed_alone(place):
            self._first_complaint = None
        return before

    def end_item(self, place: Place, before: str | None) -> None:
        """End an item; raises its own complaint if it was parsed alone."""
        if self._is_parsed_alone(place):
            self.raise_first()
            self._first_complaint = before

    def looks_at(self, place: Place) -> bool:
        path, rules = place.path, self._rules
        return path in rules.checks or path in rules.shapes or self._is_parsed_alone(place)

    def emptied(self, shape: Shape, place: Place, earlier: Any) -> Any:
        is_scalar = not shape.kinds & {"array", "object"}
        is_kept = is_scalar or shape.struct is not None
        if is_kept and not self._rules.types.get(place.path, "").startswith("*"):
            return super().emptied(shape, place, earlier) if earlier is UNSET else earlier
        return super().emptied(shape, place, earlier)

    def place_of_fields(self, shape: Shape, place: Place) -> Place:
        if place.is_pinned or not place.path:
            return place
        word = self._rules.types.get(place.path, shape.struct or "")
        return place._replace(owner=word.rpartition(".")[2])

    def place_of_field(self, name: str, shape: Shape, outer: Place) -> Place:
        label = f"{outer.label}.{name}" if outer.label else name
        return outer._replace(path=f"{shape.struct}.{name}", label=label)

    def complain(self, value: Any, shape: Shape, place: Place) -> None:
        kind: str = _KINDS[type(value)]
        if kind == "number" and "number" in shape.kinds:
            kind = f"number {bytes(value).decode()}"
        if place.path:
            word = self._objects.get(place.path) or self._rules.types.get(place.path)
            if word is None or shape is _NUMBER or shape is _OCTET:
                word = shape.word
            target = f"struct field {place.owner}.{place.label} of type {word.removeprefix('*')}"
        else:
            word = self._rules.types.get(self._go_name, f"api.{self._go_name}")
            target = f"value of type {word}"
        complaint = f"json: cannot unmarshal {kind} into Go {target}"
        self._first_complaint = self._first_complaint or complaint

    def _fit_any(self, value: Any, shape: Shape, place: Place, earlier: Any) -> Any:
        """Fit a value that has no type here: a map, a value kept as sent, or one of Go's `any`."""
        is_map = self._objects.get(place.path) == _MAP
        if is_map and not isinstance(value, dict):
            self.complain(value, shape, place)
            return None
        check = self._rules.checks.get(place.path)
        if check is not None:
            place = self._checked(check, value, place)
        inner = self._rules.shapes.get(place.path)
        if inner is not None:
            # Only the complaints count: what is handed on is what was sent.
            super().fit(value, replace(plan_for(inner).shape, is_nullable=True), place)
        elif self._rules.types.get(place.path) == _RAW_MESSAGE:
            self.kept_as_sent.add(place.path.rpartition(".")[2])
        elif check is None:
            for number in numbers_in(value):
                if not _fits_number(number, _NUMBER):
                    self.complain(number, _NUMBER, place)
        if is_map and isinstance(earlier, dict):
            return {**earlier, **value}
        return value

    def _fit_octets(self, value: list[Any], place: Place) -> str:
        """An array of numbers for bytes, as the base64 that stands for them everywhere else."""
        found = bytearray()
        for item in value:
            fitted = super().fit(item, _OCTET, place, 0)
            found.append(int(bytes(fitted)) if isinstance(fitted, Raw) else 0)
        return base64.b64encode(found).decode("ascii")

    def _checked(self, check: Check, value: Any, place: Place) -> Place:
        """The place inside what code of Ollama's own reads; raises what that code would say."""
        problem = check(Raw(msgspec.json.encode(value)))
        if isinstance(problem, UnsetType):
            return place._replace(is_pinned=True)
        # A type error of such code names no field; the decoder around it adds where it was.
        field_of = f"into Go struct field {place.owner}.{place.label} of type "
        raise Refusal(400, problem.replace("into Go value of type ", field_of))

    def _is_parsed_alone(self, place: Place) -> bool:
        """Return whether elements are decoded one by one, so that the first bad one is reported."""
        of_own = self._rules.types.get(place.path, "").endswith(".Alias")
        return of_own or place.path.removesuffix("[]") in self._rules.checks

    def raise_first(self) -> None:
        """Raise the first complaint that is noted, if there is one."""
        if self._first_complaint is not None:
            raise Refusal(400, self._first_complaint)


class LateFitter(_Fitter):
    """Fits a late value; every failure has its own text."""

    def __init__(self, refusals: Mapping[str, str], status: int) -> None:
        self._refusals = refusals
        self._status = status

    def fit_whole(self, value: Any, shape: Shape) -> Any:
        return self.fit(value, shape, Place("", "", "", is_pinned=False))

    def fit_item(self, value: Any, shape: Shape, place: Place, earlier: Any = UNSET) -> Any:
        if value is None and shape.kinds:
            self.complain(value, shape, place)
        return super().fit_item(value, shape, place)

    def complain(self, value: Any, shape: Shape, place: Place) -> NoReturn:
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


_WHOLE_NUMBERS: Final = re.compile(rb"-?+[0-9]{1,19}+(?>,-?+[0-9]{1,19}+)*+")


def _all_fit(items: list[Any], shape: Shape) -> bool:
    """
    Return whether a list's elements are plain values that all fit, without a step for each.

    False may also mean that they must be looked at one by one.
    """
    if not items or shape.struct is not None or shape.item is not None:
        return False
    kinds = set(map(type, items))
    if not kinds.isdisjoint(_CONTAINERS):
        return False
    if not all(kind in _KINDS and _KINDS[kind] in shape.kinds for kind in kinds):
        return False
    if Raw not in kinds:
        return True
    if len(kinds) > 1:
        return False
    if shape.is_integer:
        if _WHOLE_NUMBERS.fullmatch(b",".join(items)) is None:
            return False
        numbers = list(map(int, map(bytes, items)))
        return shape.smallest <= min(numbers) and max(numbers) <= shape.largest
    return all(map(math.isfinite, map(float, map(bytes, items))))


def _padded(earlier: Any, count: int) -> list[Any]:
    """The earlier elements of a list, as many as are wanted."""
    known = earlier if isinstance(earlier, list) else []
    return [*known[:count], *[UNSET] * (count - len(known))]


def _fits_number(value: Raw, shape: Shape) -> bool:
    text = bytes(value).decode()
    if not shape.is_integer:
        return math.isfinite(float(text))
    # Python refuses to read thousands of digits, and twenty are past all bounds.
    digits = text.removeprefix("-")
    return digits.isdigit() and len(digits) < 20 and shape.smallest <= int(text) <= shape.largest
