"""
Paths turned into Python expressions.

An operand is an expression with what is known of it: its type, and whether it may be absent or
null. A body collects the lines of one function and hoists what is read more than once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product

from codegen.descriptions.problem import Findings, did_you_mean, nearest
from codegen.descriptions.spec import Specs
from codegen.descriptions.types import AnyType, ArrayType, Field, RawType, StructType, Type
from codegen.rules.model import PathRef


@dataclass(frozen=True)
class Operand:
    """A Python expression and what is known of its value."""

    code: str
    type: Type
    absent: bool = False
    null: bool = False
    checked: bool = True
    """False for the result of a transform, whose type the type checker compares instead."""

    @property
    def presence(self) -> str:
        """The expression that tells whether there is a value; "" when there always is."""
        if self.absent and self.null and isinstance(self.type, StructType):
            # An object is always true, absence and null never are.
            return self.code
        tests = []
        if self.absent:
            tests.append(f"{self.code} is not UNSET")
        if self.null:
            tests.append(f"{self.code} is not None")
        return " and ".join(tests)


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
        slot = self.body.hoisted.get(operand.code)
        if slot is None:
            slot = self.body.fresh(f"_{name}")
            self.body.hoisted[operand.code] = slot
            self.body.lines.append(f"self.{slot} = {operand.code}")
            self.slots.append(slot)
        return replace(operand, code=f"self.{slot}")


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
    """Fields of `$call` that no step has filled yet."""
    inline: frozenset[str] = frozenset({"$call"})
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


_PLACE = "<<fields of {}>>"


@dataclass
class Reads:
    """Fields of one object that are read together, where it is certain or not that it is there."""

    holder: str
    presence: str
    fields: dict[str, str] = field(default_factory=dict)
    """Attribute by the name of the local variable that holds it."""

    def lines(self) -> list[str]:
        """Return the statements; the object is asked for once."""
        if len(self.fields) == 1:
            ((name, attribute),) = self.fields.items()
            return [f"{name} = {self.holder}.{attribute} if {self.presence} else UNSET"]
        return [
            f"if {self.presence}:",
            *(f"    {name} = {self.holder}.{attribute}" for name, attribute in self.fields.items()),
            "else:",
            f"    {' = '.join(self.fields)} = UNSET",
        ]


@dataclass
class Body:
    """The lines of one function while it is written."""

    lines: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    hoisted: dict[str, str] = field(default_factory=dict)
    roots: set[str] = field(default_factory=set)
    present: set[str] = field(default_factory=set)
    """Expressions of which it is known where these lines stand that they have a value."""
    reads: dict[str, Reads] | None = None
    """Fields that are read together, by their object; None where each is read by itself."""

    def within(self, present: Operand) -> Body:
        """Return a body for lines that run only when an operand has a value."""
        return Body(
            names=self.names,
            hoisted=dict(self.hoisted),
            roots=self.roots,
            present=self.present | {present.code},
        )

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

    def guarded(self, holder: Operand, attribute: str, code: str, *candidates: str) -> str:
        """Return a local variable for a field of an object that may be missing, as `local` does."""
        if self.reads is None or code in self.hoisted:
            return self.local(code, *candidates)
        if holder.code not in self.reads:
            self.reads[holder.code] = Reads(holder.code, holder.presence)
            self.lines.append(_PLACE.format(holder.code))
        name = self.alias(code, *candidates)
        self.reads[holder.code].fields[name] = attribute
        return name

    def written(self) -> list[str]:
        """Return the lines, those of fields that are read together in their place."""
        places = {_PLACE.format(holder): reads for holder, reads in (self.reads or {}).items()}
        return [
            written
            for line in self.lines
            for written in (places[line].lines() if line in places else [line])
        ]

    def alias(self, code: str, *candidates: str) -> str:
        """Return a local variable that the caller sets to what an expression is from here on."""
        name = self.fresh(*candidates)
        self.hoisted[code] = name
        return name

    def local(self, code: str, *candidates: str) -> str:
        """Return a local variable that holds an expression; the same for the same expression."""
        known = self.hoisted.get(code)
        if known is None:
            known = self.fresh(*candidates)
            self.hoisted[code] = known
            self.lines.append(f"{known} = {code}")
        return known


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
        if path.root == "$call" and path.parts[:1] and path.parts[0] in scope.unresolved:
            self._findings.add(
                "model-unresolved",
                path.position,
                f"`{path.text}` is read before a `model` step has filled it",
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
        # As for one that is asked for presence: an object is always true.
        code = body.local(" or ".join(each.code for each in found), _safe("_or_".join(names)))
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
            code = scope.late.get(late)
            if code is None:
                self._findings.add(
                    "late-not-decoded",
                    path.position,
                    f"`{path.text}`: `{'.'.join(walked)}` is decoded in a second stage",
                    hint="put a `decode` step before it",
                )
                return None
            base, type_ = Operand(code, late), late
        if not isinstance(type_, StructType):
            self._findings.add(
                "no-such-path", path.position, f"`{path.text}`: {type_} has no field `{part}`"
            )
            return None
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
            return None
        self._read(type_, part)
        result = Operand(
            f"{base.code}.{found.attribute}",
            found.type,
            absent=not found.required,
            null=found.nullable,
        )
        is_guarded = bool(base.presence) and base.code not in body.present
        if is_guarded:
            holder = self._held(base, body, walked)
            code = f"{holder.code}.{found.attribute} if {holder.presence} else UNSET"
            result = replace(result, code=code, absent=True)
            if hoist and path.root not in scope.inline and not found.required:
                code = body.guarded(holder, found.attribute, code, *_candidates(walked, part))
                return replace(result, code=code)
        if (known := body.hoisted.get(result.code)) is not None:
            return replace(result, code=known)
        if path.root in scope.inline:
            return replace(result, code=f"({result.code})" if is_guarded else result.code)
        is_late = isinstance(found.type, RawType) and found.type.late is not None
        if hoist and not is_late and (result.presence or is_guarded):
            return replace(result, code=body.local(result.code, *_candidates(walked, part)))
        return result

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
        test = f"{holder.code} and len({holder.code}) > {part}" if int(part) else holder.code
        code = f"{holder.code}[{part}] if {test} else UNSET"
        return Operand(
            body.local(code, *_candidates(walked, f"{walked[-1]}_{part}")),
            base.type.item,
            absent=True,
        )

    def _held(self, base: Operand, body: Body, walked: list[str]) -> Operand:
        if base.code.isidentifier() or not base.presence:
            return base
        return replace(base, code=body.local(base.code, *_candidates(walked[:-1], walked[-1])))


def _candidates(walked: list[str], part: str) -> tuple[str, ...]:
    names = [name.replace("|", "_or_") for name in walked if name != "*"]
    leaf = part.lstrip("_")
    return (_safe(leaf), _safe("_".join([*names[-1:], leaf])), _safe("_".join([*names, leaf])))


def _safe(name: str) -> str:
    reserved = {"request", "call", "run", "self", "type", "format", "input", "id", "from", "object"}
    return name + "_" if name in reserved else name


def any_operand(code: str) -> Operand:
    """Return an operand whose type only the type checker knows."""
    return Operand(code, AnyType(), checked=False)
