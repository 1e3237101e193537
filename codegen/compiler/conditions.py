"""
Conditions of rules as Python tests. A condition only looks: it decides nothing of where a field
goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from codegen.compiler.invocations import Invocations
from codegen.compiler.operand import Operand
from codegen.compiler.place import Place
from codegen.compiler.tree import (
    FALSE,
    TRUE,
    Compare,
    Expression,
    Literal,
    Not,
    Or,
    all_of,
    any_of,
    compare,
    negated,
)
from codegen.rules.model import Condition, Constant, PathRef


class Conditions:
    """Writes the conditions of one place."""

    def __init__(self, place: Place, invocations: Invocations) -> None:
        self._place = place
        self._invocations = invocations

    def test(self, condition: Condition) -> Expression:
        """Return the Python test of a condition, true or not; problems leave `False` behind."""
        with self._place.inspecting():
            return all_of(self._tests(condition)) or FALSE

    @contextmanager
    def where(self, condition: Condition | None) -> Iterator[None]:
        """Know, for what is written meanwhile, that a condition is met there."""
        there: set[Expression] = set()
        if condition is not None and len(condition.nonempty) == 1:
            with self._place.inspecting():
                there = set(self._tested(condition.nonempty))
        with self._place.where_present(there):
            yield

    def _tests(self, condition: Condition) -> list[Expression | None]:
        tests: list[Expression | None] = [Not(code) for code in self._tested(condition.empty)]
        tests.append(any_of(self._tested(condition.nonempty)))
        tests.append(any_of(map(self._presence, self._operands(condition.present))))
        tests += [negated(self._presence(operand)) for operand in self._operands(condition.absent)]
        if condition.true is not None:
            tests += [compare(code, "is", TRUE) for code in self._tested((condition.true,))]
        if condition.equals is not None:
            path, constant = condition.equals
            right = Literal(constant.value)
            tests += [compare(code, "==", right) for code in self._tested((path,))]
        if condition.between is not None:
            tests += self._between(*condition.between)
        if condition.via is not None:
            asked = self._invocations.transform(
                condition.via, condition.arguments, condition.position
            )
            if asked is not None:
                tests.append(compare(asked.code, "is", TRUE) if asked.absent else asked.code)
        return tests

    def _between(self, path: PathRef, low: Constant, high: Constant) -> list[Expression]:
        operand = self._place.path(path)
        if operand is None:
            return []
        held = self._place.held(operand)
        within = Compare(Literal(low.value), (("<=", held.code), ("<=", Literal(high.value))))
        return [within if held.presence is None else Or((negated(held.presence), within))]

    def _presence(self, operand: Operand) -> Expression:
        return self._place.held(operand).presence or TRUE

    def _tested(self, paths: tuple[PathRef, ...]) -> list[Expression]:
        return [self._place.held(operand).code for operand in self._operands(paths)]

    def _operands(self, paths: tuple[PathRef, ...]) -> list[Operand]:
        return [operand for path in paths if (operand := self._place.path(path)) is not None]
