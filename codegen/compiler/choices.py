"""
Choices by a value or its JSON type: whether the cases are exhaustive, and the test of each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from codegen.compiler.operand import Operand
from codegen.compiler.runtime import BOOL, DICT, FLOAT, INT, ISINSTANCE, LIST, STR, one_of, struct
from codegen.compiler.tree import And, Call, Expression, Literal, Not, Tuple, compare
from codegen.descriptions.problem import Findings, did_you_mean
from codegen.descriptions.source import Plain
from codegen.descriptions.types import (
    AnyType,
    ArrayType,
    MapType,
    RawType,
    ScalarType,
    StructType,
    Type,
    UnionType,
    arms,
    union,
)
from codegen.rules.model import Case, PathRef

JSON_TYPES: dict[str, Expression] = {
    "string": STR,
    "number": Tuple((INT, FLOAT)),
    "boolean": BOOL,
    "object": DICT,
    "array": LIST,
}


def case_test(case: Case, subject: Expression, type_: Type) -> Expression | None:
    """Return the Python test of a case for a subject of this type, None for `otherwise`."""
    if case.equals is not None:
        return equality(subject, case.equals.value, type_)
    if case.type is None:
        return None
    structs = [struct(arm) for arm in arms(type_) if isinstance(arm, StructType)]
    kind = JSON_TYPES.get(case.type, BOOL)
    if case.type == "object" and structs:
        kind = one_of(*structs)
    test = Call(ISINSTANCE, (subject, kind))
    return _no_boolean(test, subject) if case.type == "number" and may_be_boolean(type_) else test


def equality(subject: Expression, value: Plain, type_: Type) -> Expression:
    """
    Return the test whether a value is a constant of JSON.

    Python takes `True` for `1`, and JSON does not.
    """
    if isinstance(value, bool):
        return compare(subject, "is", Literal(value))
    test = compare(subject, "==", Literal(value))
    is_number = isinstance(value, int | float)
    return _no_boolean(test, subject) if is_number and may_be_boolean(type_) else test


def _no_boolean(test: Expression, subject: Expression) -> Expression:
    return And((test, Not(Call(ISINSTANCE, (subject, BOOL)))))


def may_be_boolean(type_: Type) -> bool:
    """Tell whether true and false are among a type's values."""
    return any(
        isinstance(arm, AnyType | RawType)
        or (isinstance(arm, ScalarType) and arm.name == "boolean")
        for arm in arms(type_)
    )


def in_case(operand: Operand, case: Case) -> Operand:
    """Return what is known of a matched value inside a case."""
    if case.otherwise:
        return operand
    return replace(operand, type=_narrowed(operand.type, case.type), absent=False, null=False)


def check_exhaustive(
    findings: Findings,
    match: PathRef,
    cases: Sequence[Case],
    operand: Operand,
    label: str,
) -> None:
    """Report values without a case, and an `otherwise` that is missing or of no use."""
    caught = any(case.otherwise for case in cases)
    vocabulary = operand.type.enum if isinstance(operand.type, ScalarType) else None
    _check_possible(findings, match, cases, operand.type, label)
    named = {str(case.equals.value) for case in cases if case.equals is not None}
    kinds = {case.type for case in cases if case.type is not None}
    if isinstance(operand.type, UnionType):
        missing = [str(arm) for arm in operand.type.arms if _json_type(arm) not in kinds]
    elif vocabulary is not None:
        missing = [word for word in vocabulary if word not in named]
    elif not caught:
        findings.add(
            "open-without-otherwise",
            match.position,
            f"{label}`{match.text}` may hold any value, so the cases need an `otherwise`",
        )
        return
    else:
        return
    if missing and not caught:
        findings.add(
            "match-not-exhaustive",
            match.position,
            f"{label}`{match.text}` may also be {', '.join(missing)}",
            hint="add a case, or `otherwise`",
        )
    if not missing and caught:
        findings.add(
            "closed-with-otherwise",
            match.position,
            f"{label}every value of `{match.text}` has a case, `otherwise` never applies",
        )


def _check_possible(
    findings: Findings,
    match: PathRef,
    cases: Sequence[Case],
    type_: Type,
    label: str,
) -> None:
    """Report cases for a value that can't come."""
    vocabulary = type_.enum if isinstance(type_, ScalarType) else None
    possible = [_json_type(arm) for arm in arms(type_)]
    for case in cases:
        if case.type is not None and case.type not in JSON_TYPES:
            findings.add(
                "bad-value",
                case.position,
                f"`{case.type}` is no type of JSON",
                hint=did_you_mean(case.type, JSON_TYPES),
            )
        elif case.type is not None and not {case.type, "any"} & {*possible}:
            findings.add(
                "bad-value",
                case.position,
                f"{label}`{match.text}` is never of type {case.type}",
            )
        if case.equals is not None and not may_equal(case.equals.value, type_):
            findings.add(
                "bad-value",
                case.equals.position,
                f"{label}`{match.text}` is never {json.dumps(case.equals.value)}",
                hint=did_you_mean(str(case.equals.value), vocabulary or ()),
            )


def constant_fits(value: Plain, type_: Type) -> bool:
    """Tell whether a constant is a value of a type."""
    match type_:
        case ScalarType(name="string"):
            return isinstance(value, str) and (type_.enum is None or value in type_.enum)
        case ScalarType(name="boolean"):
            return isinstance(value, bool)
        case ScalarType(name="integer"):
            return isinstance(value, int) and not isinstance(value, bool)
        case ScalarType(name="number"):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ArrayType():
            return isinstance(value, list) and all(
                constant_fits(item, type_.item) for item in value
            )
        case MapType():
            return isinstance(value, dict)
        case AnyType():
            return True
        case _:
            return False


def may_equal(value: Plain, type_: Type) -> bool:
    """Whether a matched value of a type, which is there and not null, can be this constant."""
    if value is None:
        return False
    return any(isinstance(arm, RawType) or constant_fits(value, arm) for arm in arms(type_))


def _narrowed(type_: Type, json_type: str | None) -> Type:
    """Return what is left of a union once its JSON type is known."""
    left = [arm for arm in arms(type_) if _json_type(arm) == json_type]
    return union(left) if left else type_


def _json_type(type_: Type) -> str:
    match type_:
        case ScalarType():
            return "number" if type_.name == "integer" else type_.name
        case ArrayType():
            return "array"
        case StructType() | MapType():
            return "object"
        case _:
            return "any"
