"""
How a request tells what it needs of a host, from the marks of its description.

`x-begins-prompt`, `x-ends-beginning`, `x-needs` and `x-asks-context` say it of fields; what comes
of them is a record in the row of each route, so that nothing that is written by hand knows a field.
"""

from __future__ import annotations

from collections.abc import Iterator

from codegen.compiler import ir
from codegen.compiler.builder import Builder, Project
from codegen.compiler.steps import CAPABILITIES
from codegen.descriptions.problem import did_you_mean
from codegen.descriptions.spec import Specs
from codegen.descriptions.types import (
    ArrayType,
    Field,
    MapType,
    RawType,
    StructType,
    Type,
    arms,
)
from codegen.rules.model import Passthrough, Step

Way = tuple[Field, ...]
"""The fields that lead to one, which is the last."""


def needs_of_struct(builder: Builder) -> ir.Needs | None:
    """Return what the decoded requests of a file tell, None where they name no model."""
    request = builder.request
    steps = [step for step in builder.file.plan if step.kind == "model"]
    if request is None or not steps:
        return None
    model = tuple(path.parts[0] for step in steps for path in step.model if len(path.parts) == 1)
    if not _runs_model(builder):
        return ir.Needs(model=model)
    ways = list(_ways(builder.specs, request))
    _check(builder, request, ways)
    for step in builder.file.plan:
        _check_need(builder, step, {way[0].name: way[0] for way in ways if len(way) == 1})
    for way in ways:
        if any(words for _, words in way[-1].needs):
            builder.findings.add(
                "bad-value",
                way[-1].position,
                f"`{_shown(way)}` is decoded, where only whole fields need a capability",
                hint="write the capability alone",
            )
    return ir.Needs(
        model=model,
        begins=tuple(way[0].attribute for way in ways if len(way) == 1 and way[0].begins_prompt),
        until=_until(ways),
        filled=tuple(
            (capability, tuple(field.attribute for field in way))
            for way in ways
            for capability, _ in way[-1].needs
        ),
        context=_context(ways),
    )


def needs_of_members(
    builder: Builder, passed: Passthrough, request: StructType | None
) -> ir.Needs | None:
    """Return what requests that are passed on tell, None where they name no model."""
    if request is None or passed.model is None:
        return None
    model = (passed.model,)
    if passed.looked_up or passed.changes_models:
        return ir.Needs(model=model)
    ways = list(_ways(builder.specs, request))
    _check(builder, request, ways)
    filled, words = [], []
    for way in ways:
        for capability, found in way[-1].needs:
            if len(way) == 1 and not found:
                filled.append((capability, (way[0].name,)))
            elif len(way) > 1 and found:
                words.append((capability, way[0].name, way[-1].name, found))
            else:
                builder.findings.add(
                    "bad-value",
                    way[-1].position,
                    f"`{_shown(way)}` is passed on, where only a whole member, or words inside of "
                    "one, need a capability",
                )
    return ir.Needs(
        model=model,
        begins=tuple(way[0].name for way in ways if len(way) == 1 and way[0].begins_prompt),
        until=_until(ways),
        filled=tuple(filled),
        words=tuple(words),
        context=_context(ways),
    )


def _runs_model(builder: Builder) -> bool:
    for call in builder.file.calls.values():
        called = builder.specs.operation(call.api, call.operation, call.operation_position)
        if called is not None and called.runs_model:
            return True
    return False


def _ways(
    specs: Specs, kind: StructType, before: Way = (), within: tuple[StructType, ...] = ()
) -> Iterator[Way]:
    """Yield the way to every field of a type and of what it holds; none leads back to a type."""
    for field in specs.struct(kind).fields.values():
        way = (*before, field)
        yield way
        for inner in _held(field.type):
            if inner not in (*within, kind):
                yield from _ways(specs, inner, way, (*within, kind))


def _held(kind: Type) -> Iterator[StructType]:
    for arm in arms(kind):
        if isinstance(arm, StructType):
            yield arm
        elif isinstance(arm, ArrayType):
            yield from _held(arm.item)
        elif isinstance(arm, MapType) and arm.keys is not None:
            yield StructType(*arm.keys)
        elif isinstance(arm, RawType) and arm.late is not None:
            yield StructType(*arm.late)


def _until(ways: list[Way]) -> tuple[str, str] | None:
    found = [
        (way[-1].name, way[-1].ends_beginning)
        for way in ways
        if len(way) == 2 and way[0].begins_prompt and way[-1].ends_beginning is not None
    ]
    return found[0] if found else None


def _context(ways: list[Way]) -> tuple[str, ...]:
    found = [way for way in ways if way[-1].asks_context]
    return tuple(field.name for field in found[0]) if found else ()


def _shown(way: Way) -> str:
    return ".".join(field.name for field in way)


def _check(builder: Builder, request: StructType, ways: list[Way]) -> None:
    """Have a request say what it begins with, and note what it says for `check_marks`."""
    findings = builder.findings
    if not any(way[0].begins_prompt for way in ways):
        findings.add(
            "unmarked-beginning",
            builder.file.position,
            f"requests of `{builder.file.name}` run a model, and no field of {request} is "
            "marked as one that a prompt begins with",
            hint="mark it in its description with `x-begins-prompt: true`",
        )
    for way in ways:
        for capability, _ in way[-1].needs:
            if capability not in CAPABILITIES:
                findings.add(
                    "unknown-capability",
                    way[-1].position,
                    f"`{capability}` is no capability",
                    hint=did_you_mean(capability, CAPABILITIES),
                )
    builder.project.asked += [(request.api, way) for way in ways]


def check_marks(project: Project) -> None:
    """Have fields of one name be marked alike in all requests of an API that run a model."""
    whole = {(api, way[0].name): way[0] for api, way in project.asked if _marks(way[0])}
    for api, way in dict.fromkeys(project.asked):
        field = way[-1]
        marked = whole.get((api, field.name))
        if marked is None:
            continue
        # What is inside of a member begins nothing, and needs the same.
        lacking = [
            mark
            for mark in _marks(marked)
            if mark not in _marks(field) and (len(way) == 1 or mark.startswith("x-needs"))
        ]
        if lacking:
            project.findings.add(
                "marked-otherwise",
                field.position,
                f"`{field.name}` lacks a mark that it has at {marked.position}, for requests that "
                "run a model too",
                hint="write " + " and ".join(f"`{mark}`" for mark in lacking),
            )


def _marks(field: Field) -> tuple[str, ...]:
    found = {
        "x-begins-prompt: true": field.begins_prompt,
        "x-asks-context: true": field.asks_context,
    }
    return (
        *(mark for mark, is_there in found.items() if is_there),
        *(f"x-needs: {capability}" for capability, words in field.needs if not words),
    )


def _check_need(builder: Builder, step: Step, fields: dict[str, Field]) -> None:
    """Have what a plan refuses without a capability be marked with that capability."""
    if step.kind != "need" or step.when is None:
        return
    for path in step.when.nonempty:
        field = fields.get(path.text)
        if field is not None and step.name not in dict(field.needs):
            builder.findings.add(
                "unmarked-need",
                field.position,
                f"`{field.name}` needs {step.name} by the plan of `{builder.file.name}`, and is "
                "not marked so",
                hint=f"write `x-needs: {step.name}`",
            )
