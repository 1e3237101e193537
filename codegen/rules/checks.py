"""
Mistakes that the rules alone show, looked for once a file is read.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from functools import cache

from codegen.descriptions.problem import Findings
from codegen.descriptions.source import Plain
from codegen.rules.model import (
    AnswerRule,
    Case,
    Condition,
    Constant,
    ErrorRow,
    MappingFile,
    Reason,
    Refusal,
    Rule,
)
from codegen.rules.rows import check_rows

THIN_REASONS = (
    "",
    "n/a",
    "na",
    "none",
    "no",
    "todo",
    "unsupported",
    "not supported",
    "unused",
    "ignored",
    "-",
)


def check_file(file: MappingFile, findings: Findings) -> None:
    """Report what is wrong in a file whatever the specs say."""
    if file.stated is not None and file.stated != file.name:
        findings.add(
            "bad-value", file.stated_position, f"`mapping` must be `{file.name}`, as the file"
        )
    for part, name in parts_of(file):
        match part:
            case Reason():
                _check_reason(part, name, findings)
            case Refusal():
                _check_refusal(part, findings)
            case ErrorRow():
                _check_refusal(part.refusal, findings)
            case AnswerRule():
                _check_answer(part, findings)
            case Condition():
                _check_bounds(part, findings)
            case Rule():
                _check_cases(part.cases, findings)
    check_rows(file, findings)


def _check_reason(reason: Reason, name: str, findings: Findings) -> None:
    if reason.text.strip().lower() in THIN_REASONS:
        findings.add(
            "thin-reason",
            reason.stated,
            f"`{name}` is left out without a reason",
            hint="say why a client or LM Studio loses nothing by it",
        )


def _check_refusal(refusal: Refusal, findings: Findings) -> None:
    if 0 < refusal.status < 400:
        findings.add(
            "bad-value",
            refusal.status_position,
            f"{refusal.status} is no status of an error: a client takes the answer for a good one",
        )


def _check_answer(answer: AnswerRule, findings: Findings) -> None:
    if answer.status >= 400:
        findings.add(
            "bad-value",
            answer.status_position,
            f"{answer.status} is the status of an error",
            hint="an error is a `refuse` step",
        )


def _check_bounds(condition: Condition, findings: Findings) -> None:
    if condition.between is None:
        return
    _, low, high = condition.between
    numbers = []
    for bound in (low, high):
        if isinstance(bound.value, int | float) and not isinstance(bound.value, bool):
            numbers.append(bound.value)
            continue
        findings.add(
            "bad-value", bound.position, f"`between` takes numbers, not {json.dumps(bound.value)}"
        )
    if len(numbers) == 2 and numbers[0] > numbers[1]:
        findings.add(
            "bad-value", low.position, f"nothing lies between {numbers[0]} and {numbers[1]}"
        )


def _check_cases(cases: tuple[Case, ...], findings: Findings) -> None:
    """Report cases that earlier cases leave nothing for: the first that applies is taken."""
    for number, case in enumerate(cases):
        before = cases[:number]
        taken = None
        if any(other.otherwise for other in before):
            taken = "`otherwise` before it takes all that is left"
        elif case.type is not None and any(other.type == case.type for other in before):
            taken = f"a case before it takes every {case.type}"
        elif case.equals is not None:
            value = case.equals.value
            kind = _json_type(value)
            if any(_same(other.equals, value) for other in before):
                taken = f"a case before it takes {json.dumps(value)}"
            elif any(other.type == kind for other in before):
                taken = f"a case before it takes every {kind}"
        if taken is not None:
            findings.add("case-unreachable", case.position, f"this case never applies: {taken}")


def _same(constant: Constant | None, value: Plain) -> bool:
    """Tell whether a constant is this value in JSON, where `1` is not `true`."""
    if constant is None:
        return False
    return json.dumps(constant.value) == json.dumps(value)


def _json_type(value: Plain) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case _:
            return "null"


def parts_of(part: object, name: str = "") -> list[tuple[object, str]]:
    """Return a construct and all that stand in it, each with the key under which it stands."""
    found: list[tuple[object, str]] = []
    _add_parts(part, name, found)
    return found


def _add_parts(part: object, name: str, found: list[tuple[object, str]]) -> None:
    if isinstance(part, dict):
        for key, inner in part.items():
            _add_parts(inner, str(key), found)
    elif isinstance(part, tuple):
        for inner in part:
            _add_parts(inner, name, found)
    elif (entries := _entries_of(type(part))) is not None:  # type: ignore[arg-type]  # mypy takes classes for unhashable
        found.append((part, name))
        for entry in entries:
            _add_parts(getattr(part, entry), name, found)


@cache
def _entries_of(kind: type) -> tuple[str, ...] | None:
    """Return the attributes of a construct that are its entries; None for anything else."""
    if not is_dataclass(kind):
        return None
    return tuple(item.name for item in fields(kind) if "entry" in item.metadata)
