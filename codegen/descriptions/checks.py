"""
Mistakes that a description alone shows: what of it nothing reads, and names that name nothing.

A description may say more than codegen reads; what is refused here is what looks as if it were
read, and is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from codegen.descriptions.problem import Findings, did_you_mean
from codegen.descriptions.source import Mapping, Scalar, Sequence, Value
from codegen.descriptions.spec import METHODS, Specs

NOTES = {
    "x-appends": "a field that holds a piece of a whole, of which every chunk adds one",
    "x-asks-context": "a field that asks for a context of so many tokens",
    "x-begins-prompt": "a field that a prompt begins with",
    "x-changes": "a field of a request's context whose value differs from reading to reading",
    "x-decode": "`raw` for a field kept as it was sent, `any` for one that takes any JSON value",
    "x-deviations": "where answers differ from the real server's, and why",
    "x-ends-beginning": "the value with which an item is the last one of a prompt's beginning",
    "x-go-bytes": "a text that Go takes as base64, or as an array of numbers",
    "x-go-check": "a transform that names what is wrong with a value",
    "x-go-shape": "the component that a raw value must fit",
    "x-go-type": "the Go type's name in an error text",
    "x-go-unread": "an operation whose body must be there, and nothing more",
    "x-keys": "the component, as `api:Name`, whose fields are the known keys of an object",
    "x-known": "words that are known of an open vocabulary",
    "x-late": "the component that a raw value is decoded into",
    "x-needs": "the capability that a filled field needs, or that some of its words need",
    "x-passed-on": "routes that are passed on to LM Studio",
    "x-read-by": "the module that reads a field which no mapping reads",
    "x-refusal": "what a client is told of a value of a wrong type",
    "x-runs-model": "an operation for which a model must be kept loaded",
    "x-wire": "how the wire differs from the vendor's documents",
}
"""The `x-…` keys that are read, by codegen or by people, and what each says."""

UNREAD = {
    "allOf": "write the fields of all of them out, or they are lost",
    "nullable": "that is OpenAPI 3.0: write `type: [string, 'null']`, or a null counts as wrong",
    "discriminator": "write a `oneOf` whose arms differ in their type",
    "patternProperties": "write `additionalProperties`, or the fields are lost",
}
"""Words of a schema that look as if they were read, and what to write in their place."""

EVERYWHERE = "every route"


def check_descriptions(specs: Specs, findings: Findings) -> None:
    """Report what is wrong in the descriptions, whether or not a rule uses it."""
    for api, document in specs.documents.items():
        for value in _mappings(document):
            _check_notes(value, findings)
        for name, schema in specs.components(api).items():
            for part in _schemas(schema):
                _check_schema(name, part, findings)
        _check_deviations(specs, api, document, findings)


def _mappings(value: Value) -> list[Mapping]:
    """Return a mapping and all that stand in it, in the order of the file."""
    found: list[Mapping] = []
    _add_mappings(value, found)
    return found


def _add_mappings(value: Value, found: list[Mapping]) -> None:
    if isinstance(value, Mapping):
        found.append(value)
        for _, item in value.entries.values():
            if not isinstance(item, Scalar):
                _add_mappings(item, found)
    elif isinstance(value, Sequence):
        for item in value.items:
            if not isinstance(item, Scalar):
                _add_mappings(item, found)


def _schemas(schema: Value) -> Iterator[Mapping]:
    """Yield a schema and those in it; names of properties are no words of a schema."""
    if isinstance(schema, Sequence):
        for item in schema:
            yield from _schemas(item)
    if not isinstance(schema, Mapping):
        return
    yield schema
    for key, value in schema.items():
        if key.text == "properties" and isinstance(value, Mapping):
            for _, inner in value.items():
                yield from _schemas(inner)
        elif key.text in ("items", "additionalProperties", "oneOf", "anyOf"):
            yield from _schemas(value)


def _check_notes(value: Mapping, findings: Findings) -> None:
    for key, _ in value.items():
        if key.text.startswith("x-") and key.text not in NOTES:
            findings.add(
                "unknown-note",
                key.position,
                f"nothing reads `{key.text}`",
                hint=did_you_mean(key.text, NOTES),
            )


def _check_schema(name: str, schema: Mapping, findings: Findings) -> None:
    for key, _ in schema.items():
        if key.text in UNREAD:
            findings.add(
                "unread-schema",
                key.position,
                f"`{name}`: nothing reads `{key.text}`",
                hint=UNREAD[key.text],
            )
    required, properties = schema.get("required"), schema.get("properties")
    known = properties.entries if isinstance(properties, Mapping) else {}
    for item in required.items if isinstance(required, Sequence) else ():
        if isinstance(item, Scalar) and str(item.value) not in known:
            findings.add(
                "no-such-property",
                item.position,
                f"`{name}` requires `{item.value}`, which is none of its properties",
                hint=did_you_mean(str(item.value), known),
            )


def _check_deviations(specs: Specs, api: str, document: Mapping, findings: Findings) -> None:
    """Every deviation is one of a route that is described or passed on, or of all."""
    noted, passed_on = document.get("x-deviations"), document.get("x-passed-on")
    routes = {f"{one.method.upper()} {one.path}" for one in specs.operations(api)} | {EVERYWHERE}
    for key, _ in passed_on.items() if isinstance(passed_on, Mapping) else ():
        routes.add(key.text)
        method, _, path = key.text.partition(" ")
        if method not in map(str.upper, METHODS) or not path.startswith("/"):
            findings.add("bad-value", key.position, f"`{key.text}` is no route: write `GET /path`")
    for entry in noted.items if isinstance(noted, Sequence) else ():
        if not isinstance(entry, Mapping):
            continue
        where, what, reason = (_text(entry.get(name)) for name in ("where", "what", "reason"))
        if where not in routes:
            findings.add(
                "no-such-operation",
                entry.position,
                f"`{where}` is no route",
                hint=did_you_mean(where, routes),
            )
        if not what or not reason:
            findings.add("thin-reason", entry.position, "a deviation says `what` and its `reason`")


def _text(value: Value | None) -> str:
    return str(value.value) if isinstance(value, Scalar) else ""


def check_used(specs: Specs, named: Iterable[str], findings: Findings) -> None:
    """
    Report components that nothing leads to.

    `named` are those that rules and signatures name, as `api:Component`; a path leads to what it
    refers to, and a component to what it refers to itself.
    """
    used: set[str] = set()
    waiting = [*named]
    for api, document in specs.documents.items():
        components = specs.components(api)
        inside = {id(part) for schema in components.values() for part in _mappings(schema)}
        for part in _mappings(document):
            if id(part) not in inside:
                waiting += _references(api, part)
    while waiting:
        name = waiting.pop()
        api, _, component = name.partition(":")
        schema = specs.components(api).get(component)
        if name not in used and schema is not None:
            used.add(name)
            waiting += [found for part in _mappings(schema) for found in _references(api, part)]
    for api in specs.documents:
        for name in specs.components(api):
            if f"{api}:{name}" not in used:
                findings.add(
                    "unused-component",
                    specs.place_of(api, name),
                    f"nothing leads to `{name}` of {api}: no path, no rule, no other component",
                )


def _references(api: str, value: Mapping) -> Iterator[str]:
    reference = _text(value.get("$ref"))
    if "/schemas/" in reference:
        file = reference.partition("#")[0].rsplit("/", 1)[-1]
        yield f"{file.split('.')[0] if file else api}:{reference.rsplit('/', 1)[-1]}"
    for note in ("x-late", "x-go-shape"):
        if note in value:
            yield f"{api}:{_text(value.get(note))}"
    if "x-keys" in value:
        yield _text(value.get("x-keys"))
