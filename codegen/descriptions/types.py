"""
The types that rules are checked against: JSON's, plus named structs of the specs.

A field's absence and nullability belong to the field, not to its type.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from keyword import iskeyword
from typing import Literal, TypeAlias

from codegen.descriptions.problem import Position

ScalarName = Literal["string", "integer", "number", "boolean"]

PYTHON_SCALARS: dict[ScalarName, str] = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
}


@dataclass(frozen=True)
class ScalarType:
    """A string, integer, number or boolean; `enum` closes its vocabulary."""

    name: ScalarName
    enum: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class ArrayType:
    """A list of one kind of item; `nullable` when null may stand among them."""

    item: Type
    nullable: bool = False

    def __str__(self) -> str:
        return f"array of {self.item}{' or null' if self.nullable else ''}"


@dataclass(frozen=True)
class MapType:
    """
    An object with free keys; `nullable` when its values may be null.

    `keys` is a component whose fields tell which keys are known; it is held as a mapping all the
    same, and a known key may be absent but never null.
    """

    value: Type
    nullable: bool = False
    keys: tuple[str, str] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        what = "" if isinstance(self.value, AnyType) else f" of {self.value}"
        return f"object with free keys{what}{' or null' if self.nullable else ''}"


@dataclass(frozen=True)
class RawType:
    """JSON kept as bytes; `late` names the struct it is decoded into in a second stage."""

    late: tuple[str, str] | None = None

    def __str__(self) -> str:
        return "raw JSON"


@dataclass(frozen=True)
class AnyType:
    """Decoded JSON of any shape."""

    def __str__(self) -> str:
        return "any JSON value"


@dataclass(frozen=True)
class StructType:
    """A named component of a spec; its fields are looked up, so that types may recurse."""

    api: str
    name: str

    def __str__(self) -> str:
        return f"{self.api}:{self.name}"


@dataclass(frozen=True)
class UnionType:
    """One of several; null is never an arm (it is the field's `nullable`)."""

    arms: tuple[Type, ...]

    def __str__(self) -> str:
        return "|".join(str(arm) for arm in self.arms)


Type: TypeAlias = ScalarType | ArrayType | MapType | RawType | AnyType | StructType | UnionType


@dataclass(frozen=True)
class Field:
    """A struct's field as the spec states it."""

    name: str
    type: Type
    required: bool
    nullable: bool
    position: Position
    refusal: str | None = None
    item_refusal: str | None = None
    read_by: str | None = None
    changes: bool = False
    """Whether reading it twice in one request may give two values."""
    appends: bool = False
    """Whether its values in a stream's chunks are pieces of one whole."""
    begins_prompt: bool = False
    """Whether a prompt begins with it."""
    ends_beginning: str | None = None
    """The value with which the object that has it is the last one of a prompt's beginning."""
    needs: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """The capabilities that it needs with one of these words; without words, where it is filled."""
    asks_context: bool = False
    """Whether it asks for a context of so many tokens."""

    @property
    def attribute(self) -> str:
        """The field's name in the generated struct."""
        return python_name(self.name)


@dataclass(frozen=True)
class Struct:
    """A component with named fields, in the spec's order."""

    type: StructType
    position: Position
    fields: dict[str, Field] = field(default_factory=dict)


def python_name(name: str) -> str:
    """
    Return the attribute that datamodel-code-generator gives a property.

    >>> python_name("from"), python_name("_debug_info"), python_name("model")
    ('from_', 'field_debug_info', 'model')
    """
    if name[0] in "_$":
        return "field_" + name[1:]
    return name + "_" if iskeyword(name) else name


def arms(type_: Type) -> tuple[Type, ...]:
    """Return a union's arms, or the type alone."""
    return type_.arms if isinstance(type_, UnionType) else (type_,)


def union(types: Iterable[Type]) -> Type:
    """Join types into one, flattening unions and dropping repeats."""
    flat = tuple(dict.fromkeys(arm for type_ in types for arm in arms(type_)))
    return flat[0] if len(flat) == 1 else UnionType(flat)


def fits(source: Type, target: Type) -> bool:
    """
    Tell whether every value of `source` is a value of `target`.

    An integer is a number. An open string does not fit a closed vocabulary. What a list or an
    object holds must be of the same type, as Python's type checker wants it of what may be changed.
    """
    return all(any(_arm_fits(arm, other) for other in arms(target)) for arm in arms(source))


def _arm_fits(source: Type, target: Type) -> bool:
    match source, target:
        case (_, AnyType()):
            return not isinstance(source, RawType)
        case (ScalarType(), ScalarType()):
            if source.name != target.name:
                return source.name == "integer" and target.name == "number"
            if target.enum is None:
                return True
            return source.enum is not None and set(source.enum) <= set(target.enum)
        case (ArrayType(), ArrayType()):
            return source.nullable == target.nullable and _is_same(source.item, target.item)
        case (MapType(), MapType()):
            return source.nullable == target.nullable and _is_same(source.value, target.value)
        case (RawType(), RawType()):
            return True
        case (StructType(), StructType()):
            return source == target
        case _:
            return False


def _is_same(source: Type, target: Type) -> bool:
    """Tell whether two types have the same values; what may be anything goes with all."""
    if isinstance(source, AnyType) or isinstance(target, AnyType):
        return not (isinstance(source, RawType) or isinstance(target, RawType))
    if isinstance(source, ScalarType) and isinstance(target, ScalarType):
        return source.name == target.name and set(source.enum or ()) == set(target.enum or ())
    return fits(source, target) and fits(target, source)
