"""
The names that generated code imports, each with its module.
"""

from __future__ import annotations

from codegen.compiler.tree import (
    NONE,
    Attribute,
    Call,
    Expression,
    Global,
    Literal,
    OneOf,
    Subscript,
    builtin,
)
from codegen.descriptions.types import (
    PYTHON_SCALARS,
    AnyType,
    ArrayType,
    MapType,
    RawType,
    ScalarType,
    StructType,
    Type,
    UnionType,
)

TYPES, CALLS, PLANS = "types", "calls", "plans"
"""The packages of generated modules: structs, what other modules call, what serves operations."""

MAPPING = Global("collections.abc", "Mapping")
PARTIAL = Global("functools", "partial")
ANY = Global("typing", "Any")
FINAL = Global("typing", "Final")
LITERAL = Global("typing", "Literal")
MSGSPEC = Global("msgspec")
UNSET = Global("msgspec", "UNSET")
UNSET_TYPE = Global("msgspec", "UnsetType")
DECODER = Attribute(Attribute(MSGSPEC, "json"), "Decoder")

TRANSFORMS = Global("gateway", "transforms")
STEPS = Global("gateway.engine", "steps")
CONTEXT = Global("gateway.runtime.context", "RequestContext")
RUN = Global("gateway.engine.run", "Run")
REFUSAL = Global("gateway.faults", "Refusal")
UPSTREAM_FAILURE = Global("gateway.faults", "UpstreamFailure")
ANSWER = Global("gateway.runtime.outcome", "Answer")
REPORT = Global("gateway.runtime.outcome", "Report")
STREAM_CALL = Global("gateway.runtime.outcome", "StreamCall")
FETCH_CALL = Global("gateway.runtime.outcome", "FetchCall")
OUTCOME = Global("gateway.runtime.outcome", "Outcome")
READ_LATE = Global("gateway.wire.reading", "read_late")
DECODE_EACH = Global("gateway.runtime.values", "decode_each")
PATH_VALUE = Global("gateway.runtime.values", "path_value")
VALUE_OF = Global("gateway.runtime.values", "value_of")
SHOWN = Global("gateway.runtime.values", "shown")
SHOWN_QUOTED = Global("gateway.runtime.values", "shown_quoted")
MEMBERS = Global("gateway.runtime.patching", "Members")
VALUES = Global("gateway.runtime.patching", "Values")
APPENDED = Global("gateway.runtime.patching", "appended")
CHANGE = Global("gateway.runtime.patching", "Change")
REWRITE = Global("gateway.runtime.patching", "Rewrite")
REWRITER = Global("gateway.transforms.rewriter", "Rewriter")
PASSED_ON = Global("gateway.runtime.patching", "PassedOn")
NEEDS = Global("gateway.runtime.needs", "Needs")
SHARED_RULES = Global(f"gateway.{CALLS}", "shared")

ENDPOINT = Global("gateway.engine.endpoint", "Endpoint")
BODY_READER = Global("gateway.engine.endpoint", "BodyReader")
UNREAD_BODY = Global("gateway.engine.endpoint", "UnreadBody")
GO_RULES = Global("gateway.wire.reading", "GoRules")

STR, BOOL, INT, FLOAT = (builtin(name) for name in ("str", "bool", "int", "float"))
LIST, DICT, LEN, ISINSTANCE = (builtin(name) for name in ("list", "dict", "len", "isinstance"))


def plan(mapping: str) -> Global:
    """Return the module with the plan of a mapping."""
    return Global(f"gateway.{PLANS}", mapping)


def structs(api: str) -> Global:
    """Return the module with the structs of an API."""
    return Global(f"gateway.{TYPES}", api)


def struct(type_: StructType) -> Attribute:
    """Return the class of a component."""
    return Attribute(structs(type_.api), type_.name)


def shown(value: Expression) -> Call:
    """Return a value as error texts show it."""
    return Call(SHOWN, (value,))


def literal_type(words: tuple[str, ...]) -> Subscript:
    """Return the type of these words and no others."""
    return Subscript(LITERAL, tuple(Literal(word) for word in words))


def one_of(*types: Expression) -> Expression:
    """Return a union of types, each once."""
    flat = [
        each for type_ in types for each in (type_.types if isinstance(type_, OneOf) else (type_,))
    ]
    different = tuple(dict.fromkeys(flat))
    return different[0] if len(different) == 1 else OneOf(different)


def annotation(type_: Type) -> Expression:
    """Return the Python annotation of a type in generated code (without absence or null)."""
    match type_:
        case ScalarType():
            if type_.enum is not None:
                return literal_type(type_.enum)
            return builtin(PYTHON_SCALARS[type_.name])
        case ArrayType():
            return Subscript(LIST, (_item(type_.item, type_.nullable),))
        case MapType():
            return Subscript(DICT, (STR, _item(type_.value, type_.nullable)))
        case RawType():
            return Attribute(MSGSPEC, "Raw")
        case AnyType():
            return ANY
        case StructType():
            return struct(type_)
        case UnionType():
            return one_of(*(annotation(arm) for arm in type_.arms))


def _item(type_: Type, nullable: bool) -> Expression:
    return one_of(annotation(type_), NONE) if nullable else annotation(type_)
