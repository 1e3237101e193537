"""`nox -s upstream-diff`: what is said of two small documents, theirs as vendors write them."""

from typing import Any

import pytest

from codegen.upstream_diff import compare
from conformance.tests.codegen.upstream_documents import (
    Schema,
    answering,
    having,
    taking,
    told,
    told_of,
)

# ---- several schemas in one place


def test_alternatives_are_read_together() -> None:
    """A field of two alternatives has the types of both, whichever comes last."""
    ours = having(stop={"type": ["string", "array"], "items": {"type": "string"}})
    strings = {"type": "array", "items": {"type": "string"}}
    for word in ("oneOf", "anyOf"):
        for choices in ([{"type": "string"}, strings], [strings, {"type": "string"}]):
            assert told_of(ours, having(stop={word: choices})) == []

    both = {"oneOf": [having(a={"type": "string"}), having(a={"type": "integer"})]}
    assert told_of(having(a={"type": "integer"}), both) == [
        "type request a: ours integer; theirs integer | string"
    ]
    assert told_of(having(a={"type": "string"}), both) == [
        "type request a: ours string; theirs integer | string"
    ]


def test_what_all_of_adds_is_seen() -> None:
    """The fields of every part count, those it requires too, and a later part can restrict."""
    theirs = {
        "allOf": [
            {"$ref": "#/components/schemas/Base"},
            {"type": "object", "required": ["b"], "properties": {"b": {"type": "string"}}},
            {"properties": {"a": {"enum": ["x"]}}},
        ]
    }
    base = {"components": {"schemas": {"Base": having(a={"type": "string"})}}}

    assert told(taking(having()), taking(theirs, **base)) == [
        "bare request ours names no fields; theirs {a, b}"
    ]
    assert told(taking(having(a={"type": "string"})), taking(theirs, **base)) == [
        'values request a: ours any string; theirs only "x"',
        "new request b: theirs string, required",
    ]


def test_what_stands_beside_a_reference_counts() -> None:
    """In 3.1 a `$ref` has neighbours."""
    more = {"components": {"schemas": {"Word": {"type": "string"}}}}
    theirs = having(a={"$ref": "#/components/schemas/Word", "enum": ["x", "y"]})

    assert told(taking(having(a={"type": "string"})), taking(theirs, **more)) == [
        'values request a: ours any string; theirs only "x", "y"'
    ]


def test_a_parent_and_its_children_may_name_each_other() -> None:
    """A type that is one of its own children, each of which is also the parent, is no circle."""
    schemas = {
        "Pet": {
            "oneOf": [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}],
            "properties": {"name": {"type": "string"}},
        },
        "Cat": {"allOf": [{"$ref": "#/components/schemas/Pet"}, having(claws={"type": "integer"})]},
        "Dog": {"allOf": [{"$ref": "#/components/schemas/Pet"}, having(tricks={"type": "string"})]},
    }
    theirs = taking({"$ref": "#/components/schemas/Pet"}, components={"schemas": schemas})
    ours = having(name={"type": "string"}, claws={"type": "integer"})

    assert told(taking(ours), theirs) == ["new request tricks: theirs string"]


# ---- types


def test_null_is_the_same_in_both_versions() -> None:
    """3.0 says `nullable`, 3.1 lists a type; one may stand beside a reference or alternatives."""
    ours = having(a={"type": ["string", "null"]})
    more = {"components": {"schemas": {"Word": {"type": "string"}}}}
    reference = {"$ref": "#/components/schemas/Word"}
    for schema in (
        {"type": "string", "nullable": True},
        {"type": "string", "enum": ["x", None]},
        {"oneOf": [{"type": "string"}, {"type": "null"}]},
        {"allOf": [reference], "nullable": True},
        reference | {"nullable": True},
    ):
        said = told(taking(ours), taking(having(a=schema), **more), minor=True)
        assert [line for line in said if line.startswith("type")] == []
    assert told_of(
        having(a={"type": "string"}), having(a={"type": "string", "nullable": True})
    ) == ["type request a: ours string; theirs string | null"]


def test_a_type_that_says_nothing_new_is_told_apart() -> None:
    """No null, and whole numbers where ours has any: listed on demand only."""
    ours = having(a={"type": ["number", "null"]}, b={"type": "string"})
    theirs = having(a={"type": "integer"}, b={})

    assert told_of(ours, theirs) == []
    assert told_of(ours, theirs, minor=True) == [
        "type request a: ours number | null; theirs integer",
        "type request b: ours string; theirs any value",
    ]


def test_a_type_that_theirs_lacks_is_told() -> None:
    """A list that is no longer taken is as much a change as one that is."""
    ours, theirs = having(a={"type": ["string", "array"]}), having(a={"type": "string"})
    assert told_of(ours, theirs) == ["type request a: ours array | string; theirs string"]
    assert told_of(theirs, ours) == ["type request a: ours string; theirs array | string"]


def test_items_and_values_are_compared() -> None:
    """The type of a list's items, and that of an object's free keys."""
    ours = having(
        tags={"type": "array", "items": {"type": "string"}},
        bias={"type": "object", "additionalProperties": {"type": "number"}},
        rows={"type": "array", "items": {"type": "array", "items": having(a={"type": "string"})}},
    )
    theirs = having(
        tags={"type": "array", "items": {"type": "integer"}},
        bias={"type": "object", "additionalProperties": {"type": "string"}},
        rows={"type": "array", "items": {"type": "array", "items": having(b={"type": "string"})}},
    )

    assert told_of(ours, theirs) == [
        "type request bias.{*}: ours number; theirs string",
        "absent request rows.*.*.a: ours string",
        "new request rows.*.*.b: theirs string",
        "type request tags.*: ours string; theirs integer",
    ]


def test_an_object_without_stated_fields_lacks_none() -> None:
    """That a document does not say what is in an object is one line, and no field is missing."""
    ours, theirs = having(a=having(b={}, c={})), having(a={"type": "object"})
    assert told_of(ours, theirs) == ["bare request a: theirs names no fields; ours {b, c}"]
    assert told_of(theirs, ours) == ["bare request a: ours names no fields; theirs {b, c}"]


# ---- words, and what is required


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ({"enum": ["a", "b"]}, {"enum": ["b", "c"]}, ['also has "c"', 'lacks "a"']),
        ({"enum": ["a"]}, {"const": "b"}, ['also has "b"', 'lacks "a"']),
        ({"enum": ["a"]}, {"enum": ["a"]}, []),
        ({"enum": ["a"]}, {}, ["any string"]),
        ({}, {"enum": ["a"]}, ['only "a"']),
        ({"x-known": ["a", "b"]}, {"enum": ["b", "c"]}, ['also names "c"']),
        ({"x-known": ["a", "b"]}, {"enum": ["b"]}, []),
        ({"x-known": ["a"]}, {"anyOf": [{"type": "string"}, {"enum": ["b"]}]}, ['also names "b"']),
    ],
)
def test_words_that_come_and_go(ours: Schema, theirs: Schema, said: list[str]) -> None:
    """Values that one has and the other lacks; ours may know words without closing their set."""
    found = told_of(having(a={"type": "string", **ours}), having(a={"type": "string", **theirs}))
    assert [line.rpartition("theirs ")[2] for line in found] == said
    assert all(line.startswith("values request a: ") for line in found)


def test_words_of_one_alternative_are_seen() -> None:
    """A boolean beside words leaves the words closed."""
    ours = having(a={"oneOf": [{"type": "boolean"}, {"type": "string", "enum": ["low"]}]})
    theirs = having(a={"oneOf": [{"type": "boolean"}, {"type": "string", "enum": ["low", "max"]}]})
    assert told_of(ours, theirs) == ['values request a: theirs also has "max"']


def test_what_is_required_is_compared() -> None:
    """Both ways, in one line for an object; a field of one side only is not in it."""
    ours = having(a={}, b={}, c={}) | {"required": ["a", "c"]}
    theirs = having(a={}, b={}, d={}) | {"required": ["b", "d"]}

    assert told_of(ours, theirs) == [
        "required request only theirs requires `b`; only ours requires `a`",
        "absent request c: ours any value",
        "new request d: theirs any value, required",
    ]


def test_an_alternative_can_do_without_what_another_requires() -> None:
    """Required is what every alternative requires that is an object."""
    one = having(a={}, b={}) | {"required": ["a", "b"]}
    two = having(a={}, b={}) | {"required": ["a"]}
    assert told_of(two, {"oneOf": [one, two, {"type": "null"}], "nullable": False}) == [
        "type request ours object; theirs object | null"
    ]


# ---- types within themselves


@pytest.mark.parametrize("count", [1, 4, 12])
def test_a_type_within_itself_is_compared_once(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many fields of its own type it has, it is one pair; scalars are another."""
    monkeypatch.setattr(compare, "MAX_PAIRS", 2)
    node = {"$ref": "#/components/schemas/Node"}
    wrapped = {"oneOf": [node, {"type": "null"}]}

    def document(**own: Schema) -> dict[str, Any]:
        fields = having(**{f"child{n}": wrapped if n % 2 else node for n in range(count)}, **own)
        return taking(node, components={"schemas": {"Node": fields}})

    ours, theirs = document(x={"type": "string"}), document(x={"type": "integer"}, y={})
    assert told(ours, theirs) == [
        "type request x: ours string; theirs integer",
        "new request y: theirs any value",
    ]


def test_types_that_contain_each_other_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty types, each with a field of every one: each is compared once, as is a scalar."""
    monkeypatch.setattr(compare, "MAX_PAIRS", 21)
    names = [f"T{number}" for number in range(20)]

    def document(**own: Schema) -> dict[str, Any]:
        fields = {name: {"$ref": f"#/components/schemas/{name}"} for name in names}
        schemas = {name: having(**fields, **own) for name in names}
        return taking({"$ref": "#/components/schemas/T0"}, components={"schemas": schemas})

    said = told(document(), document(extra={"type": "string"}))
    assert "new request extra: theirs string" in said
    assert len([line for line in said if line.startswith("new ")]) == 20


def test_a_type_that_stands_twice_is_named_twice() -> None:
    """Its differences are listed at the first place, and the second says so."""
    part = {"$ref": "#/components/schemas/Part"}

    def document(**fields: Schema) -> dict[str, Any]:
        schemas = {"Part": having(**fields)}
        return taking(having(a=part, b=part), components={"schemas": schemas})

    assert told(document(x={"type": "string"}), document(x={"type": "integer"})) == [
        "type request a.x: ours string; theirs integer",
        "same request b: as `a`, where its differences are listed",
    ]
    assert told(document(x={"type": "string"}), document(x={"type": "string"})) == []


def test_a_comparison_without_end_says_that_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out in silence."""
    monkeypatch.setattr(compare, "MAX_PAIRS", 2)
    same = having(a=having(b={"type": "string"}), c=having(d={"type": "string"}))
    assert told_of(same, same) == ["unread request the comparison ended after 2 pairs of types"]


# ---- paths and parameters


@pytest.mark.parametrize(
    ("path", "servers"),
    [
        ("/things", [{"url": "https://host.example/v1"}]),
        ("things/", [{"url": "https://host.example/v1/"}]),
        ("/things", [{"url": "/v1"}]),
        ("/things", [{"url": "{scheme}://host/{base}", "variables": {"base": {"default": "v1"}}}]),
        ("/things", [{"url": "https://other.example"}, {"url": "https://host.example/v1"}]),
        ("/things", [{"url": "https://host.example/api/v1"}]),
        ("/v1/things", [{"url": "https://host.example/v1"}]),
        ("/v1/things", []),
    ],
)
def test_paths_count_from_the_server(path: str, servers: list[Schema]) -> None:
    """A document with `/v1` in the server's address has the same operations as one without."""
    ours = {"openapi": "3.1.0", "paths": {"/v1/things": {"get": {}}}}
    theirs = {"openapi": "3.1.0", "servers": servers, "paths": {path: {"get": {}}}}
    assert told(ours, theirs) == []


def test_an_operation_may_have_a_server_of_its_own() -> None:
    """Its path counts from there, and the line says which server it is."""
    own = {"servers": [{"url": "https://cloud.example/v2"}]}
    theirs = {"openapi": "3.1.0", "paths": {"/a": {"get": {}}, "/b": {"get": own}}}
    ours = {"openapi": "3.1.0", "paths": {"/a": {"get": {}}}}
    assert told(ours, theirs) == [
        "new get /v2/b theirs has this operation, on https://cloud.example/v2"
    ]


def test_parameters_are_compared() -> None:
    """Those of queries, headers and paths; the name of a path's parameter means nothing."""

    def document(path: str, shared_ones: Schema, own: Schema) -> dict[str, Any]:
        item = {"parameters": shared_ones, "get": {"parameters": own}}
        return {"openapi": "3.1.0", "paths": {path: item}}

    def parameter(kind: str, name: str, **more: Schema) -> dict[str, Any]:
        return {"in": kind, "name": name, **more}

    string, whole = {"schema": {"type": "string"}}, {"schema": {"type": "integer"}}
    ours = document(
        "/things/{id}",
        [parameter("path", "id", required=True, **string), parameter("query", "limit", **string)],
        [parameter("header", "X-Trace", **string), parameter("query", "old", **string)],
    )
    theirs = document(
        "/things/{thing}",
        [parameter("path", "thing", required=True, **whole), parameter("query", "limit", **string)],
        [
            parameter("query", "limit", required=True, **whole),
            parameter("header", "x-trace", **string),
            parameter("header", "Accept", **string),
            parameter("query", "new", required=True, **whole),
        ],
    )

    assert told(ours, theirs) == [
        "type path parameter id: ours string; theirs integer",
        "required query parameter limit: only theirs requires it",
        "type query parameter limit: ours string; theirs integer",
        "new query parameter new: theirs integer, required",
        "absent query parameter old: ours string",
    ]


def test_a_parameter_of_a_path_need_not_be_described() -> None:
    """The path itself names it."""
    parameter = {"in": "path", "name": "id", "required": True, "schema": {"type": "string"}}
    described = {"openapi": "3.1.0", "paths": {"/a/{id}": {"get": {"parameters": [parameter]}}}}
    bare = {"openapi": "3.1.0", "paths": {"/a/{name}": {"get": {}}}}

    assert told(described, bare) == []
    assert told(bare, described) == []


# ---- media types


def test_media_types_are_compared_each_with_its_own() -> None:
    """What differs in one only says in which; what differs in all is said once."""
    ours = {
        "application/json": {"schema": having(a={}, b={})},
        "application/x-ndjson": {"schema": {"type": "array", "items": having(a={}, b={})}},
    }
    theirs = {
        "application/json; charset=utf-8": {"schema": having(a={}, c={})},
        "application/x-ndjson": {"schema": having(b={}, c={})},
    }
    assert told(answering(ours), answering(theirs)) == [
        "absent answer (application/x-ndjson) a: ours any value",
        "absent answer (application/json) b: ours any value",
        "new answer c: theirs any value",
    ]


def test_a_media_type_of_one_side_is_told_and_read() -> None:
    """Its fields are compared with those of all that the other has."""
    ours = {"application/json": {"schema": having(a={})}}
    theirs = ours | {"text/event-stream": {"schema": having(a={}, delta={})}}
    assert told(answering(ours), answering(theirs)) == [
        "new answer theirs the media type text/event-stream",
        "new answer (text/event-stream) delta: theirs any value",
    ]


def test_a_list_in_json_is_no_stream() -> None:
    """Only a stream's messages may be described one by one."""
    ours = {"application/json": {"schema": having(a={})}}
    theirs = {"application/json": {"schema": {"type": "array", "items": having(a={})}}}
    assert told(answering(ours), answering(theirs)) == [
        "type answer ours object; theirs array",
    ]


def test_a_body_of_one_side_is_told() -> None:
    """An answer that has none there, and one that has one."""
    some = {"application/json": {"schema": having(a={})}}
    assert told(answering(some), answering({})) == ["absent answer ours a body, object {a}"]
    assert told(answering({}), answering(some)) == ["new answer theirs a body, object {a}"]
