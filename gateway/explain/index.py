"""
The index of rules, which the generator writes with the mappings (`rules.json`).

It says which rule fills which field, where each rule, step and reason stands, and at which line of
the generated code. It is read when something is explained, and by nothing else.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from importlib.resources import files

import msgspec
from msgspec import Struct, field


class RuleEntry(Struct, frozen=True, gc=False, rename={"sources": "from"}):
    """One rule: the field that it fills, `file:line`, and how the value comes about."""

    field: str
    at: str
    how: str
    group: str = ""
    sources: tuple[str, ...] = ()
    when: str = ""
    shape: str = ""
    """The function that makes each item of a list, as `calls/shared.py:message`."""
    rules: tuple[RuleEntry, ...] = ()


class Omission(Struct, frozen=True, gc=False):
    """Why a field of the target is never set."""

    at: str
    why: str


class Origin(Struct, frozen=True, gc=False):
    """What a function, or a part of one, is made of."""

    kind: str
    name: str
    at: str
    rules: tuple[RuleEntry, ...]
    target: str = ""
    verb: str = ""
    why: str = ""
    when: str = ""
    omitted: dict[str, Omission] = field(default_factory=dict)


class StepEntry(Struct, frozen=True, gc=False):
    """One step of a plan; `line` is where it begins in the generated code."""

    line: int
    at: str
    kind: str
    what: str
    reads: tuple[str, ...]
    when: str = ""


class Row(Struct, frozen=True, gc=False):
    """One row of the table of errors; `line` is where the generated code returns by it."""

    line: int
    at: str
    what: str


class Field(Struct, frozen=True, gc=False):
    """Where a field of a request goes, or why it goes nowhere; `at` is where that is said."""

    goes: str
    at: str = ""


class Module(Struct, frozen=True, gc=False):
    """One generated module: its mapping, and the rules of its functions."""

    mapping: str
    functions: dict[str, tuple[Origin, ...]] = field(default_factory=dict)
    steps: dict[str, tuple[StepEntry, ...]] = field(default_factory=dict)
    rows: dict[str, tuple[Row, ...]] = field(default_factory=dict)

    def step_at(self, function: str, line: int) -> int | None:
        """Return the number of the step that a line of a plan belongs to, None before the first."""
        begins = [step.line for step in self.steps.get(function, ())]
        found = bisect_right(begins, line) - 1
        return found if found >= 0 else None

    def origin(self, function: str, *kinds: str) -> Origin | None:
        """Return the first origin of a function that is of one of these kinds."""
        return next((one for one in self.functions.get(function, ()) if one.kind in kinds), None)


class RuleIndex(Struct, frozen=True, gc=False):
    """The whole index; modules by their paths in the package, as `plans/chat.py`."""

    modules: dict[str, Module]
    fields: dict[str, dict[str, dict[str, Field]]]
    """By mapping, translation and path: `chat`, `call chat ollama:ChatRequest`, `options.seed`."""

    def shape(self, name: str) -> Origin | None:
        """Return the origin of a shape that a rule names."""
        module, _, function = name.partition(":")
        found = self.modules.get(module)
        return found.origin(function, "shape") if found is not None else None

    def fields_of(self, mapping: str, source: str) -> dict[str, Field]:
        """Return where the fields of a request go, over all calls of a mapping."""
        merged: dict[str, Field] = {}
        for label, fields in self.fields.get(mapping, {}).items():
            if label == source or label.endswith(f" {source}"):
                for path, one in fields.items():
                    merged.setdefault(path, one)
        return merged


@cache
def load_index() -> RuleIndex:
    """Return the index of this version."""
    data = files(__package__).joinpath("rules.json").read_bytes()
    return msgspec.json.decode(data, type=RuleIndex)
