"""
The committed structs keep what the specs promise: order, strictness, and that they can be built.

The order of a struct's fields is the order on the wire, so it must be the spec's.
"""

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from msgspec import inspect as types

from codegen.descriptions.spec import Specs
from codegen.descriptions.types import ArrayType, Field, StructType, Type, arms, python_name
from codegen.generator import Generator
from conformance.tests.codegen.harness import REPOSITORY, reading_once

APIS = ("internal", "lmstudio", "ollama", "openai")


def structs_of(api: str) -> dict[str, type[msgspec.Struct]]:
    """Return the generated structs of an API by the names of their components."""
    module = importlib.import_module(f"gateway.types.{api}")
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, msgspec.Struct)
        and value is not msgspec.Struct
    }


def described(api: str) -> Iterator[tuple[str, type[msgspec.Struct], list[Field]]]:
    """Yield every struct of an API by name, with the fields that its spec describes."""
    for name, struct in structs_of(api).items():
        yield name, struct, list(specs().struct(StructType(api, name)).fields.values())


@cache
def generator() -> Generator:
    """Return the generator of the real project, its specs and rules read."""
    with reading_once():
        return Generator(REPOSITORY)


def specs() -> Specs:
    """Return the real specs."""
    return generator().specs


def sample(kind: types.Type) -> Any:
    """Return a value of a type, as little as it takes."""
    match kind:
        case types.StructType():
            needed = [field for field in kind.fields if field.required]
            return kind.cls(**{field.name: sample(field.type) for field in needed})
        case types.UnionType():
            return sample(kind.types[0])
        case types.LiteralType():
            return kind.values[0]
        case types.ListType():
            return [sample(kind.item_type)]
        case types.DictType():
            return {"key": sample(kind.value_type)}
        case types.RawType():
            return msgspec.Raw(b"{}")
        case types.StrType():
            return "text"
        case types.IntType():
            return 1
        case types.FloatType():
            return 0.5
        case types.BoolType():
            return False
        case types.AnyType() | types.NoneType():
            return None
        case _:
            raise AssertionError(f"no sample for {kind}")


def in_requests(type_: Type, found: set[str]) -> set[str]:
    """Return the components that a request's body is decoded into at once."""
    for arm in arms(type_):
        if isinstance(arm, ArrayType):
            in_requests(arm.item, found)
        elif isinstance(arm, StructType) and arm.name not in found:
            found.add(arm.name)
            for field in specs().struct(arm).fields.values():
                in_requests(field.type, found)
    return found


def named_in(api: str) -> Iterator[str]:
    """Yield the components of an API that mappings name as source or target."""
    for file in generator().project.files.values():
        blocks = [shape.block for shape in file.shapes.values()]
        for call in file.calls.values():
            streamed = call.stream.block if call.stream is not None else None
            made = (call.request, call.response, streamed)
            blocks += [block for block in made if block is not None]
        for block in blocks:
            yield from (
                text.partition(":")[2]
                for text in (block.source, block.target)
                if text.startswith(f"{api}:")
            )


@pytest.mark.parametrize("api", APIS)
def test_every_named_component_has_a_struct(api: str) -> None:
    """What rules name is generated under the spec's own name, and nothing under another."""
    assert set(named_in(api)) <= set(structs_of(api)) <= set(specs().components(api))


@pytest.mark.parametrize("api", APIS)
def test_fields_stand_in_the_order_of_the_spec(api: str) -> None:
    """Attributes and names on the wire are the spec's properties, one for one."""
    on_the_wire = {name: struct.__struct_encode_fields__ for name, struct, _ in described(api)}
    attributes = {name: struct.__struct_fields__ for name, struct, _ in described(api)}
    names = {name: [field.name for field in fields] for name, _, fields in described(api)}

    assert {name: tuple(order) for name, order in names.items()} == on_the_wire
    assert {name: tuple(map(python_name, order)) for name, order in names.items()} == attributes


@pytest.mark.parametrize("api", APIS)
def test_only_what_the_spec_requires_is_required(api: str) -> None:
    """A field that may be left out is UNSET by default, so that absent is not null."""
    for name, struct, fields in described(api):
        built = msgspec.structs.fields(struct)

        required = {field.name for field in fields if field.required}
        assert required == {field.encode_name for field in built if field.required}, name
        assert {UNSET} >= {field.default for field in built if not field.required}, name


@pytest.mark.parametrize("api", APIS)
def test_a_struct_can_be_decoded_and_encoded(api: str) -> None:
    """The decoder of every struct builds, and reads what its smallest value is encoded as."""
    for name, struct, _ in described(api):
        text = msgspec.json.encode(sample(types.type_info(struct)))

        assert text == msgspec.json.encode(msgspec.json.Decoder(struct).decode(text)), name


def test_requests_refuse_unknown_fields_and_answers_do_not() -> None:
    """An unknown key of a client sends its body to the lenient reader; upstream's are skipped."""
    bodies = {operation.request for operation in specs().operations("ollama") if operation.request}
    requests: set[str] = set()
    for body in bodies:
        in_requests(body, requests)

    strict = {
        (api, name)
        for api in APIS
        for name, struct in structs_of(api).items()
        if struct.__struct_config__.forbid_unknown_fields
    }

    assert len(bodies) > 9
    assert {("ollama", name) for name in requests if name in structs_of("ollama")} == strict
