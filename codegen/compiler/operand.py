"""
Values of rules: an expression with what is known of it, and the function that it is read in.

An operand is an expression with its type, and whether it may be absent or null. A body collects
the statements of one function and hoists what is read more than once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from codegen.compiler.runtime import UNSET
from codegen.compiler.tree import (
    NONE,
    Assign,
    Attribute,
    Conditional,
    Expression,
    If,
    Name,
    Statement,
    all_of,
    assign,
    compare,
    own,
)
from codegen.descriptions.types import AnyType, StructType, Type


@dataclass(frozen=True)
class Operand:
    """A Python expression and what is known of its value."""

    code: Expression
    type: Type
    absent: bool = False
    null: bool = False
    checked: bool = True
    """False for the result of a transform, whose type the type checker compares instead."""

    @property
    def presence(self) -> Expression | None:
        """The test whether there is a value; None when there always is."""
        if self.absent and self.null and isinstance(self.type, StructType):
            # An object is always true, absence and null never are.
            return self.code
        tests: list[Expression] = []
        if self.absent:
            tests.append(compare(self.code, "is not", UNSET))
        if self.null:
            tests.append(compare(self.code, "is not", NONE))
        return all_of(tests)


def any_operand(code: Expression) -> Operand:
    """Return an operand whose type only the type checker knows."""
    return Operand(code, AnyType(), checked=False)


class Later(Protocol):
    """Statements of a body that are known once more of the function is."""

    def statements(self) -> tuple[Statement, ...]:
        """Return the statements that stand here."""
        ...


@dataclass
class Reads:
    """Fields of one object that are read together, where it is certain or not that it is there."""

    holder: Operand
    fields: dict[str, str] = field(default_factory=dict)
    """Attribute by the name of the local variable that holds it."""

    def statements(self) -> tuple[Statement, ...]:
        """Return the statements; the object is asked for once."""
        presence = self.holder.presence
        assert presence is not None
        values = {name: Attribute(self.holder.code, item) for name, item in self.fields.items()}
        if len(values) == 1:
            ((name, value),) = values.items()
            return (assign(Name(name), Conditional(value, presence, UNSET)),)
        return (
            If(
                presence,
                tuple(assign(Name(name), value) for name, value in values.items()),
                (Assign(tuple(Name(name) for name in values), UNSET),),
            ),
        )


@dataclass
class Body:
    """The statements of one function while it is written."""

    lines: list[Statement | Later] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    hoisted: dict[Expression, Expression] = field(default_factory=dict)
    """Where what an expression gives is read from, once it is kept somewhere."""
    roots: set[str] = field(default_factory=set)
    present: set[Expression] = field(default_factory=set)
    """Expressions that are known to have a value at these lines."""
    reads: dict[Expression, Reads] | None = None
    """Fields that are read together, by their object; None where each is read on its own."""

    def within(self, present: Operand) -> Body:
        """Return a body for lines that run only when an operand has a value."""
        return Body(
            names=self.names,
            hoisted=dict(self.hoisted),
            roots=self.roots,
            present=self.present | {present.code},
        )

    def branch(self) -> Body:
        """Return a body for lines that go into a branch of these, or are taken over after all."""
        return replace(
            self,
            lines=[],
            hoisted=dict(self.hoisted),
            reads=None if self.reads is None else dict(self.reads),
        )

    def take_over(self, branch: Body) -> None:
        """Let the lines of a branch stand here, with what they hoist."""
        self.lines += branch.lines
        self.hoisted.update(branch.hoisted)
        if self.reads is not None and branch.reads is not None:
            self.reads.update(branch.reads)

    def fresh(self, *candidates: str) -> str:
        """Return the first candidate that is no name here yet, numbered when all are taken."""
        for name in candidates:
            if name not in self.names:
                self.names.add(name)
                return name
        number = 2
        while f"{candidates[-1]}_{number}" in self.names:
            number += 1
        name = f"{candidates[-1]}_{number}"
        self.names.add(name)
        return name

    def guarded(
        self, holder: Operand, attribute: str, code: Expression, *candidates: str
    ) -> Expression:
        """Return a local variable for a field of an object that may be missing, as `local` does."""
        if self.reads is None or code in self.hoisted:
            return self.local(code, *candidates)
        if holder.code not in self.reads:
            self.reads[holder.code] = Reads(holder)
            self.lines.append(self.reads[holder.code])
        name = self.alias(code, *candidates)
        self.reads[holder.code].fields[name.id] = attribute
        return name

    def alias(self, code: Expression, *candidates: str) -> Name:
        """Return a local variable that the caller sets to what an expression is from here on."""
        name = Name(self.fresh(*candidates))
        self.hoisted[code] = name
        return name

    def local(self, code: Expression, *candidates: str) -> Expression:
        """Return a local variable that holds an expression; the same for the same expression."""
        known = self.hoisted.get(code)
        if known is None:
            known = self.alias(code, *candidates)
            self.lines.append(assign(known, code))
        return known

    def written(self) -> tuple[Statement, ...]:
        """Return the statements, all of them decided."""
        return tuple(
            statement
            for line in self.lines
            for statement in ((line,) if isinstance(line, Statement) else line.statements())
        )


@dataclass
class Kept:
    """
    Values of a request that a stream reads once, at its start, and not for every chunk.

    `scope` and `body` are those of the function that makes the stream.
    """

    scope: Scope
    body: Body
    slots: list[str] = field(default_factory=list)

    def hold(self, operand: Operand, name: str) -> Operand:
        """Put a value of the start into a slot; return how it is read from there."""
        if any(operand.code == own(slot) for slot in self.slots):
            # An earlier use has put it there.
            return operand
        known = self.body.hoisted.get(operand.code)
        if known is None:
            slot = self.body.fresh(f"_{name}")
            known = own(slot)
            self.body.hoisted[operand.code] = known
            self.body.lines.append(assign(known, operand.code))
            self.slots.append(slot)
        return replace(operand, code=known)


@dataclass
class Scope:
    """What the paths of one block may start from, and what they used."""

    roots: dict[str, Operand]
    late: dict[StructType, str] = field(default_factory=dict)
    used: dict[str, set[str]] = field(default_factory=dict)
    reached: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    label: str = ""
    """What is being written just now: the target field, or the plan's step."""
    inspecting: bool = False
    """
    While a condition only looks at values: looking at a field decides nothing of where it goes.

    What a stream remembers goes nowhere, so looking at it is use enough.
    """
    unresolved: frozenset[str] = frozenset()
    """Fields of `$context` that no step has filled yet."""
    unresolved_words: str = "before a `model` step has filled it"
    """Why they are not filled, as a problem says it."""
    inline: frozenset[str] = frozenset({"$context"})
    """Roots that are read where they are named, because reading them later gives another value."""
    kept: Kept | None = None
    """Where values are put that one reading is enough for; None in a function that is run once."""

    def mark(self, root: str, path: str) -> None:
        """Remember that a path of a root was taken somewhere."""
        if self.inspecting and root != "$state":
            return
        self.used.setdefault(root, set()).add(path)
        if self.label:
            self.reached.setdefault(root, {}).setdefault(path, set()).add(self.label)
