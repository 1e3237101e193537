"""`nox -s upstream-diff`: parts that stand elsewhere, are malformed, or contain themselves."""

import json
from pathlib import Path
from typing import Any

import pytest

from codegen.upstream_diff.document import read_document
from conformance.tests.codegen.upstream_documents import (
    Schema,
    answering,
    having,
    taking,
    told,
    told_of,
)


def test_what_stands_elsewhere_is_said_and_not_missed(tmp_path: Path) -> None:
    """An address is not fetched, a file is read where there is one, and no field is called gone."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "some.yaml").write_text(
        "Thing: {type: object, properties: {x: {$ref: '#/Word'}, up: {$ref: '../api.json#/w'}}}\n"
        "Word: {type: string}\n",
        encoding="utf-8",
    )
    theirs = taking(
        having(
            far={"$ref": "https://vendor.example/schemas.json#/Far"},
            lost={"oneOf": [{"$ref": "lost.yaml#/Lost"}, {"type": "null"}]},
            near={"$ref": "parts/so%6de.yaml#/Thing"},
            hole={"$ref": "#/components/schemas/Hole"},
            loop={"$ref": "#/components/schemas/A"},
        ),
        components={
            "schemas": {
                "A": {"$ref": "#/components/schemas/B"},
                "B": {"$ref": "#/components/schemas/A"},
            }
        },
        w={"type": "integer"},
    )
    path = tmp_path / "api.json"
    path.write_text(json.dumps(theirs), encoding="utf-8")
    deep = having(x={"type": "integer"}, up={"type": "integer"})
    ours = taking(having(far=deep, lost=deep, near=deep, hole=deep, loop=deep))

    assert told(ours, read_document(path)) == [
        "unread request far: theirs: described elsewhere, not read: "
        "`https://vendor.example/schemas.json#/Far`",
        "unread request hole: theirs: `#/components/schemas/Hole` leads nowhere",
        "unread request loop: theirs: `#/components/schemas/A` leads in a circle",
        "unread request lost: theirs: described elsewhere, not read: `lost.yaml#/Lost` "
        "(no such file or directory)",
        "type request near.x: ours integer; theirs string",
    ]


def test_a_part_elsewhere_hides_only_what_it_may_hold() -> None:
    """What is new beside it is told; what is missing beside it may be in it."""
    theirs = {"allOf": [{"$ref": "https://vendor.example/base.json"}, having(c={})]}
    assert told_of(having(a={}), theirs) == [
        "unread request theirs: described elsewhere, not read: `https://vendor.example/base.json`",
        "new request c: theirs any value",
    ]


@pytest.mark.parametrize("kept", ["item", "operation", "body", "answer", "parameter"])
def test_any_part_may_stand_elsewhere(kept: str) -> None:
    """A path, a body, an answer or a parameter in a file that is not there is not gone."""
    whole = {
        "parameters": [{"in": "query", "name": "q", "schema": {"type": "string"}}],
        "requestBody": {"content": {"application/json": {"schema": having(a={})}}},
        "responses": {"200": {"content": {"application/json": {"schema": having(a={})}}}},
    }
    away = {"$ref": "away.yaml"}
    theirs: dict[str, Any] = {
        "item": away,
        "operation": {"post": None},
        "body": {"post": whole | {"requestBody": away}},
        "answer": {"post": whole | {"responses": {"200": away}}},
        "parameter": {"post": whole | {"parameters": [away]}},
    }
    ours = {"openapi": "3.1.0", "paths": {"/things": {"post": whole}}}

    said = told(ours, {"openapi": "3.1.0", "paths": {"/things": theirs[kept]}})
    assert len(said) == 1
    assert said[0].startswith("unread ")
    if kept != "operation":
        assert "`away.yaml` (no such file or directory)" in said[0]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (None, "null where a schema should stand"),
        ("string", "a text where a schema should stand"),
        ([], "a list where a schema should stand"),
        ({"type": 5}, "`type` is 5, which is not a JSON type"),
        ({"type": "file"}, '`type` is "file", which is not a JSON type'),
        ({"type": ["string", None]}, "`type` is null, which is not a JSON type"),
        ({"type": "object", "properties": []}, "`properties` is a list, not an object"),
        ({"enum": "a"}, "`enum` is not a list"),
        ({"oneOf": {}}, "`oneOf` is an object, not a list"),
        ({"anyOf": [None, {"type": "string"}]}, "null where a schema should stand"),
        ({"allOf": "x"}, "`allOf` is a text, not a list"),
        ({"$ref": "#Name"}, "`#Name` is not read: its end is a name and not a path"),
        ({"$ref": "#/paths/~1things/0"}, "`#/paths/~1things/0` leads nowhere"),
    ],
)
def test_a_malformed_schema_is_said(schema: Schema, reason: str) -> None:
    """In its place, and without a claim about what ours has there."""
    ours = having(a=having(b={"type": "string"}))
    assert told_of(ours, having(a=schema)) == [f"unread request a: theirs: {reason}"]


@pytest.mark.parametrize(
    "item",
    [
        None,
        [],
        "get",
        {"post": None},
        {"post": []},
        {"post": {"requestBody": None, "responses": None, "parameters": None}},
        {"post": {"requestBody": {"content": None}, "responses": []}},
        {"post": {"requestBody": {"content": {"application/json": None}}}},
        {"post": {"responses": {"200": None}, "parameters": [None, 1, {"in": "query"}]}},
        {"post": {"responses": {"200": {"content": []}}, "servers": [None, {"url": 1}]}},
        {"post": {"requestBody": {"content": {"application/json": {"schema": None}}}}},
        {"servers": "x", "parameters": {}, "post": {"parameters": "q"}},
    ],
)
def test_a_malformed_document_is_compared_as_far_as_it_goes(item: Schema) -> None:
    """Every odd part is a line and none ends the comparison."""
    ours = taking(having(a={}))
    ours["paths"]["/other"] = {"get": {}}
    theirs = {
        "openapi": "3.1.0",
        "servers": [None],
        "paths": {"/things": item, "/other": {"get": {}}},
    }

    said = told(ours, theirs)
    assert any(line.startswith("unread ") for line in said)
    assert not any(line.startswith("absent post") for line in said)


def test_a_media_type_that_can_not_be_read_is_not_missing() -> None:
    """The other is compared all the same."""
    some = {"schema": having(a={"type": "string"})}
    ours = answering({"application/json": some, "application/x-ndjson": some})
    theirs = answering({"application/json": {"schema": having(b={})}, "application/x-ndjson": None})

    assert told(ours, theirs) == [
        "unread answer null where application/x-ndjson should be described",
        "absent answer a: ours string",
        "new answer b: theirs any value",
    ]


def test_an_operation_that_is_described_twice_is_said() -> None:
    """Paths that differ in a parameter's name or a slash at the end are one; the first counts."""
    one, two = (
        {"get": {"responses": {"200": {"content": some}}}}
        for some in (
            {"application/json": {"schema": having(a={})}},
            {"application/json": {"schema": having(b={})}},
        )
    )
    ours = {"openapi": "3.1.0", "paths": {"/things/{id}": one}}
    theirs = {"openapi": "3.1.0", "paths": {"/things/{a}": one, "/things/{b}/": two}}

    assert told(ours, theirs) == [
        "unread get /things/{b}/ described a second time, after `/things/{a}`"
    ]


def test_documents_in_yaml_and_json_say_the_same(tmp_path: Path) -> None:
    """Numbers as statuses, anchors, merges and a mark at the beginning are all read."""
    (tmp_path / "a.yaml").write_text(
        "\ufeffopenapi: 3.1.0\n"
        "x-part: &part {type: object, properties: {a: {type: string}, on: {type: boolean}}}\n"
        "paths:\n"
        "  /things:\n"
        "    get: {responses: {200: {content: {application/json: {schema: {<<: *part}}}}}}\n",
        encoding="utf-8",
    )
    schema = having(a={"type": "string"}, on={"type": "boolean"})
    document = answering({"application/json": {"schema": schema}})
    (tmp_path / "a.json").write_text(json.dumps(document), encoding="utf-8")

    assert told(document, read_document(tmp_path / "a.yaml"), minor=True) == []
    assert told(document, read_document(tmp_path / "a.json"), minor=True) == []


def test_a_document_that_contains_itself_ends(tmp_path: Path) -> None:
    """An anchor within its own value makes a type without end, which is one pair."""
    path = tmp_path / "a.yaml"
    path.write_text(
        "openapi: 3.1.0\n"
        "x: &node {type: object, properties: {next: *node, a: {type: string}}}\n"
        "paths:\n"
        "  /things:\n"
        "    get: {responses: {200: {content: {application/json: {schema: *node}}}}}\n",
        encoding="utf-8",
    )
    ours = answering({"application/json": {"schema": having(next=having(), a={"type": "integer"})}})
    assert told(ours, read_document(path)) == [
        "type answer a: ours integer; theirs string",
        "bare answer next: ours names no fields; theirs {next, a}",
    ]
