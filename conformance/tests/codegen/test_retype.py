"""
A field of a description that changes its type is told at the rules that read or write it.

Not by the type checker, which could only name a line of generated code. Every seventh field that a
rule reads or writes is tried, in the whole project; a few may change without any rule caring.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from codegen.descriptions.problem import GenerationFailed
from codegen.descriptions.types import (
    AnyType,
    ArrayType,
    ScalarType,
    StructType,
    Type,
    UnionType,
    arms,
)
from codegen.generator import Generator
from codegen.rules.model import Block, Rule
from conformance.tests.codegen.harness import REPOSITORY, reading_once

INDIFFERENT = {
    "context:Failure message": "shown in error texts, which take any value",
    "context:RequestContext upstream_url": "shown in error texts",
    "internal:AskedName display": "shown in error texts",
    "internal:AskedName full": "shown in error texts",
    "internal:AskedName trimmed": "shown in error texts",
    "internal:CatalogueRow": "handed to a transform as a whole, whose own types say what it reads",
    "internal:IdentifiedMessage thinking": "no mapping sends it",
    "internal:Speech": "kept from chunk to chunk by a transform, whose own types say what it reads",
    "internal:Template": "handed to a transform as a whole, whose own types say what it reads",
    "ollama:GenerateRequest context": "a plan only asks whether it is empty",
    "ollama:Options": "handed to a transform as a whole, and ignored",
    "openai:Stats": "handed to a transform as a whole, whose own types say what it reads",
}
"""Fields whose type no rule depends on, or structs that have such fields, and why."""

Fields = list[tuple[StructType, str]]


def retyped(type_: Type) -> Type | None:
    """Return a type that no value of another type has; None for what may be anything."""
    match type_:
        case AnyType():
            return None
        case ScalarType(name="string"):
            return ScalarType("integer")
        case ArrayType():
            is_boolean = type_.item == ScalarType("boolean")
            return ArrayType(ScalarType("string" if is_boolean else "boolean"))
        case UnionType():
            return ScalarType("boolean")
        case ScalarType():
            return ScalarType("string")
        case _:
            return ScalarType("integer")


def written(generator: Generator) -> Iterator[tuple[StructType, str]]:
    """Yield the fields that rules set."""
    specs = generator.specs

    def set_by(kind: StructType, rules: Mapping[str, Rule]) -> Iterator[tuple[StructType, str]]:
        known = specs.struct(kind).fields
        for name, rule in rules.items():
            yield kind, name
            inner = [arm for arm in arms(known[name].type) if isinstance(arm, StructType)]
            if rule.fields is not None and inner:
                yield from set_by(inner[0], rule.fields)

    def blocks() -> Iterator[tuple[Block, Mapping[str, Rule]]]:
        for file in generator.project.files.values():
            for shape in file.shapes.values():
                yield shape.block, shape.block.fields
            for report in file.reports.values():
                yield report.block, report.block.fields
            for call in file.calls.values():
                for block in (call.request, call.response):
                    if block is not None:
                        yield block, block.fields
                for emit in call.stream.emit if call.stream is not None else ():
                    assert call.stream is not None
                    yield call.stream.block, emit.fields

    for block, rules in blocks():
        api, _, name = block.target.partition(":")
        yield from set_by(StructType(api, name), rules)


def compiled(root: Path, *, kind: StructType | None = None, name: str = "") -> Generator:
    """Compile the project, with one field of another type; raises GenerationFailed."""
    generator = Generator(root)
    specs = generator.specs
    if kind is not None:
        struct = specs.struct(kind)
        type_ = retyped(struct.fields[name].type)
        assert type_ is not None
        changed = replace(struct.fields[name], type=type_)
        specs.add_struct(replace(struct, fields={**struct.fields, name: changed}))
    try:
        generator.compile()
    finally:
        if kind is not None:
            specs.add_struct(struct)
    return generator


def fields_in_use() -> Fields:
    """Return every field that some rule reads or writes, and whose type may change."""
    with reading_once():
        generator = compiled(REPOSITORY)
        found = {*written(generator), *generator.project.coverage.fields_read}
        return sorted(
            (
                (kind, name)
                for kind, name in found
                if kind.api in generator.specs.documents
                and name in generator.specs.struct(kind).fields
                and retyped(generator.specs.struct(kind).fields[name].type) is not None
                and str(kind) not in INDIFFERENT
                and f"{kind} {name}" not in INDIFFERENT
            ),
            key=str,
        )


@pytest.mark.parametrize(
    ("kind", "name"),
    fields_in_use()[::7],
    ids=str,
)
def test_a_retyped_field_is_told_at_a_rule(kind: StructType, name: str, real: Path) -> None:
    """Some rule that reads or writes it is named, by its file and line."""
    with pytest.raises(GenerationFailed) as caught:
        compiled(real, kind=kind, name=name)

    told = {problem.position.file for problem in caught.value.problems}
    assert any(file.startswith("specs/mappings/") for file in told), caught.value
