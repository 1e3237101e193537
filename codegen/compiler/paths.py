"""
Paths of rules followed through the types of the specs, each turned into an operand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

from codegen.compiler.operand import Body, Operand, Scope
from codegen.compiler.runtime import LEN, UNSET
from codegen.compiler.tree import (
    And,
    Attribute,
    Call,
    Conditional,
    Expression,
    Literal,
    Name,
    Or,
    Subscript,
    compare,
)
from codegen.descriptions.problem import Findings, did_you_mean, nearest
from codegen.descriptions.spec import Specs
from codegen.descriptions.types import ArrayType, Field, MapType, RawType, StructType
from codegen.rules.model import PathRef


class Resolver:
    """Follows paths through the specs' types."""

    def __init__(
        self, specs: Specs, findings: Findings, read: Callable[[StructType, str], None]
    ) -> None:
        self._specs = specs
        self._findings = findings
        self._read = read

    def resolve(
        self, path: PathRef, scope: Scope, body: Body, *, mark: bool = True, hoist: bool = True
    ) -> Operand | None:
        """
        Return the operand of a path, or record what is wrong with it and return None.

        `mark` is False for a value that is only handed on to be decoded: its fields are still open.
        `hoist` is False to read the last part where it is named, and not into a local variable.
        """
        start = scope.roots.get(path.root)
        if start is None:
            self._findings.add(
                "no-such-path",
                path.position,
                f"`{path.text}`: {path.root or 'a plain path'} can't be read here",
                hint=did_you_mean(path.root, [root for root in scope.roots if root]),
            )
            return None
        if path.root == "$context" and path.parts[:1] and path.parts[0] in scope.unresolved:
            self._findings.add(
                "model-unresolved",
                path.position,
                f"`{path.text}` is read {scope.unresolved_words}",
            )
        body.roots.add(path.root)
        current = start
        walked: list[str] = []
        for index, part in enumerate(path.parts):
            is_last = index == len(path.parts) - 1
            names = part.split("|")
            found = [
                self._step(current, name, path, scope, body, walked, hoist=hoist or not is_last)
                for name in names
            ]
            following = [each for each in found if each is not None]
            if len(following) < len(names):
                return None
            current = following[0]
            if len(names) > 1:
                joined = self._first_of(following, names, path, body)
                if joined is None:
                    return None
                current = joined
            walked.append("*" if part.isdigit() else part)
        if mark:
            for trail in product(*(part.split("|") for part in walked)):
                scope.mark(path.root, ".".join(trail))
        return current

    def _first_of(
        self, found: list[Operand], names: list[str], path: PathRef, body: Body
    ) -> Operand | None:
        """Return the first of several objects that is there; all must be of one type."""
        types = {each.type for each in found}
        if len(types) > 1 or not isinstance(found[0].type, StructType):
            self._findings.add(
                "no-such-path",
                path.position,
                f"`{path.text}`: {' and '.join(names)} are not objects of one type",
            )
            return None
        # `or` is enough here: an object is always true.
        code = body.local(Or(tuple(each.code for each in found)), _safe("_or_".join(names)))
        return Operand(
            code,
            found[0].type,
            absent=any(each.absent for each in found),
            null=any(each.null for each in found),
        )

    def may_change(self, path: PathRef, scope: Scope) -> bool:
        """Say whether reading a path later may give another value, as far as its first part."""
        root = scope.roots.get(path.root)
        if root is None or not isinstance(root.type, StructType) or not path.parts:
            return True
        found = self.field_of(root.type, path.parts[0])
        return found is None or found.changes

    def field_of(self, type_: StructType, name: str) -> Field | None:
        """Return a struct's field by its name on the wire."""
        return self._specs.struct(type_).fields.get(name)

    def _step(
        self,
        base: Operand,
        part: str,
        path: PathRef,
        scope: Scope,
        body: Body,
        walked: list[str],
        *,
        hoist: bool,
    ) -> Operand | None:
        if part.isdigit():
            return self._item(base, part, path, body, walked)
        type_ = base.type
        if isinstance(type_, RawType) and type_.late is not None:
            late = StructType(*type_.late)
            variable = scope.late.get(late)
            if variable is None:
                self._findings.add(
                    "late-not-decoded",
                    path.position,
                    f"`{path.text}`: `{'.'.join(walked)}` is decoded in a second stage",
                    hint="put a `decode` step before it",
                )
                return None
            base, type_ = Operand(Name(variable), late), late
        if isinstance(type_, MapType) and type_.keys is not None:
            return self._entry(base, type_, StructType(*type_.keys), part, path, body, walked)
        if not isinstance(type_, StructType):
            self._findings.add(
                "no-such-path", path.position, f"`{path.text}`: {type_} has no field `{part}`"
            )
            return None
        found = self._declared(type_, part, path, walked)
        if found is None:
            return None
        self._read(type_, part)
        result = Operand(
            Attribute(base.code, found.attribute),
            found.type,
            absent=not found.required,
            null=found.nullable,
        )
        is_guarded = base.presence is not None and base.code not in body.present
        if is_guarded:
            holder = self._held(base, body, walked)
            presence = holder.presence
            assert presence is not None
            code: Expression = Conditional(Attribute(holder.code, found.attribute), presence, UNSET)
            result = replace(result, code=code, absent=True)
            if hoist and path.root not in scope.inline and not found.required:
                code = body.guarded(holder, found.attribute, code, *_candidates(walked, part))
                return replace(result, code=code)
        if (known := body.hoisted.get(result.code)) is not None:
            return replace(result, code=known)
        if path.root in scope.inline:
            return result
        is_late = isinstance(found.type, RawType) and found.type.late is not None
        if hoist and not is_late and (result.presence is not None or is_guarded):
            return replace(result, code=body.local(result.code, *_candidates(walked, part)))
        return result

    def _declared(
        self, type_: StructType, part: str, path: PathRef, walked: list[str]
    ) -> Field | None:
        """Return the field that a part names, or record that there is none."""
        struct = self._specs.struct(type_)
        found = struct.fields.get(part)
        if found is None:
            meant = nearest(part, struct.fields)
            self._findings.add(
                "no-such-path",
                path.position,
                f"`{path.text}`: no `{part}` here",
                hint=did_you_mean(part, struct.fields),
                declared=struct.position,
                about=".".join([*walked, meant]) if meant else None,
            )
        return found

    def _entry(
        self,
        base: Operand,
        type_: MapType,
        keys: StructType,
        part: str,
        path: PathRef,
        body: Body,
        walked: list[str],
    ) -> Operand | None:
        """Return a known key of an object that is held as a mapping."""
        found = self._declared(keys, part, path, walked)
        if found is None:
            return None
        holder = self._held(base, body, walked)
        code: Expression = Call(Attribute(holder.code, "get"), (Literal(part), UNSET))
        if holder.presence is not None:
            code = Conditional(code, holder.presence, UNSET)
        kind = type_.value if isinstance(type_.value, RawType) else found.type
        return Operand(body.local(code, *_candidates(walked, part)), kind, absent=True)

    def _item(
        self, base: Operand, part: str, path: PathRef, body: Body, walked: list[str]
    ) -> Operand | None:
        if not isinstance(base.type, ArrayType):
            self._findings.add(
                "no-such-path", path.position, f"`{path.text}`: {base.type} has no items"
            )
            return None
        holder = self._held(base, body, walked)
        # Absence, null and an empty list are all false.
        index = Literal(int(part))
        test: Expression = holder.code
        if int(part):
            test = And((test, compare(Call(LEN, (holder.code,)), ">", index)))
        code = Conditional(Subscript(holder.code, (index,)), test, UNSET)
        return Operand(
            body.local(code, *_candidates(walked, f"{walked[-1]}_{part}")),
            base.type.item,
            absent=True,
        )

    def _held(self, base: Operand, body: Body, walked: list[str]) -> Operand:
        if isinstance(base.code, Name) or base.presence is None:
            return base
        return replace(base, code=body.local(base.code, *_candidates(walked[:-1], walked[-1])))


def _candidates(walked: list[str], part: str) -> tuple[str, ...]:
    names = [name.replace("|", "_or_") for name in walked if name != "*"]
    leaf = part.lstrip("_")
    return (_safe(leaf), _safe("_".join([*names[-1:], leaf])), _safe("_".join([*names, leaf])))


def _safe(name: str) -> str:
    reserved = {
        "request",
        "members",
        "context",
        "run",
        "self",
        "type",
        "format",
        "input",
        "id",
        "from",
        "object",
    }
    return name + "_" if name in reserved else name
