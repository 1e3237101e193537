"""
Python code as a tree, which the compiler builds and inspects, and the printer prints.

Nodes are values: two nodes that would print alike are equal, so that an expression can be looked
up. A name from a module holds that module, from which the imports of a generated file follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from typing import Literal as Word
from typing import TypeAlias

from codegen.descriptions.source import Plain

Comparison = Word["is", "is not", "==", "<", "<=", ">", "in", "not in"]


@dataclass(frozen=True)
class Name:
    """A local variable or parameter."""

    id: str


@dataclass(frozen=True)
class Global:
    """
    A name that a module provides, or the module itself where there is no `name`.

    Names of `builtins` need no import.
    """

    module: str
    name: str | None = None


@dataclass(frozen=True)
class Attribute:
    """An attribute of a value."""

    value: Expression
    name: str


@dataclass(frozen=True)
class Subscript:
    """An item of a list, or a generic type with its arguments."""

    value: Expression
    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Call:
    """A call with arguments by place, then by name."""

    function: Expression
    arguments: tuple[Expression, ...] = ()
    keywords: tuple[tuple[str, Expression], ...] = ()


@dataclass(frozen=True, eq=False)
class Literal:
    """A constant; `True`, `1` and `1.0` are three of them."""

    value: Plain

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and repr(self.value) == repr(other.value)

    def __hash__(self) -> int:
        return hash(repr(self.value))


@dataclass(frozen=True)
class Tuple:
    """Several values as one."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Dictionary:
    """An object by the names of its members."""

    items: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True)
class Text:
    """A text with values in it: literal pieces and expressions in the order of the text."""

    pieces: tuple[str | Expression, ...]


@dataclass(frozen=True)
class Conditional:
    """One of two values."""

    then: Expression
    test: Expression
    otherwise: Expression


@dataclass(frozen=True)
class Compare:
    """A comparison, or a chain of them as in `0 <= x <= 9`."""

    left: Expression
    rest: tuple[tuple[Comparison, Expression], ...]


@dataclass(frozen=True)
class And:
    """All of several tests."""

    tests: tuple[Expression, ...]


@dataclass(frozen=True)
class Or:
    """The first of several values that is true, or the last."""

    tests: tuple[Expression, ...]


@dataclass(frozen=True)
class Not:
    """The opposite of a test."""

    test: Expression


@dataclass(frozen=True)
class ListOf:
    """A list made of every item of another."""

    element: Expression
    variable: str
    items: Expression


@dataclass(frozen=True)
class Lambda:
    """A function of one expression."""

    parameters: tuple[str, ...]
    value: Expression


@dataclass(frozen=True)
class Await:
    """The result of something awaited."""

    value: Expression


@dataclass(frozen=True)
class OneOf:
    """A union of types in an annotation."""

    types: tuple[Expression, ...]


Expression: TypeAlias = (
    Name
    | Global
    | Attribute
    | Subscript
    | Call
    | Literal
    | Tuple
    | Dictionary
    | Text
    | Conditional
    | Compare
    | And
    | Or
    | Not
    | ListOf
    | Lambda
    | Await
    | OneOf
)


@dataclass(frozen=True)
class Assign:
    """One value given to variables or attributes."""

    targets: tuple[Name | Attribute, ...]
    value: Expression
    annotation: Expression | None = None


@dataclass(frozen=True)
class If:
    """Statements under a test; an `otherwise` that is one `If` prints as `elif`."""

    test: Expression
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...] = ()


@dataclass(frozen=True)
class Return:
    """The end of a function."""

    value: Expression


@dataclass(frozen=True)
class Raise:
    """An error."""

    value: Expression


@dataclass(frozen=True)
class Do:
    """An expression for what it does."""

    value: Expression


@dataclass(frozen=True)
class Comment:
    """A line for readers."""

    text: str


Statement: TypeAlias = Assign | If | Return | Raise | Do | Comment
Node: TypeAlias = Expression | Statement

TRUE, FALSE, NONE = Literal(True), Literal(False), Literal(None)
SELF = Name("self")

OPPOSITES: dict[Comparison, Comparison] = {
    "is": "is not",
    "is not": "is",
    "in": "not in",
    "not in": "in",
}


def builtin(name: str) -> Global:
    """Return a name that Python always knows."""
    return Global("builtins", name)


def own(name: str) -> Attribute:
    """Return an attribute of `self`."""
    return Attribute(SELF, name)


def assign(target: Name | Attribute, value: Expression) -> Assign:
    """Return the assignment of a value to one variable."""
    return Assign((target,), value)


def compare(left: Expression, operator: Comparison, right: Expression) -> Compare:
    """Return one comparison."""
    return Compare(left, ((operator, right),))


def all_of(tests: Iterable[Expression | None]) -> Expression | None:
    """Join tests that must all hold; None for none, which always hold."""
    flat = [
        each
        for test in tests
        if test is not None
        for each in (test.tests if isinstance(test, And) else (test,))
    ]
    return And(tuple(flat)) if len(flat) > 1 else next(iter(flat), None)


def any_of(tests: Iterable[Expression]) -> Expression | None:
    """Join tests of which one must hold; None for none."""
    flat = [each for test in tests for each in (test.tests if isinstance(test, Or) else (test,))]
    return Or(tuple(flat)) if len(flat) > 1 else next(iter(flat), None)


def negated(test: Expression) -> Expression:
    """Return the opposite of a test, as it is best read."""
    match test:
        case Not():
            return test.test
        case Compare(rest=((word, right),)) if word in OPPOSITES:
            return compare(test.left, OPPOSITES[word], right)
        case _:
            return Not(test)


def guarded(test: Expression | None, *statements: Statement) -> tuple[Statement, ...]:
    """Return statements under a test, or as they are where there is none."""
    return statements if test is None else (If(test, statements),)


def is_simple(node: Expression) -> bool:
    """Whether reading an expression again costs no call and decides nothing: `a`, `a.b.c`."""
    while isinstance(node, Attribute):
        node = node.value
    return isinstance(node, Name)


def children(node: Node) -> Iterator[Node]:
    """Yield the nodes right below one, in the order of the text."""
    for name in _attributes_of(type(node)):  # type: ignore[arg-type]  # mypy takes classes for unhashable
        value = getattr(node, name)
        if isinstance(value, _NODES):
            yield value
        elif isinstance(value, tuple):
            yield from _nodes_in(value)


def _nodes_in(values: tuple[object, ...]) -> Iterator[Node]:
    for value in values:
        if isinstance(value, tuple):
            yield from _nodes_in(value)
        elif isinstance(value, _NODES):
            yield value


@cache
def _attributes_of(kind: type[Node]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


_NODES = (
    *(Name, Global, Attribute, Subscript, Call, Literal, Tuple, Dictionary, Text, Conditional),
    *(Compare, And, Or, Not, ListOf, Lambda, Await, OneOf, Assign, If, Return, Raise, Do, Comment),
)


def globals_in(nodes: Iterable[Node]) -> set[Global]:
    """Return every name of a module that trees refer to."""
    found: set[Global] = set()
    for node in nodes:
        if isinstance(node, Global):
            found.add(node)
        found |= globals_in(children(node))
    return found


def names_read(nodes: Iterable[Node]) -> set[str]:
    """Return the local variables that trees read: not those that they only set or bind."""
    found: set[str] = set()
    for node in nodes:
        match node:
            case Name():
                found.add(node.id)
            case Lambda():
                found |= names_read((node.value,)) - {*node.parameters}
            case ListOf():
                found |= names_read((node.element,)) - {node.variable}
                found |= names_read((node.items,))
            case Assign():
                set_only = [target for target in node.targets if isinstance(target, Name)]
                found |= names_read(child for child in children(node) if child not in set_only)
                found |= names_read((node.value,))
            case _:
                found |= names_read(children(node))
    return found


def attributes_read(nodes: Iterable[Node], name: str) -> set[str]:
    """Return the attributes that trees read of a variable."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, Attribute) and node.value == Name(name):
            found.add(node.name)
        found |= attributes_read(children(node), name)
    return found


def may_refuse(nodes: Iterable[Node]) -> bool:
    """Whether trees hold an error that is raised: they must not stand before their condition."""
    return any(isinstance(node, Raise) or may_refuse(children(node)) for node in nodes)


def without_unread(statements: Iterable[Statement], names: Iterable[str]) -> tuple[Statement, ...]:
    """Drop the assignments to names that nothing reads, and keep what is done for their values."""
    kept = tuple(statements)
    for name in names:
        if name not in names_read(kept):
            kept = tuple(
                Do(one.value) if isinstance(one, Assign) and one.targets == (Name(name),) else one
                for one in kept
            )
    return kept
