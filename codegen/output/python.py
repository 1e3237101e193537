"""
Trees as Python text: one printer, which writes parentheses only where precedence asks for them.

Lines are not broken here; the formatter does that for whole files.
"""

from __future__ import annotations

from collections.abc import Iterable

from codegen.compiler import ir
from codegen.compiler.tree import (
    And,
    Assign,
    Attribute,
    Await,
    Call,
    Comment,
    Compare,
    Conditional,
    Dictionary,
    Do,
    Expression,
    Global,
    If,
    Lambda,
    ListOf,
    Literal,
    Name,
    Not,
    OneOf,
    Or,
    Raise,
    Return,
    Statement,
    Subscript,
    Text,
    Tuple,
)

LAMBDA, CONDITIONAL, OR, AND, NOT, COMPARISON, UNION, AWAIT, PRIMARY = range(9)
"""How tightly the parts of an expression hold together, the loosest first."""

INDENT = "    "


def expression(node: Expression, at_least: int = LAMBDA) -> str:
    """Return an expression as text, in parentheses where its place asks for a tighter one."""
    text, holds = _printed(node)
    return f"({text})" if holds < at_least else text


def statements(nodes: Iterable[Statement]) -> list[str]:
    """Return the lines of statements, those within others indented."""
    return [line for node in nodes for line in _statement(node)]


def parameter(item: ir.Parameter) -> str:
    """Return a parameter as it stands in the head of a function."""
    if item.annotation is None:
        return item.name
    return f"{item.name}: {expression(item.annotation)}"


def imports(references: Iterable[Global]) -> list[str]:
    """Return the lines that import what is referred to, in any order."""
    found = {_import(item) for item in references if item.module != "builtins"}
    return sorted(found)


def _import(item: Global) -> str:
    """Import from the gateway relatively: its package has another name where it is installed."""
    if item.name is None:
        return f"import {item.module}"
    package, _, rest = item.module.partition(".")
    module = f"..{rest}" if package == "gateway" else item.module
    return f"from {module} import {item.name}"


def _printed(node: Expression) -> tuple[str, int]:
    match node:
        case Name():
            return node.id, PRIMARY
        case Global():
            return node.name or node.module, PRIMARY
        case Attribute():
            return f"{expression(node.value, PRIMARY)}.{node.name}", PRIMARY
        case Subscript():
            items = ", ".join(expression(item) for item in node.items)
            return f"{expression(node.value, PRIMARY)}[{items}]", PRIMARY
        case Call():
            passed = [expression(item) for item in node.arguments]
            passed += [f"{name}={expression(value)}" for name, value in node.keywords]
            return f"{expression(node.function, PRIMARY)}({', '.join(passed)})", PRIMARY
        case Literal():
            return repr(node.value), PRIMARY
        case Tuple():
            items = ", ".join(expression(item) for item in node.items)
            return f"({items},)" if len(node.items) == 1 else f"({items})", PRIMARY
        case Dictionary():
            entries = (f"{name!r}: {expression(value)}" for name, value in node.items)
            return f"{{{', '.join(entries)}}}", PRIMARY
        case Text():
            return _text(node), PRIMARY
        case Conditional():
            then, test = expression(node.then, OR), expression(node.test, OR)
            return f"{then} if {test} else {expression(node.otherwise, CONDITIONAL)}", CONDITIONAL
        case Or():
            # Not needed, but a reader should not have to know which of the two binds tighter.
            tests = (expression(test, NOT) for test in node.tests)
            return " or ".join(tests), OR
        case And():
            return " and ".join(expression(test, NOT) for test in node.tests), AND
        case Not():
            return f"not {expression(node.test, NOT)}", NOT
        case Compare():
            rest = (f" {word} {expression(right, UNION)}" for word, right in node.rest)
            return expression(node.left, UNION) + "".join(rest), COMPARISON
        case ListOf():
            element, items = expression(node.element), expression(node.items, OR)
            return f"[{element} for {node.variable} in {items}]", PRIMARY
        case Lambda():
            head = " ".join(["lambda", ", ".join(node.parameters)]).strip()
            return f"{head}: {expression(node.value)}", LAMBDA
        case Await():
            return f"await {expression(node.value, PRIMARY)}", AWAIT
        case OneOf():
            return " | ".join(expression(item, AWAIT) for item in node.types), UNION


def _text(node: Text) -> str:
    """Return a text as one literal with braces, or joined where no braces may hold a value."""
    inside = [
        piece if isinstance(piece, str) else expression(piece, CONDITIONAL) for piece in node.pieces
    ]
    if any(
        {*code} & {"'", '"', "\\", "{"}
        for piece, code in zip(node.pieces, inside, strict=True)
        if not isinstance(piece, str)
    ):
        parts = [
            repr(code) if isinstance(piece, str) else f"str({code})"
            for piece, code in zip(node.pieces, inside, strict=True)
        ]
        return f"''.join(({', '.join(parts)},))"
    return "f" + repr(
        "".join(
            code.replace("{", "{{").replace("}", "}}") if isinstance(piece, str) else f"{{{code}}}"
            for piece, code in zip(node.pieces, inside, strict=True)
        )
    )


def _statement(node: Statement) -> list[str]:
    match node:
        case Assign():
            targets = " = ".join(expression(target) for target in node.targets)
            kind = f": {expression(node.annotation)}" if node.annotation is not None else ""
            return [f"{targets}{kind} = {expression(node.value)}"]
        case If():
            return _choice(node, "if")
        case Return():
            return [f"return {expression(node.value)}"]
        case Raise():
            return [f"raise {expression(node.value)}"]
        case Do():
            return [expression(node.value)]
        case Comment():
            return [f"# {node.text}"]


def _choice(node: If, word: str) -> list[str]:
    lines = [f"{word} {expression(node.test)}:", *_indented(node.then)]
    match node.otherwise:
        case ():
            return lines
        case (If() as following,):
            return [*lines, *_choice(following, "elif")]
        case _:
            return [*lines, "else:", *_indented(node.otherwise)]


def _indented(nodes: Iterable[Statement]) -> list[str]:
    return [INDENT + line for line in statements(nodes)]
