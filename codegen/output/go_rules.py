"""
What the descriptions say of how Ollama's Go code reads a body (`x-go-…`), gathered into the tables
of `gateway.wire.fitting.GoRules`.

Only the structs that a client's body is decoded into are looked at; notes elsewhere say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from codegen.descriptions.problem import Findings, Position, did_you_mean
from codegen.descriptions.signatures import Signature
from codegen.descriptions.source import Mapping, Scalar, Value
from codegen.descriptions.spec import Specs
from codegen.output.structs import closure

GO_NOTES = ("x-go-type", "x-go-check", "x-go-shape", "x-go-bytes")
ITEM_KEYS = ("items", "additionalProperties")


@dataclass
class GoRules:
    """The tables, by `Struct.field`; checks are transforms and shapes components, by name."""

    types: dict[str, str] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, str] = field(default_factory=dict)
    octets: set[str] = field(default_factory=set)


def collect_go_rules(
    specs: Specs,
    api: str,
    names: Iterable[str],
    transforms: dict[str, Signature],
    used_transforms: set[str],
    findings: Findings,
) -> GoRules:
    """
    Return what the components `names` of an API, and the shapes they name, say of Go.

    Records checks that are no transforms and shapes that are no components.
    """
    rules = GoRules()
    components = specs.components(api)
    waiting, seen = sorted(names), set[str]()
    while waiting:
        name = waiting.pop(0)
        if name in seen or name not in components:
            continue
        seen.add(name)
        for key, note, text, position in _notes_of(name, components[name]):
            if note == "x-go-type":
                rules.types[key] = text
            elif note == "x-go-bytes":
                rules.octets.add(key)
            elif note == "x-go-check":
                if _is_check(text, transforms, position, findings):
                    used_transforms.add(text)
                    rules.checks[key] = text
            elif text in components:
                rules.shapes[key] = text
                waiting += sorted(closure(specs, api, [text]))
            else:
                findings.add(
                    "no-such-reference",
                    position,
                    f"`{text}` is no component of {api}",
                    hint=did_you_mean(text, components),
                )
    return rules


def _notes_of(struct: str, schema: Mapping) -> Iterator[tuple[str, str, str, Position]]:
    whole = schema.get("x-go-type")
    if isinstance(whole, Scalar):
        yield struct, "x-go-type", str(whole.value), whole.position
    properties = schema.get("properties")
    for name, value in properties.items() if isinstance(properties, Mapping) else ():
        yield from _notes_at(f"{struct}.{name.text}", value)


def _notes_at(key: str, schema: Value) -> Iterator[tuple[str, str, str, Position]]:
    if not isinstance(schema, Mapping):
        return
    for note in GO_NOTES:
        item = schema.get(note)
        if isinstance(item, Scalar):
            yield key, note, str(item.value), item.position
    for word in ITEM_KEYS:
        if word in schema:
            yield from _notes_at(f"{key}[]", schema.get(word) or schema)


def _is_check(
    name: str, transforms: dict[str, Signature], position: Position, findings: Findings
) -> bool:
    signature = transforms.get(name)
    if signature is None:
        findings.add(
            "no-such-transform",
            position,
            f"`{name}` is no transform",
            hint=did_you_mean(name, transforms),
        )
        return False
    if len(signature.parameters) != 1 or signature.returns != "str | UnsetType":
        findings.add(
            "transform-args",
            position,
            f"`{name}` is no check: it must take one value and return `str | UnsetType`",
        )
        return False
    return True
