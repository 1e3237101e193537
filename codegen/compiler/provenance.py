"""
Where the code of a function comes from: its rules with their places, in words and in data.

This is for the index that `olgate explain` reads. Nothing here changes what is compiled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from codegen.descriptions.problem import Position
from codegen.descriptions.source import Key
from codegen.rules.model import (
    Argument,
    Case,
    ChangeRule,
    Condition,
    ErrorRow,
    Instead,
    PathRef,
    Reason,
    RewriteRule,
    Rule,
    StateRule,
    Step,
)


@dataclass(frozen=True)
class Entry:
    """One rule: the field that it fills, where it stands, and how the value comes about."""

    name: str
    at: Position
    how: str
    sources: tuple[str, ...] = ()
    when: str = ""
    shape: str = ""
    """The shape that makes each item of a list, as the rule names it."""
    fields: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Origin:
    """What a function, or a part of one, is made of."""

    kind: str
    """
    `answer`, `request`, `response`, `shape`, `report`, `frame`, `end`, `state`, `change` or
    `rewrite`.
    """
    name: str
    at: Position
    target: str = ""
    entries: tuple[Entry, ...] = ()
    omitted: Mapping[str, Reason] | None = None
    verb: str = ""
    why: str = ""
    when: str = ""


@dataclass(frozen=True)
class StepOrigin:
    """One step of a plan, in words."""

    at: Position
    kind: str
    what: str
    when: str
    reads: tuple[str, ...]


@dataclass(frozen=True)
class RowOrigin:
    """One row of the table of errors, in words."""

    at: Position
    what: str


def entries_of(fields: Mapping[str, Rule], names: Mapping[str, Key]) -> tuple[Entry, ...]:
    """Return the rules of a block as entries, in their order."""
    return tuple(
        entry_of(name, rule, names[name].position if name in names else rule.position)
        for name, rule in fields.items()
    )


def entry_of(name: str, rule: Rule, at: Position) -> Entry:
    """Return one rule as an entry."""
    inner: tuple[Entry, ...] = ()
    if rule.fields is not None:
        inner = entries_of(rule.fields, rule.names)
    sources = [one.text for one in (rule.source, rule.each, rule.match) if one is not None]
    sources += _paths(rule.arguments)
    for case in rule.cases:
        sources += _case_sources(case)
    return Entry(
        name=name,
        at=at,
        how=_how(rule),
        sources=tuple(dict.fromkeys(sources)),
        when=said(rule.when) if rule.when is not None else "",
        shape=rule.use or "",
        fields=inner,
    )


def change_of(side: str, rule: ChangeRule) -> Origin:
    """Return what a change of what is passed on is made of."""
    return Origin(
        "change",
        side,
        rule.position,
        entries=entries_of(rule.members, rule.names)
        + tuple(Entry(name, where, "left out") for name, where in rule.removed),
        verb=rule.verb,
        why=rule.why,
        when=said(rule.when) if rule.when is not None else "",
    )


def rewrite_of(rule: RewriteRule) -> Origin:
    """Return what a rewriter of answers that are passed on is made of."""
    texts = " or ".join(text for text, _ in rule.marks)
    how = f"via {rule.via}" + (f", where {texts} is in it" if texts else "")
    entry = Entry("choices", rule.via_position, how, tuple(_paths(rule.arguments)))
    return Origin(
        "rewrite",
        "answer",
        rule.position,
        entries=(entry,),
        verb="rewrite",
        why=rule.why,
        when=said(rule.when) if rule.when is not None else "",
    )


def instead_of(rule: Instead, target: str) -> Origin:
    """Return what an answer that is made without LM Studio is made of."""
    return Origin(
        "answer",
        "instead",
        rule.position,
        target,
        entries_of(rule.fields, rule.names),
        why=rule.why,
        when=said(rule.when) if rule.when is not None else "",
    )


def state_entry(rule: StateRule) -> Entry:
    """Return what a stream remembers as an entry."""
    path = rule.source
    how = f"via {rule.via}"
    if rule.last is not None:
        how = f"the last {rule.last.text}"
    elif rule.fold is not None:
        how = f"{rule.fold.text} via {rule.via}"
    sources = ([path.text] if path is not None else []) + _paths(rule.arguments)
    return Entry(rule.name, rule.position, how, tuple(dict.fromkeys(sources)))


def step_of(step: Step) -> StepOrigin:
    """Return a step of a plan in words."""
    what = step.name
    reads = [path.text for path in step.paths] + _paths(step.arguments)
    if step.condition is not None:
        what = said(step.condition)
        reads += _condition_paths(step.condition)
    elif step.kind == "model":
        what = " or ".join(path.text for path in step.model)
    elif step.kind == "decode" and step.decode is not None:
        what = step.decode.text + (f" via {step.via}" if step.via else "")
    elif step.kind == "refuse" and step.refusal is not None:
        what = f"{step.refusal.status} {step.refusal.error}"
    elif step.kind == "call" and len(step.choices) > 1:
        what = " or ".join(name for name, _, _ in step.choices)
    elif step.kind == "answer" and step.do:
        what = f"{step.answer} after {step.do}"
    if step.when is not None:
        reads += _condition_paths(step.when)
    return StepOrigin(
        at=step.position,
        kind=step.kind,
        what=what,
        when=said(step.when) if step.when is not None else "",
        reads=tuple(dict.fromkeys(reads)),
    )


def row_of(row: ErrorRow) -> RowOrigin:
    """Return a row of the table of errors in words."""
    parts = []
    if row.faults:
        parts.append("fault " + " or ".join(name for name, _ in row.faults))
    if row.statuses:
        parts.append("status " + " or ".join(row.statuses))
    if row.code is not None:
        parts.append(f"code {row.code}")
    if row.message is not None:
        parts.append(f"words {row.message!r}")
    return RowOrigin(row.position, " and ".join(parts) or "everything else")


def said(condition: Condition) -> str:
    """Return a condition in words close to those of the rule."""
    parts = [
        f"{word} {', '.join(path.text for path in paths)}"
        for word, paths in (
            ("empty", condition.empty),
            ("nonempty", condition.nonempty),
            ("present", condition.present),
            ("absent", condition.absent),
        )
        if paths
    ]
    if condition.true is not None:
        parts.append(f"true {condition.true.text}")
    if condition.equals is not None:
        path, constant = condition.equals
        parts.append(f"{path.text} equals {_shown(constant.value)}")
    if condition.between is not None:
        path, low, high = condition.between
        parts.append(f"{path.text} between {_shown(low.value)} and {_shown(high.value)}")
    if condition.via is not None:
        parts.append(f"via {_call(condition.via, condition.arguments)}")
    return " and ".join(parts)


def _how(rule: Rule) -> str:
    parts: list[str] = []
    if rule.source is not None:
        parts.append(f"from {rule.source.text}")
    if rule.value is not None:
        parts.append(f"value {_shown(rule.value.value)}")
    if rule.fields is not None:
        parts.append("an object of its own fields")
    if rule.each is not None:
        parts.append(f"each of {rule.each.text}")
    if rule.match is not None:
        cases = "; ".join(_case(case) for case in rule.cases)
        parts.append(f"match {rule.match.text}: {cases}")
    if rule.table is not None:
        parts.append(f"by the table {rule.table}")
    if rule.via is not None:
        parts.append(f"via {_call(rule.via, rule.arguments or {})}")
    if rule.use is not None:
        parts.append(f"use {rule.use}")
    if rule.default is not None:
        parts.append(f"default {_shown(rule.default.value)}")
    return ", ".join(parts)


def _case(case: Case) -> str:
    if case.equals is not None:
        head = _shown(case.equals.value)
    else:
        head = "otherwise" if case.otherwise else str(case.type)
    if case.absent:
        return f"{head} leaves it out"
    if case.reject is not None:
        return f"{head} is refused with {case.reject.status}"
    rule = case.rule
    return f"{head} {_how(rule)}" if rule is not None else head


def _case_sources(case: Case) -> list[str]:
    rule = case.rule
    if rule is None:
        return []
    own = [rule.source.text] if rule.source is not None else []
    own += _paths(rule.arguments)
    for name, inner in (rule.fields or {}).items():
        own += entry_of(name, inner, inner.position).sources
    return own


def _paths(arguments: Mapping[str, Argument] | None) -> list[str]:
    return [one.text for one in (arguments or {}).values() if isinstance(one, PathRef)]


def _condition_paths(condition: Condition) -> list[str]:
    found: list[PathRef] = [
        *condition.empty,
        *condition.nonempty,
        *condition.present,
        *condition.absent,
    ]
    found += [condition.true] if condition.true is not None else []
    found += [condition.equals[0]] if condition.equals is not None else []
    found += [condition.between[0]] if condition.between is not None else []
    return [path.text for path in found] + _paths(condition.arguments)


def _call(name: str, arguments: Mapping[str, Argument]) -> str:
    given = ", ".join(
        f"{key}={one.text if isinstance(one, PathRef) else _shown(one.value)}"
        for key, one in arguments.items()
    )
    return f"{name}({given})" if given else name


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
