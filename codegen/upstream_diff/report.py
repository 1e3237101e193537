"""
Prints the differences, each with what the project already knows about it.

These are the rules that read or set the field, a note that the wire differs from the vendor's
document, and a deviation that the specs state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from codegen.compiler.coverage import Row
from codegen.descriptions.spec import Operation
from codegen.descriptions.types import ArrayType, StructType, Type, arms
from codegen.generator import Generator
from codegen.upstream_diff.apis import Change
from codegen.upstream_diff.document import Document

INDENT = " " * 10


class Known:
    """What the specs and the compiled mappings say about the fields of one API."""

    def __init__(self, generator: Generator, api: str, own: Document) -> None:
        coverage = generator.project.coverage
        files = generator.project.files.values()
        self._api = api
        self._rows = coverage.rows
        self._answers = coverage.answers
        self._calls = {
            (file.name, f"call {call.name}"): call.operation
            for file in files
            for call in file.calls.values()
            if call.api == api
        }
        self._served = {
            file.name: {name for name, _ in file.operations} for file in files if file.api == api
        }
        self._operations = {one.name: one for one in generator.specs.operations(api)}
        stated = own.root.get("x-deviations")
        self._deviations = list(stated.items()) if stated else []

    def about(self, change: Change) -> Iterator[str]:
        """Return lines about a change: notes and deviations first, then the rules."""
        for note in change.difference.notes:
            yield f"note {note}"
        yield from self._deviating(change)
        if change.difference.path:
            yield from sorted({_line(row) for row in self._rows if self._touches(row, change)})
            yield from self._answered(change)

    def _deviating(self, change: Change) -> Iterator[str]:
        names = {f"`{change.difference.path}`", f"`{change.difference.path.split('.')[-1]}`"}
        for entry in self._deviations:
            where, what = entry.text("where") or "", entry.text("what") or ""
            if where.lower() == change.operation.lower() and any(name in what for name in names):
                yield f"deviation: {what}, since {entry.text('reason')}"

    def _touches(self, row: Row, change: Change) -> bool:
        operation = self._operations.get(change.operation)
        if operation is None or not change.side.startswith(("request", "answer")):
            return False
        serves = change.operation in self._served.get(row.mapping, ())
        calls = self._calls.get((row.mapping, row.label)) == change.operation
        if not (serves or calls):
            return False
        asked = change.side.startswith("request")
        path = change.difference.path
        types = _request(operation) if asked else _answers(operation)
        if row.source in types and (row.path == path or row.path.startswith(f"{path}.")):
            return True
        # What is set: in the request of a call, or in the answer of an operation that is served.
        sets = calls if asked else serves
        foreign = row.source.api != self._api or not (asked or row.label)
        return sets and foreign and f"`{path}`" in row.outcome

    def _answered(self, change: Change) -> Iterator[str]:
        operation = self._operations.get(change.operation)
        if operation is None or not change.side.startswith("answer"):
            return
        types = _answers(operation)
        for mapping, target, name, text in self._answers:
            serves = change.operation in self._served.get(mapping, ())
            if serves and target in types and name == change.difference.path and text:
                yield f"{mapping}: `{name}` {text}"


def lines(changes: Iterable[Change], known: Known) -> Iterator[str]:
    """Return what is printed of changes: a group for each operation, each note in it once."""
    group, told = None, set[str]()
    for change in changes:
        difference = change.difference
        if (change.operation if change.side else "") != group:
            group = change.operation if change.side else ""
            told = set()
            yield ""
        where = f"{change.operation}: {change.side}" if change.side else change.operation
        where += f" `{difference.path}`" if difference.path else ""
        place = f" ({difference.place})" if difference.place else ""
        yield f"{difference.kind:9} {where}: {difference.text}{place}"
        for text in known.about(change):
            if text not in told or not text.startswith("note "):
                told.add(text)
                yield f"{INDENT}{text}"


def _line(row: Row) -> str:
    return f"{row.mapping}{' ' + row.label if row.label else ''}: `{row.path}` {row.outcome}"


def _request(operation: Operation) -> set[StructType]:
    return set(_structs(operation.request)) if operation.request is not None else set()


def _answers(operation: Operation) -> set[StructType]:
    return {
        found
        for status, media in operation.answers.items()
        if status.startswith("2")
        for type_ in media.values()
        for found in _structs(type_)
    }


def _structs(type_: Type) -> Iterator[StructType]:
    for arm in arms(type_):
        if isinstance(arm, StructType):
            yield arm
        elif isinstance(arm, ArrayType):
            yield from _structs(arm.item)
