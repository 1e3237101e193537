"""
The rules of Go's decoder for a generated struct, derived once for each type.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple

from msgspec import inspect as types

JsonKind = Literal["string", "number", "bool", "array", "object"]


@dataclass(slots=True, eq=False)
class Shape:
    """The values that a type accepts. Without kinds, it accepts any value unchanged."""

    kinds: frozenset[JsonKind] = frozenset()
    word: str = "interface {}"
    is_nullable: bool = False
    is_integer: bool = False
    smallest: int = -(2**63)
    largest: int = 2**63 - 1
    """The bounds of an integer; Go's `int` unless stated."""
    item: Shape | None = None
    struct: str | None = None
    fields: dict[str, Shape] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Maps a folded name to the field's JSON name."""
    required: tuple[str, ...] = ()


class Plan(NamedTuple):
    shape: Shape
    attributes: dict[str, str]
    """Maps JSON names to attributes, for the type's own fields."""
    holds_raw: bool
    is_closed: bool
    """Whether every struct in the type forbids unknown fields."""


_SCALARS: Final[tuple[tuple[type[types.Type], JsonKind, str], ...]] = (
    (types.StrType, "string", "string"),
    (types.BoolType, "bool", "bool"),
    (types.IntType, "number", "int"),
    (types.FloatType, "number", "float64"),
)


class _Planner:
    """Derives shapes from msgspec's type information, recursive types included."""

    def __init__(self) -> None:
        self.holds_raw = False
        self.is_closed = True
        self._structs: dict[type, Shape] = {}

    def shape_of(self, info: types.Type) -> Shape:
        for scalar, kind, word in _SCALARS:
            if isinstance(info, scalar):
                is_integer = isinstance(info, types.IntType)
                return Shape(frozenset({kind}), word, is_integer=is_integer)
        if isinstance(info, types.RawType):
            self.holds_raw = True
        elif isinstance(info, types.UnionType):
            return self._union(info)
        elif isinstance(info, types.CollectionType):
            item = self.shape_of(info.item_type)
            return Shape(frozenset({"array"}), f"[]{item.word}", item=item)
        elif isinstance(info, types.DictType):
            item = self.shape_of(info.value_type)
            return Shape(frozenset({"object"}), f"map[string]{item.word}", item=item)
        elif isinstance(info, types.StructType) and not info.array_like:
            return self._struct(info)
        elif isinstance(info, types.LiteralType | types.EnumType):
            return self._vocabulary(info)
        return Shape(is_nullable=True)

    def _union(self, info: types.UnionType) -> Shape:
        members = [kind for kind in info.types if not isinstance(kind, types.NoneType)]
        is_nullable = len(members) < len(info.types)
        shapes = [self.shape_of(member) for member in members]
        if len(shapes) == 1:
            # The fields of a struct that refers to itself are filled in later, so they are shared.
            return replace(shapes[0], is_nullable=is_nullable or shapes[0].is_nullable)
        if not all(shape.kinds for shape in shapes):
            return Shape(is_nullable=True)
        kinds = frozenset[JsonKind]().union(*(shape.kinds for shape in shapes))
        whole = Shape(kinds, is_nullable=is_nullable)
        for shape in shapes:
            whole.item = whole.item or shape.item
            if shape.struct is not None:
                whole.struct, whole.fields, whole.names = shape.struct, shape.fields, shape.names
                whole.required = shape.required
        if kinds == {"number"}:
            whole.word = "float64"
        return whole

    def _struct(self, info: types.StructType) -> Shape:
        known = self._structs.get(info.cls)
        if known is not None:
            return known
        self.is_closed = self.is_closed and info.forbid_unknown_fields
        name = info.cls.__name__
        shape = Shape(
            frozenset({"object"}),
            f"api.{name}",
            struct=name,
            required=tuple(each.encode_name for each in info.fields if each.required),
        )
        self._structs[info.cls] = shape
        if info.tag_field is not None:
            shape.fields[info.tag_field] = Shape(is_nullable=True)
        for each in info.fields:
            shape.fields[each.encode_name] = self.shape_of(each.type)
        shape.names.update((fold(each), each) for each in shape.fields)
        return shape

    def _vocabulary(self, info: types.LiteralType | types.EnumType) -> Shape:
        values = (
            info.values
            if isinstance(info, types.LiteralType)
            else tuple(member.value for member in info.cls)
        )
        are_texts = all(isinstance(value, str) for value in values)
        return Shape(frozenset({"string"}), "string") if are_texts else Shape(is_nullable=True)


_PLANS: Final[dict[Any, Plan]] = {}


def plan_for(kind: Any) -> Plan:
    plan = _PLANS.get(kind)
    if plan is None:
        info = types.type_info(kind)
        planner = _Planner()
        shape = planner.shape_of(info)
        fields = info.fields if isinstance(info, types.StructType) else ()
        attributes = {each.encode_name: each.name for each in fields}
        plan = _PLANS[kind] = Plan(shape, attributes, planner.holds_raw, planner.is_closed)
    return plan


def fold(key: str) -> str:
    # Go also folds the two non-ASCII letters with an ASCII counterpart: long s and the Kelvin sign.
    return key.lower().replace("\u017f", "s")
