"""
Statuses that a plan answers and its operation does not document.

A client's library is written from the description: a status that is not in it is one that nobody
expects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from codegen.descriptions.problem import Findings, Position
from codegen.descriptions.spec import Operation, Specs
from codegen.rules.checks import parts_of
from codegen.rules.model import MappingFile, Refusal


def check_statuses(files: Iterable[MappingFile], specs: Specs, findings: Findings) -> None:
    """Report every stated status that one of the operations of its file does not document."""
    for file in files:
        known = {operation.name: operation for operation in specs.operations(file.api or "")}
        for name, _ in file.operations:
            if name in known:
                _check_operation(file, known[name], findings)


def _check_operation(file: MappingFile, operation: Operation, findings: Findings) -> None:
    documented = {*operation.answers}
    classes = {status for status in documented if status.lower().endswith("xx")}
    for status, place in _stated(file):
        if not {str(status), "default", f"{status // 100}XX"} & {*documented, *classes}:
            findings.add(
                "undocumented-status",
                place,
                f"{operation.name} documents no {status}",
                declared=operation.position,
            )


def _stated(file: MappingFile) -> Iterator[tuple[int, Position]]:
    """Yield the statuses of a plan, of what its calls refuse, and of its answers."""
    for step in file.plan:
        if step.status is not None:
            yield step.status, step.status_position
    for answer in file.answers.values():
        if answer.status < 400:
            yield answer.status, answer.status_position
    for part, _ in parts_of((file.plan, *file.calls.values())):
        if isinstance(part, Refusal) and part.status >= 400:
            yield part.status, part.status_position
