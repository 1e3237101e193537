"""
Error rows: what an upstream failure becomes for the client, and what is tried before.
"""

from __future__ import annotations

from codegen.compiler import ir
from codegen.compiler.builder import FAILURE_TYPE, REQUEST_CONTEXT, Builder
from codegen.compiler.operand import Body, Operand, Scope
from codegen.compiler.place import Context, Place
from codegen.compiler.provenance import row_of
from codegen.compiler.runtime import CONTEXT, REFUSAL, UPSTREAM_FAILURE, literal_type, one_of
from codegen.compiler.texts import refusal
from codegen.compiler.tree import (
    NONE,
    Attribute,
    Call,
    Compare,
    Expression,
    Literal,
    Name,
    Return,
    Statement,
    Tuple,
    all_of,
    any_of,
    assign,
    compare,
    guarded,
    names_read,
)
from codegen.descriptions.problem import did_you_mean
from codegen.descriptions.types import ScalarType
from codegen.rules.model import ErrorRow, RecoverRow

RECOVERIES = ("load", "grow")

FAILURE, MESSAGE = Name("failure"), Name("message")
STATUS, CODE = Attribute(FAILURE, "status"), Attribute(FAILURE, "code")
LOWERED = assign(MESSAGE, Call(Attribute(Attribute(FAILURE, "message"), "lower")))


class Errors:
    """The error rows of one file."""

    def __init__(self, builder: Builder, context: Context) -> None:
        self._builder = builder
        self._context = context
        self._findings = builder.findings

    def compile(self) -> None:
        """Write the functions that choose a refusal and a recovery."""
        self._refusals()
        self._recoveries()

    def _refusals(self) -> None:
        file = self._builder.file
        body = Body(names={"failure", "context"})
        roots = {
            "$context": Operand(Name("context"), REQUEST_CONTEXT),
            "$upstream": Operand(FAILURE, FAILURE_TYPE),
        }
        place = Place(
            self._context, Scope(roots, inline=frozenset({"$context", "$upstream"})), body
        )
        caught = False
        taken: set[str] = set()
        for row in file.errors:
            self._check_faults(row)
            mine = {*row.statuses, *(name for name, _ in row.faults)}
            if caught:
                self._findings.add(
                    "row-unreachable", row.position, "a row before this one takes everything"
                )
            elif mine and all(name in taken or f"{name[0]}xx" in taken for name in mine):
                self._findings.add(
                    "row-unreachable", row.position, "rows before this one take all of it"
                )
            if row.code is None and row.message is None:
                taken |= mine
            test = _row_test(row)
            caught = caught or row.otherwise or test is None
            body.lines += guarded(test, Return(refusal(place, row.refusal)))
        if not caught:
            self._findings.add(
                "no-catch-all", file.errors_position, "the last error row must be `otherwise`"
            )
        written = body.written()
        if MESSAGE.id in names_read(written):
            written = (LOWERED, *written)
        self._builder.module.functions.append(
            ir.Function(
                name="refusal_for",
                parameters=(
                    ir.Parameter("failure", UPSTREAM_FAILURE),
                    ir.Parameter("context", CONTEXT),
                ),
                returns=REFUSAL,
                doc="Return what an upstream failure becomes for the client.",
                body=written,
                rows=tuple(map(row_of, file.errors)),
            )
        )

    def _check_faults(self, row: ErrorRow) -> None:
        failure = self._builder.specs.struct(FAILURE_TYPE)
        found = failure.fields.get("fault")
        known = found.type.enum if found and isinstance(found.type, ScalarType) else None
        for name, where in row.faults:
            if known is not None and name not in known:
                self._findings.add(
                    "bad-row", where, f"`{name}` is no fault", hint=did_you_mean(name, known)
                )

    def _recoveries(self) -> None:
        lines: list[Statement] = [LOWERED]
        for row in self._builder.file.recover:
            if row.do not in RECOVERIES:
                self._findings.add(
                    "unknown-step",
                    row.position,
                    f"`{row.do}` is no recovery",
                    hint=did_you_mean(row.do, RECOVERIES),
                )
            lines += guarded(all_of(_words_of(row)), Return(Literal(row.do)))
        lines.append(Return(NONE))
        self._builder.module.functions.append(
            ir.Function(
                name="recovery_for",
                parameters=(ir.Parameter("failure", UPSTREAM_FAILURE),),
                returns=one_of(literal_type(RECOVERIES), NONE),
                doc="Return what is worth trying before the client is told of a failure.",
                body=tuple(lines),
            )
        )


def _row_test(row: ErrorRow) -> Expression | None:
    """Return the test whether a row fits a failure; None when it fits all."""
    tests: list[Expression | None] = []
    if row.faults:
        names = Tuple(tuple(Literal(name) for name, _ in row.faults))
        tests.append(compare(Attribute(FAILURE, "fault"), "in", names))
    if row.statuses:
        tests.append(_status_test(row.statuses))
    if row.code is not None:
        tests.append(compare(CODE, "==", Literal(row.code)))
    if row.message is not None:
        tests.append(compare(Literal(row.message.lower()), "in", MESSAGE))
    return all_of(tests)


def _words_of(row: RecoverRow) -> list[Expression]:
    tests: list[Expression] = []
    if row.message is not None:
        tests.append(compare(Literal(row.message.lower()), "in", MESSAGE))
    if row.code is not None:
        tests.append(compare(CODE, "==", Literal(row.code)))
    return tests


def _status_test(statuses: tuple[str, ...]) -> Expression | None:
    exact = [Literal(int(text)) for text in statuses if text.isdigit()]
    tests: list[Expression] = []
    if exact:
        tests.append(compare(STATUS, "in", Tuple(tuple(exact))))
    for text in statuses:
        if text.endswith("xx"):
            low = int(text[0]) * 100
            within = Compare(Literal(low), (("<=", STATUS), ("<", Literal(low + 100))))
            both = all_of((compare(STATUS, "is not", NONE), within))
            tests += [both] if both is not None else []
    return any_of(tests)
