"""
The sides of what is passed on: requests, answers and the events of streams, and their members.

The members of a request or answer are held as raw JSON by their names. A rule reads them as they
came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codegen.compiler.builder import REQUEST_CONTEXT, Builder
from codegen.compiler.members import is_text
from codegen.compiler.operand import Operand, Scope
from codegen.compiler.tree import Attribute, Name
from codegen.descriptions.problem import Position, did_you_mean
from codegen.descriptions.types import Field, MapType, RawType, StructType
from codegen.rules.model import Passthrough

EVENTS = "text/event-stream"


@dataclass
class Side:
    """One side: its type, what rules read of it, and what they have set."""

    name: str
    holder: StructType | None
    """The type of the object whose members are changed; None where it has no members."""
    scope: Scope
    set_by: dict[str, Position]
    """Where each member is changed, since one change is all that it can have."""


class Sides:
    """The three sides of a file's routes."""

    def __init__(self, builder: Builder, passed: Passthrough) -> None:
        """Find their types; what does not fit is recorded."""
        self._builder = builder
        self._findings = builder.findings
        self._passed = passed
        self.request = self._side("request", self.request_type())
        self.answer = self._side("answer", self.answer_type())
        self.stream = self._side("stream", self._event_type())

    def check_named(self) -> None:
        """Record what the routes name and their descriptions do not have."""
        self._check_models()
        self._check_remembered()

    def request_type(self) -> StructType | None:
        """Return the type of the requests, None where they have no members."""
        if not self._passed.source:
            return self._builder.request
        found = self._builder.specs.find_struct(self._passed.source, self._passed.source_position)
        if found is not None and self._builder.request not in (None, found):
            self._findings.add(
                "type-mismatch",
                self._passed.source_position,
                f"the operation takes {self._builder.request}, not {found}",
            )
        return found

    def answer_type(self) -> StructType | None:
        """Return the type of a whole answer, None where nothing describes it."""
        found = self._builder.answer_type() if not self._passed.below else None
        return found if isinstance(found, StructType) else None

    def _event_type(self) -> StructType | None:
        kinds = [kind for one in self._builder.operations for kind in one.answered(EVENTS)]
        found = kinds[0] if kinds and not self._passed.below else None
        return found if isinstance(found, StructType) else None

    def member(self, side: Side, name: str, where: Position) -> Field | None:
        """Return a member as the description has it, or record that it has none of the name."""
        if side.holder is None:
            words = f"nothing describes the {side.name}'s members here"
            hint = "name the type under `from`" if side.name == "request" else None
            self._findings.add("no-such-target", where, f"`{name}`: {words}", hint=hint)
            return None
        struct = self._builder.specs.struct(side.holder)
        found = struct.fields.get(name)
        if found is None:
            self._findings.add(
                "no-such-target",
                where,
                f"`{name}`: {side.holder} has no such field",
                hint=did_you_mean(name, struct.fields),
                declared=struct.position,
            )
        return found

    def note_set(self, side: Side, name: str, where: Position) -> None:
        """Note that a member is changed; a second change is recorded."""
        if name in side.set_by:
            self._findings.add(
                "changed-twice",
                where,
                f"`{name}` is changed by another rule already",
                declared=side.set_by[name],
            )
        side.set_by.setdefault(name, where)

    def _side(self, name: str, holder: StructType | None) -> Side:
        roots = {"$context": Operand(Name("context"), REQUEST_CONTEXT)}
        if self._builder.path is not None and not self._passed.below:
            roots["$path"] = Operand(Attribute(Name("context"), "path"), self._builder.path)
        if holder is not None:
            keys = (holder.api, holder.name)
            roots[""] = Operand(Name("members"), MapType(RawType(), keys=keys))
        scope = Scope(roots)
        if self._passed.model is None and self._passed.path_model is None:
            scope.unresolved = frozenset({"model", "asked"})
            scope.unresolved_words = "where no member is stated to name a `model`"
        return Side(name, holder, scope, {})

    def _check_models(self) -> None:
        """Members that name models are ones that the types have, and texts."""
        passed, request, answer = self._passed, self.request, self.answer
        named = [(answer, *item) for item in passed.answered_by if answer.holder is not None]
        if passed.model is not None:
            named.append((request, passed.model, passed.model_position))
        path_model = self._passed.path_model
        known = self._builder.specs.struct(self._builder.path).fields if self._builder.path else {}
        if path_model is not None and path_model not in known:
            self._findings.add(
                "no-such-path",
                self._passed.path_model_position,
                f"`{path_model}`: the path has no such parameter",
                hint=did_you_mean(path_model, known),
            )
        for side, name, place in named:
            found = self.member(side, name, place)
            if found is not None and not is_text(found.type):
                self._findings.add("type-mismatch", place, f"`{name}` is {found.type}, no text")

        if passed.union is not None and answer.holder is not None:
            self.member(answer, passed.union, passed.union_position)
        if passed.home is not None and passed.home not in known and request.holder is not None:
            self.member(request, passed.home, passed.home_position)

    def _check_remembered(self) -> None:
        """What names a thing that a host remembers is in the path, the request or the answer."""
        passed, request = self._passed, self.request
        path = self._builder.path
        known = self._builder.specs.struct(path).fields if path is not None else {}
        if passed.session is not None and passed.session not in known:
            found = self.member(request, passed.session, passed.session_position)
            if found is not None and not is_text(found.type):
                words = f"`{passed.session}` is {found.type}, no text"
                self._findings.add("type-mismatch", passed.session_position, words)
        sides = [side for side in (self.answer, self.stream) if side.holder is not None]
        for name, place in passed.gives:
            first = name.split(".")[0]
            if sides and not any(first in self._fields(side) for side in sides):
                self.member(sides[0], first, place)

    def _fields(self, side: Side) -> Mapping[str, Field]:
        return {} if side.holder is None else self._builder.specs.struct(side.holder).fields
