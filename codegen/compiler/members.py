"""
What patches need to know of types and names, and the functions that make rewriters.
"""

from __future__ import annotations

from codegen.compiler import ir
from codegen.compiler.expressions import Expressions
from codegen.compiler.invocations import Invocations
from codegen.compiler.operand import Body, Scope
from codegen.compiler.place import Context
from codegen.compiler.provenance import rewrite_of
from codegen.compiler.runtime import CONTEXT, REWRITER
from codegen.compiler.tree import Return
from codegen.descriptions.types import ArrayType, RawType, ScalarType, StructType, Type, arms
from codegen.rules.model import RewriteRule


def rewriter(
    context: Context, scope: Scope, body: Body, rule: RewriteRule, name: str
) -> ir.Function | None:
    """Return the function that makes the rewriter of one answer; it knows the context only."""
    calls = Invocations(Expressions.at(context, scope, body).place)
    made = calls.transform(rule.via, rule.arguments, rule.via_position)
    if made is None:
        return None
    if context.transforms[rule.via].returns != "Rewriter":
        words = f"`{rule.via}` makes no rewriter"
        context.findings.add("type-mismatch", rule.via_position, words)
    body.lines.append(Return(made.code))
    return ir.Function(
        name=name,
        parameters=(ir.Parameter("context", CONTEXT),),
        returns=REWRITER,
        doc=f"What `{rule.via}` makes for one answer.",
        body=body.written(),
        origins=(rewrite_of(rule),),
    )


def is_text(type_: Type) -> bool:
    """Return whether a type is texts only."""
    return all(isinstance(arm, ScalarType) and arm.name == "string" for arm in arms(type_))


def is_raw(source: Type, target: Type) -> bool:
    """Whether raw JSON is given, whole or item by item, of which no type is known to differ."""
    if isinstance(source, ArrayType) and isinstance(source.item, RawType):
        return any(isinstance(arm, ArrayType | RawType) for arm in arms(target))
    return isinstance(source, RawType)


def holds(listed: Type, item: Type) -> bool:
    """Whether a list has items of a type, decoded at once or one by one."""
    if not isinstance(listed, ArrayType):
        return False
    if isinstance(listed.item, RawType) and listed.item.late is not None:
        return StructType(*listed.item.late) == item
    return listed.item == item


def safe(name: str) -> str:
    """Return a name as a part of a function's name."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)
