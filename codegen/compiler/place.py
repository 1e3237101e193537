"""
Where rules are written: one function of one mapping, and what every rule there may name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from codegen.compiler.operand import Body, Operand, Scope
from codegen.compiler.paths import Resolver
from codegen.compiler.runtime import VALUE_OF
from codegen.compiler.tree import NONE, Call, Conditional, Expression, is_simple
from codegen.descriptions.problem import Findings, Position
from codegen.descriptions.signatures import Signature
from codegen.descriptions.spec import Specs
from codegen.descriptions.types import StructType, Type
from codegen.rules.model import PathRef, Table


@dataclass(frozen=True)
class ShapeRef:
    """A compiled shape: how to call it, what it takes and returns."""

    code: Expression
    source: StructType
    target: Type
    extra: tuple[str, ...]


@dataclass(frozen=True)
class TableRef:
    """A compiled table: its constant, its rules, and the words that its source may hold."""

    code: Expression
    table: Table
    covers: tuple[str, ...] | None


@dataclass
class Context:
    """What every rule of one file may name."""

    specs: Specs
    findings: Findings
    transforms: dict[str, Signature]
    steps: dict[str, Signature]
    shape: Callable[[str, Position], ShapeRef | None]
    table: Callable[[str, Position], TableRef | None]
    decoder: Callable[[StructType], Expression]
    used_transforms: set[str]
    read: Callable[[StructType, str], None]

    @property
    def resolver(self) -> Resolver:
        """A resolver that reports to this context."""
        return Resolver(self.specs, self.findings, self.read)


class Place:
    """One place in one function: its scope, its statements, and what is known of values there."""

    def __init__(self, context: Context, scope: Scope, body: Body) -> None:
        self.context = context
        self.findings = context.findings
        self.scope = scope
        self.body = body
        self._known: dict[str, Operand] = {}
        self._there: frozenset[Expression] = frozenset()

    def within(self, body: Body) -> Place:
        """Return the same for statements in another body, in the same scope."""
        return Place(self.context, self.scope, body)

    def path(self, path: PathRef, *, mark: bool = True, hoist: bool = True) -> Operand | None:
        """Return the operand of a path; inside a case, the matched value is known to be there."""
        known = self._known.get(path.text)
        if known is not None:
            return known
        found = self.context.resolver.resolve(path, self.scope, self.body, mark=mark, hoist=hoist)
        if found is None or found.presence is None:
            return found
        held = self.body.hoisted.get(found.code, found.code)
        if held in self._there:
            return replace(found, code=held, absent=False, null=False)
        return found

    def held(self, operand: Operand, name: str = "value") -> Operand:
        """Return an operand that may be read twice: hoisted unless it is a plain name."""
        if operand.presence is None or is_simple(operand.code):
            return operand
        return replace(operand, code=self.body.local(operand.code, name))

    def decoded(self, held: Operand, name: str) -> Expression:
        """Return a local variable with the value of raw JSON, which is None when it is absent."""
        value: Expression = Call(VALUE_OF, (held.code,))
        if held.presence is not None:
            value = Conditional(value, held.presence, NONE)
        return self.body.local(value, name)

    @contextmanager
    def branch(self) -> Iterator[Body]:
        """Write statements into a body of their own meanwhile, for a branch of the function."""
        body, self.body = self.body, self.body.branch()
        yield self.body
        self.body = body

    @contextmanager
    def knowing(self, path: PathRef, operand: Operand) -> Iterator[None]:
        """Know, for what is written meanwhile, what a path gives."""
        before = self._known.get(path.text)
        self._known[path.text] = operand
        yield
        del self._known[path.text]
        if before is not None:
            self._known[path.text] = before

    @contextmanager
    def where_present(self, codes: set[Expression]) -> Iterator[None]:
        """
        Know, for what is written meanwhile, that these expressions have a value.

        It holds for the expressions only: their fields are read in lines before the test.
        """
        there, self._there = self._there, self._there | codes
        yield
        self._there = there

    @contextmanager
    def inspecting(self) -> Iterator[None]:
        """Only look at values meanwhile: that decides nothing of where their fields go."""
        before, self.scope.inspecting = self.scope.inspecting, True
        yield
        self.scope.inspecting = before

    @property
    def start(self) -> Place | None:
        """The place where a stream begins, for what is read once; None in other functions."""
        kept = self.scope.kept
        return Place(self.context, kept.scope, kept.body) if kept is not None else None

    def is_read_once(self, path: PathRef) -> bool:
        """Say whether a stream may read a path once, because it leads to the same at any time."""
        kept = self.scope.kept
        return kept is not None and not self.context.resolver.may_change(path, kept.scope)

    def kept(self, operand: Operand, name: str) -> Operand:
        """Return a value of a stream's start as its chunks read it."""
        assert self.scope.kept is not None
        return self.scope.kept.hold(operand, name)
