"""
The tree that the compiler builds, and its printer: text that Python reads back as the same tree.

Every kind of expression is put into every place of every other one, so that no missing pair of
parentheses stays unseen, and printed text is compared with what Python's own parser makes of it.
"""

import ast
from collections.abc import Callable

import pytest

from codegen.compiler.tree import (
    FALSE,
    NONE,
    TRUE,
    And,
    Assign,
    Attribute,
    Await,
    Call,
    Comment,
    Compare,
    Conditional,
    Do,
    Expression,
    Global,
    If,
    Lambda,
    ListOf,
    Literal,
    Name,
    Node,
    Not,
    OneOf,
    Or,
    Return,
    Subscript,
    Text,
    Tuple,
    all_of,
    any_of,
    assign,
    compare,
    globals_in,
    guarded,
    names_read,
    negated,
    without_unread,
)
from codegen.output.python import expression, imports, statements

A, B, C = Name("a"), Name("b"), Name("c")

KINDS: dict[str, Callable[[Expression, Expression, Expression], Expression]] = {
    "name": lambda x, y, z: Name("n"),
    "literal": lambda x, y, z: Literal({"key": [1.5, True, None]}),
    "attribute": lambda x, y, z: Attribute(x, "field"),
    "subscript": lambda x, y, z: Subscript(x, (y, z)),
    "call": lambda x, y, z: Call(x, (y,), (("named", z),)),
    "tuple": lambda x, y, z: Tuple((x,)),
    "text": lambda x, y, z: Text(("{before} ", x, " between ", y)),
    "conditional": Conditional,
    "chain": lambda x, y, z: Compare(x, (("<=", y), ("<", z))),
    "is not": lambda x, y, z: compare(x, "is not", y),
    "and": lambda x, y, z: And((x, y)),
    "or": lambda x, y, z: Or((x, y, z)),
    "not": lambda x, y, z: Not(x),
    "list": lambda x, y, z: ListOf(x, "item", y),
    "lambda": lambda x, y, z: Lambda(("p", "q"), x),
    "await": lambda x, y, z: Await(x),
    "union": lambda x, y, z: OneOf((x, y)),
}


def python_of(node: Expression) -> ast.expr:
    """Return what Python's parser must make of a printed tree."""
    match node:
        case Name() | Global():
            return ast.Name(node.id if isinstance(node, Name) else str(node.name), ast.Load())
        case Literal():
            return ast.parse(repr(node.value), mode="eval").body
        case Attribute():
            return ast.Attribute(python_of(node.value), node.name, ast.Load())
        case Subscript():
            items = ast.Tuple([python_of(item) for item in node.items], ast.Load())
            return ast.Subscript(python_of(node.value), items, ast.Load())
        case Call():
            return ast.Call(
                python_of(node.function),
                [python_of(item) for item in node.arguments],
                [ast.keyword(name, python_of(value)) for name, value in node.keywords],
            )
        case Tuple():
            return ast.Tuple([python_of(item) for item in node.items], ast.Load())
        case Conditional():
            return ast.IfExp(python_of(node.test), python_of(node.then), python_of(node.otherwise))
        case Compare():
            words = {"<=": ast.LtE(), "<": ast.Lt(), "is not": ast.IsNot()}
            return ast.Compare(
                python_of(node.left),
                [words[word] for word, _ in node.rest],
                [python_of(right) for _, right in node.rest],
            )
        case And() | Or():
            operator = ast.And() if isinstance(node, And) else ast.Or()
            return ast.BoolOp(operator, [python_of(test) for test in node.tests])
        case Not():
            return ast.UnaryOp(ast.Not(), python_of(node.test))
        case ListOf():
            target = ast.Name(node.variable, ast.Store())
            loop = ast.comprehension(target, python_of(node.items), [], 0)
            return ast.ListComp(python_of(node.element), [loop])
        case Lambda():
            names = [ast.arg(name) for name in node.parameters]
            taken = ast.arguments([], names, None, [], [], None, [])
            return ast.Lambda(taken, python_of(node.value))
        case Await():
            return ast.Await(python_of(node.value))
        case OneOf():
            left, right = (python_of(item) for item in node.types)
            return ast.BinOp(left, ast.BitOr(), right)
        case _:
            raise AssertionError(node)


def parsed(text: str) -> str:
    """Return what Python reads, awaiting allowed, as a text that can be compared."""
    function = ast.parse(f"async def f():\n    return ({text})").body[0]
    assert isinstance(function, ast.AsyncFunctionDef)
    returned = function.body[0]
    assert isinstance(returned, ast.Return)
    assert returned.value is not None
    return ast.dump(returned.value)


@pytest.mark.parametrize("inner", KINDS)
@pytest.mark.parametrize("outer", [kind for kind in KINDS if kind not in ("name", "literal")])
def test_what_is_printed_is_read_back_as_the_same_tree(outer: str, inner: str) -> None:
    """Each kind within each other, in every place of it."""
    part = KINDS[inner](A, B, C)
    for parts in ((part, B, C), (A, part, C), (A, B, part)):
        tree = KINDS[outer](*parts)
        text = expression(tree)
        if "text" in (outer, inner):
            assert parsed(text)
        else:
            assert ast.dump(python_of(tree)) == parsed(text), text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Name("x"), "{1} x=5 {2}"),
        (Literal('quoted "text" \\ {3}'), '{1} x=quoted "text" \\ {3} {2}'),
        (Conditional(Name("x"), compare(Name("x"), "==", Literal("'")), Literal("no")), None),
    ],
    ids=["name", "literal", "conditional"],
)
def test_a_text_holds_values_and_braces(value: Expression, expected: str | None) -> None:
    """Whatever stands in it, it is Python of every version, and the braces stay."""
    text = expression(Text(("{1} x=", value, " {2}")))

    assert (expected or "{1} x=no {2}") == eval(text, {"x": 5})


def test_parentheses_stand_only_where_they_are_needed() -> None:
    """A reader is not made to look for a reason."""
    test = And((Not(Call(A)), Or((B, And((C, A))))))

    assert "not a() and (b or (c and a))" == expression(test)
    assert "a if b or c else b if c else a" == expression(
        Conditional(A, Or((B, C)), Conditional(B, C, A))
    )


def test_tests_are_joined_flat() -> None:
    """No test is no condition, and joining joined ones nests nothing."""
    assert all_of([]) is None
    assert any_of([A]) == A
    assert And((A, B, C)) == all_of([A, None, all_of([B, C])])
    assert Or((A, B, C)) == any_of([any_of([A, B]) or A, C])


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (compare(A, "is", TRUE), "a is not True"),
        (compare(A, "is not", NONE), "a is None"),
        (Not(A), "a"),
        (Call(A), "not a()"),
        (Or((A, B)), "not (a or b)"),
        (compare(A, "==", FALSE), "not a == False"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_opposite_reads_well(test: Expression, expected: str) -> None:
    """What is turned around says the opposite, in as few words as it can."""
    assert expected == expression(negated(test))


def test_constants_of_different_types_differ() -> None:
    """An expression is looked up by its equal, so `True` must not be found for `1`."""
    assert 4 == len({Literal(True), Literal(1), Literal(1.0), Literal("1")})


def test_a_choice_prints_as_one() -> None:
    """An `if` in the place of an `else` is an `elif`."""
    choice = If(A, (Return(A),), (If(B, (Return(B),), (Return(C),)),))

    assert [
        "if a:",
        "    return a",
        "elif b:",
        "    return b",
        "else:",
        "    return c",
    ] == statements([choice])
    assert ["return a"] == statements(guarded(None, Return(A)))


def test_bound_names_are_not_read() -> None:
    """What a function or a loop binds, and what is only set, is not asked of the outside."""
    assert {"b", "c"} == names_read([ListOf(Call(B, (Name("item"),)), "item", C)])
    assert {"b"} == names_read([Lambda(("a",), Call(A, (B,)))])
    assert {"b"} == names_read([assign(A, B)])
    assert {"a", "b"} == names_read([assign(Attribute(A, "field"), B)])
    assert set() == names_read([Comment("a")])


def test_a_value_that_nothing_reads_is_made_all_the_same() -> None:
    """Only the variable goes: making the value may have refused the request."""
    made, read = assign(A, Call(B)), Return(C)

    assert (Do(Call(B)), read) == without_unread([made, read], ["a"])
    assert (made, Return(A)) == without_unread([made, Return(A)], ["a"])


def test_imports_follow_from_what_is_referred_to() -> None:
    """Each name once, Python's own none, and annotations count."""
    nodes: list[Node] = [
        Assign((A,), Global("builtins", "str"), Global("typing", "Any")),
        Return(Call(Attribute(Global("msgspec"), "Raw"), (Global("typing", "Any"),))),
    ]

    assert ["from typing import Any", "import msgspec"] == imports(globals_in(nodes))
