"""
Calls of transforms and steps: arguments checked against the signature, absent values kept away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from codegen.compiler.choices import constant_fits
from codegen.compiler.declared import declared, declared_at
from codegen.compiler.operand import Operand, any_operand
from codegen.compiler.place import Place
from codegen.compiler.runtime import TRANSFORMS, UNSET
from codegen.compiler.tree import (
    NONE,
    Attribute,
    Call,
    Conditional,
    Expression,
    Literal,
    all_of,
    compare,
)
from codegen.descriptions.problem import Position, did_you_mean
from codegen.descriptions.signatures import Parameter, Signature
from codegen.descriptions.types import AnyType, StructType, arms
from codegen.rules.model import Argument, Constant


class Invocations:
    """Calls transforms with the values of one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._findings = place.findings

    def pass_through(self, name: str, operand: Operand, place: Position) -> Operand | None:
        """Call a transform of one argument; an absent value stays absent unless it takes one."""
        signature = self._transform(name, place)
        if signature is None:
            return None
        needed = [item for item in signature.parameters if not item.has_default]
        if len(needed) > 1 or not signature.parameters:
            self._findings.add(
                "transform-args",
                place,
                f"`{name}` takes {_listed(signature)}; name them under `with`",
            )
            return None
        parameter = signature.parameters[0]
        self._check_type(signature, parameter, operand, place)
        return self._invoke(signature, {parameter.name: operand}, by_place=True)

    def transform(
        self,
        name: str,
        arguments: Mapping[str, Argument],
        place: Position,
        *,
        given: Operand | None = None,
    ) -> Operand | None:
        """
        Call a transform with named arguments; `given` fills its first parameter.

        They are passed by place where no parameter before the last one is left out: Python calls
        a function several times as fast that way.
        """
        signature = self._transform(name, place)
        if signature is None:
            return None
        operands = self.arguments(signature, arguments, place, given=given)
        return None if operands is None else self._invoke_in_order(signature, operands)

    def fold(
        self,
        name: str,
        before: Expression,
        arguments: Mapping[str, Argument],
        place: Position,
        *,
        given: Operand | None = None,
    ) -> Operand | None:
        """
        Call a transform for every chunk: with what it returned `before`, then as `transform` does.
        """
        signature = self._transform(name, place)
        if signature is None:
            return None
        signature = signature.without((signature.parameters[0].name,))
        operands = self.arguments(signature, arguments, place, given=given)
        if operands is None:
            return None
        return self._invoke_in_order(signature, operands, before=(before,))

    def arguments(
        self,
        signature: Signature,
        arguments: Mapping[str, Argument],
        place: Position,
        *,
        given: Operand | None = None,
    ) -> dict[str, Operand] | None:
        """Return the operands of named arguments, checked against the parameters."""
        parameters = {item.name: item for item in signature.parameters}
        operands: dict[str, Operand] = {}
        complete = True
        if given is not None and signature.parameters:
            first = signature.parameters[0]
            operands[first.name] = given
            self._check_type(signature, first, given, place)
        for name, argument in arguments.items():
            if name not in parameters:
                self._findings.add(
                    "transform-args",
                    argument.position,
                    f"`{signature.name}` takes no `{name}`",
                    hint=did_you_mean(name, parameters),
                )
                complete = False
                continue
            operand = self._argument(name, argument)
            if operand is None:
                complete = False
                continue
            if isinstance(argument, Constant):
                self._check_constant(signature, parameters[name], argument)
            else:
                self._check_type(signature, parameters[name], operand, argument.position)
            operands[name] = operand
        for name, parameter in parameters.items():
            if name not in arguments and name not in operands and not parameter.has_default:
                self._findings.add(
                    "transform-args", place, f"`{signature.name}` also needs `{name}`"
                )
                complete = False
        return operands if complete else None

    def _argument(self, name: str, argument: Argument) -> Operand | None:
        if isinstance(argument, Constant):
            return any_operand(Literal(argument.value))
        start = self._place.start
        if start is not None and self._place.is_read_once(argument):
            operand = start.path(argument)
            return None if operand is None else self._place.kept(operand, name)
        return self._place.path(argument)

    def _transform(self, name: str, place: Position) -> Signature | None:
        context = self._place.context
        signature = context.transforms.get(name)
        if signature is None:
            self._findings.add(
                "no-such-transform",
                place,
                f"`{name}` is no transform of gateway/transforms",
                hint=did_you_mean(name, context.transforms),
            )
            return None
        context.used_transforms.add(name)
        return signature

    def _invoke_in_order(
        self,
        signature: Signature,
        operands: Mapping[str, Operand],
        *,
        before: tuple[Expression, ...] = (),
    ) -> Operand:
        first = signature.parameters[: len(operands)]
        by_place = all(item.name in operands and not item.is_by_name for item in first)
        if by_place:
            operands = {item.name: operands[item.name] for item in first}
        return self._invoke(signature, operands, by_place=by_place, before=before)

    def _invoke(
        self,
        signature: Signature,
        operands: Mapping[str, Operand],
        *,
        by_place: bool = False,
        before: tuple[Expression, ...] = (),
    ) -> Operand:
        parameters = {item.name: item for item in signature.parameters}
        guards: list[Expression | None] = []
        passed: dict[str, Expression] = {}
        for name, operand in operands.items():
            held = self._place.held(operand)
            passed[name], guard = passing(held, parameters[name])
            guards.append(guard)
            if isinstance(operand.type, StructType):
                # A transform that is given a whole object may read any of its fields.
                for field_name in self._place.context.specs.struct(operand.type).fields:
                    self._place.context.read(operand.type, field_name)
        function = Attribute(TRANSFORMS, signature.name)
        call: Expression = (
            Call(function, (*before, *passed.values()))
            if by_place
            else Call(function, before, tuple(passed.items()))
        )
        returned = declared(signature.returns, self._place.context.specs)
        absent = returned.absent
        guard = all_of(guards)
        if guard is not None:
            call, absent = Conditional(call, guard, UNSET), True
        checked = not isinstance(returned.type, AnyType)
        return Operand(call, returned.type, absent=absent, null=returned.null, checked=checked)

    def _check_type(
        self, signature: Signature, parameter: Parameter, operand: Operand, where: Position
    ) -> None:
        """A value that is passed is of the type that the parameter declares."""
        taken = declared(parameter.annotation, self._place.context.specs)
        if operand.checked and not taken.takes(operand.type):
            self._findings.add(
                "type-mismatch",
                where,
                f"`{signature.name}` takes {taken.type} as `{parameter.name}`, "
                f"its source here is {operand.type}",
                declared=declared_at(signature),
            )

    def _check_constant(
        self, signature: Signature, parameter: Parameter, constant: Constant
    ) -> None:
        taken = declared(parameter.annotation, self._place.context.specs)
        fine = (
            taken.null
            if constant.value is None
            else any(constant_fits(constant.value, arm) for arm in arms(taken.type))
        )
        if not fine:
            self._findings.add(
                "bad-value",
                constant.position,
                f"`{signature.name}` takes {taken.type} as `{parameter.name}`, "
                f"not {json.dumps(constant.value)}",
                declared=declared_at(signature),
            )


def passing(operand: Operand, parameter: Parameter) -> tuple[Expression, Expression | None]:
    """
    Return how an operand is handed to a parameter, and the guard under which it may be.

    A parameter that takes no absent value makes the whole call absent when its value is.
    """
    code = operand.code
    if operand.null and not parameter.takes_null:
        if not parameter.takes_absent:
            return code, operand.presence
        return null_as_absent(code), None
    if operand.absent and not parameter.takes_absent:
        return code, compare(code, "is not", UNSET)
    return code, None


def null_as_absent(code: Expression) -> Expression:
    """Return a value whose null is absence."""
    return Conditional(UNSET, compare(code, "is", NONE), code)


def _listed(signature: Signature) -> str:
    return ", ".join(f"`{item.name}`" for item in signature.parameters)
