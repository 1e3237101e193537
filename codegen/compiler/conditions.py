"""
Conditions of rules as Python tests. A condition only looks: it decides nothing of where a field
goes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeGuard

from codegen.compiler.choices import equality, may_be_boolean, may_equal
from codegen.compiler.invocations import Invocations
from codegen.compiler.operand import Operand
from codegen.compiler.place import Place
from codegen.compiler.runtime import UNSET
from codegen.compiler.tree import (
    FALSE,
    NONE,
    TRUE,
    Compare,
    Expression,
    Literal,
    Not,
    Or,
    Tuple,
    all_of,
    any_of,
    compare,
    negated,
)
from codegen.descriptions.problem import Findings, did_you_mean
from codegen.descriptions.source import Plain
from codegen.descriptions.types import AnyType, RawType, ScalarType, Type, arms
from codegen.rules.model import Condition, Constant, PathRef

BOOLEAN = ScalarType("boolean")
EMPTY = (Literal(""), Literal([]), Literal({}))


class Conditions:
    """Writes the conditions of one place."""

    def __init__(self, place: Place, invocations: Invocations) -> None:
        self._place = place
        self._invocations = invocations
        self._findings = place.findings

    def test(self, condition: Condition) -> Expression:
        """Return the Python test of a condition, true or not; problems leave `False` behind."""
        check_contradiction(self._findings, condition)
        with self._place.inspecting():
            return all_of(self._tests(condition)) or FALSE

    @contextmanager
    def where(self, condition: Condition | None) -> Iterator[None]:
        """Know, for what is written meanwhile, that a condition is met there."""
        there: set[Expression] = set()
        if condition is not None and len(condition.nonempty) == 1:
            with self._place.inspecting():
                found = self._operands(condition.nonempty)
                there = {self._place.held(operand).code for _, operand in found}
        with self._place.where_present(there):
            yield

    def _tests(self, condition: Condition) -> list[Expression | None]:
        tests: list[Expression | None] = [self._is_empty(path) for path in condition.empty]
        tests.append(any_of(filter(None, map(self._is_filled, condition.nonempty))))
        tests.append(any_of(map(self._presence, self._operands(condition.present))))
        tests += map(self._is_absent, self._operands(condition.absent))
        if condition.true is not None:
            tests.append(self._is_true(condition.true))
        if condition.equals is not None:
            tests.append(self._equals(*condition.equals))
        if condition.between is not None:
            tests.append(self._between(*condition.between))
        if condition.via is not None:
            tests.append(self._asked(condition, condition.via))
        return tests

    def _asked(self, condition: Condition, name: str) -> Expression | None:
        asked = self._invocations.transform(name, condition.arguments, condition.position)
        if asked is None:
            return None
        if asked.checked and (asked.type != BOOLEAN or asked.null):
            self._findings.add(
                "type-mismatch",
                condition.position,
                f"`{name}` returns {asked.type}, a condition wants boolean",
            )
        return compare(asked.code, "is", TRUE) if asked.absent else asked.code

    def _is_empty(self, path: PathRef) -> Expression | None:
        filled = self._is_filled(path)
        if isinstance(filled, Compare):
            return negated(filled)
        return Not(filled) if filled is not None else None

    def _is_filled(self, path: PathRef) -> Expression | None:
        """Return the test whether a value is there and not empty: `0` and `false` never are."""
        operand = self._place.path(path)
        if operand is None:
            return None
        self._check(operand, path, "numbers and booleans are never empty", _may_be_empty)
        held = self._place.held(operand)
        if isinstance(operand.type, RawType):
            return compare(self._decoded(held, path), "not in", Tuple((NONE, *EMPTY)))
        if isinstance(operand.type, AnyType):
            return compare(held.code, "not in", Tuple((UNSET, NONE, *EMPTY)))
        return held.code

    def _is_true(self, path: PathRef) -> Expression | None:
        operand = self._place.path(path)
        if operand is None:
            return None
        self._check(operand, path, "`true` wants boolean", may_be_boolean)
        return compare(self._value(operand, path), "is", TRUE)

    def _equals(self, path: PathRef, constant: Constant) -> Expression | None:
        operand = self._place.path(path)
        if operand is None:
            return None
        if not may_equal(constant.value, operand.type):
            words = operand.type.enum if isinstance(operand.type, ScalarType) else None
            self._findings.add(
                "bad-value",
                constant.position,
                f"`{path.text}` is never {json.dumps(constant.value)}",
                hint=did_you_mean(str(constant.value), words or ()),
            )
        return equality(self._value(operand, path), constant.value, operand.type)

    def _between(self, path: PathRef, low: Constant, high: Constant) -> Expression | None:
        operand = self._place.path(path)
        if operand is None:
            return None
        self._check(operand, path, "`between` wants a number", _holds_numbers)
        held = self._place.held(operand)
        within = Compare(Literal(low.value), (("<=", held.code), ("<=", Literal(high.value))))
        return within if held.presence is None else Or((negated(held.presence), within))

    def _is_absent(self, found: tuple[PathRef, Operand]) -> Expression:
        path, operand = found
        if operand.presence is None and not isinstance(operand.type, RawType):
            self._findings.add(
                "contradiction", path.position, f"`{path.text}` is always there, it is never absent"
            )
        return negated(self._presence(found))

    def _presence(self, found: tuple[PathRef, Operand]) -> Expression:
        path, operand = found
        held = self._place.held(operand)
        if isinstance(operand.type, RawType):
            return compare(self._decoded(held, path), "is not", NONE)
        return held.presence or TRUE

    def _value(self, operand: Operand, path: PathRef) -> Expression:
        held = self._place.held(operand)
        return self._decoded(held, path) if isinstance(operand.type, RawType) else held.code

    def _decoded(self, held: Operand, path: PathRef) -> Expression:
        """Return the value of raw JSON, None for absence too: its null is the text `null`."""
        return self._place.decoded(held, f"{path.parts[-1]}_value")

    def _check(
        self, operand: Operand, path: PathRef, words: str, fits: Callable[[Type], bool]
    ) -> None:
        """A test suits the type of what it looks at."""
        if operand.checked and not all(map(fits, arms(operand.type))):
            self._findings.add(
                "type-mismatch", path.position, f"`{path.text}` is {operand.type}, {words}"
            )

    def _operands(self, paths: tuple[PathRef, ...]) -> list[tuple[PathRef, Operand]]:
        found = [(path, self._place.path(path)) for path in paths]
        return [(path, operand) for path, operand in found if operand is not None]


def _may_be_empty(type_: Type) -> bool:
    return not (isinstance(type_, ScalarType) and type_.name != "string")


def _holds_numbers(type_: Type) -> bool:
    return isinstance(type_, ScalarType) and type_.name in ("integer", "number")


def check_contradiction(findings: Findings, *conditions: Condition | None) -> None:
    """Report conditions that must hold together and can't: what one asks for, another excludes."""
    asked = [
        wish for condition in conditions if condition is not None for wish in _wishes(condition)
    ]
    for index, (path, word, holds) in enumerate(asked):
        for other, other_word, other_holds in asked[:index]:
            if other.text == path.text and not any(
                holds(value) and other_holds(value) for value in _candidates(conditions)
            ):
                findings.add(
                    "contradiction",
                    path.position,
                    f"`{path.text}` can't be {other_word} and {word} at once",
                )


def _wishes(
    condition: Condition,
) -> Iterator[tuple[PathRef, str, Callable[[object], bool]]]:
    """Yield what a condition asks of single values: of several in a list, one may do."""
    for path in condition.empty:
        yield path, "empty", lambda value: value in (None, "")
    if len(condition.nonempty) == 1:
        yield condition.nonempty[0], "nonempty", lambda value: value not in (None, "")
    if len(condition.present) == 1:
        yield condition.present[0], "present", lambda value: value is not None
    for path in condition.absent:
        yield path, "absent", lambda value: value is None
    if condition.true is not None:
        yield condition.true, "true", lambda value: value is True
    if condition.equals is not None:
        path, constant = condition.equals
        wanted = constant.value
        words = f"equal to {json.dumps(wanted)}"
        yield path, words, lambda value: type(value) is type(wanted) and value == wanted
    if condition.between is not None:
        path, low, high = condition.between
        yield path, "between bounds", _between(low.value, high.value)


def _between(low: Plain, high: Plain) -> Callable[[object], bool]:
    def holds(value: object) -> bool:
        if value is None:
            return True
        if not (_is_number(low) and _is_number(value) and _is_number(high)):
            return False
        return low <= value <= high

    return holds


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _candidates(conditions: tuple[Condition | None, ...]) -> list[object]:
    """Return values of which one meets conditions on a path, if any value does."""
    found: list[object] = [None, "", "some word", True, False]
    for condition in conditions:
        if condition is not None and condition.equals is not None:
            found.append(condition.equals[1].value)
        if condition is not None and condition.between is not None:
            found += [bound.value for bound in condition.between[1:]]
    return found
