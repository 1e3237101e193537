"""
Error texts: braces name paths, and nothing else but `!q`, which asks for Go's quotes.
"""

from __future__ import annotations

from collections.abc import Mapping

from codegen.compiler.place import Place
from codegen.compiler.runtime import REFUSAL, SHOWN_QUOTED, shown
from codegen.compiler.tree import TRUE, Call, Expression, Literal, Text
from codegen.descriptions.problem import Position
from codegen.descriptions.types import RawType
from codegen.rules.model import PathRef, Refusal


def refusal(
    place: Place, rule: Refusal, extra: Mapping[str, Expression] | None = None
) -> Expression:
    """Return the expression that makes an error; `extra` are values that no path leads to."""
    words = text(place, rule.error, rule.position, extra)
    late = (("is_late", TRUE),) if rule.is_late else ()
    return Call(REFUSAL, (Literal(rule.status), words), late)


def text(
    place: Place,
    template: str,
    position: Position,
    extra: Mapping[str, Expression] | None = None,
) -> Expression:
    """Return a text, with values in it where braces name paths."""
    pieces: list[str | Expression] = []
    rest = template
    while True:
        before, brace, after = rest.partition("{")
        if before:
            pieces.append(before)
        if not brace:
            break
        name, _, rest = after.partition("}")
        name, mark, conversion = name.partition("!")
        if mark and conversion != "q":
            place.findings.add(
                "bad-value", position, f"`{{{name}!{conversion}}}`: there is no conversion but `!q`"
            )
        code = (extra or {}).get(name)
        if code is None:
            code = _shown(place, PathRef(name, position))
        if code is not None and mark:
            code = Call(SHOWN_QUOTED, (code,))
        if code is not None:
            pieces.append(code)
    match pieces:
        case [only] if not isinstance(only, str):
            return only
        case _ if any(not isinstance(piece, str) for piece in pieces):
            return Text(tuple(pieces))
        case _:
            return Literal(template)


def _shown(place: Place, path: PathRef) -> Expression | None:
    operand = place.path(path)
    if operand is None:
        return None
    held = place.held(operand)
    if isinstance(operand.type, RawType) or held.presence is not None:
        return shown(held.code)
    return held.code
