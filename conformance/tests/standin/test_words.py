"""Texts, vectors and schema instances, without a server."""

from typing import Any

import jsonschema
import pytest

from conformance.standin import words
from conformance.standin.catalogue import DEFAULT, GRADED, PLAIN
from conformance.standin.instances import fill_schema
from conformance.standin.plan import Ask, Tool, Turn, make_plan

SCHEMAS: list[Any] = [
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"type": "integer", "minimum": 7}}, "required": ["a"]},
    {"type": "array", "items": {"type": "number", "maximum": -3}, "minItems": 2},
    {"type": "array", "items": {"enum": ["x", "y", "z"]}, "minItems": 3, "uniqueItems": True},
    {"type": ["string", "null"], "minLength": 40},
    {"type": "string", "maxLength": 2},
    {"type": ["null", "boolean"]},
    {"type": "integer", "multipleOf": 5, "minimum": 11},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "integer", "exclusiveMinimum": 3, "maximum": 4},
    {"const": {"k": [1]}},
    {"anyOf": [{"type": "null"}, {"type": "object", "required": ["deep"]}]},
    {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    {"type": "object", "minProperties": 3, "properties": {"a": {"type": "boolean"}}},
    {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {
                "properties": {"b": {"type": "array", "items": {"type": "integer"}}},
                "required": ["b"],
            },
        ]
    },
    {
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                },
                "required": ["name", "next"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/Node",
    },
    {
        "definitions": {"Color": {"enum": ["red", "blue"]}},
        "type": "object",
        "properties": {
            "colors": {"type": "array", "items": {"$ref": "#/definitions/Color"}},
            "pair": {"prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2},
        },
        "required": ["colors", "pair"],
    },
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_an_instance_is_valid(schema: Any) -> None:
    """What is filled fits its schema."""
    instance = fill_schema(schema, ["Oslo"])
    jsonschema.Draft202012Validator(schema).validate(instance)


def test_an_instance_of_an_optional_object_is_not_empty() -> None:
    """Where nothing is required the first property is there, so that a call has an argument."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "unit": {}}}
    assert {"city": "Oslo"} == fill_schema(schema, ["Oslo"])


@pytest.mark.parametrize(
    "text", ["", " a", "a\n\nb  c ", "naïve \u2013 東京 🙂 <b>&</b>", "x" * 99]
)
def test_pieces_join_to_the_text(text: str) -> None:
    """Cutting into pieces loses nothing."""
    assert text == "".join(words.cut(text))


def test_texts_depend_on_speaker_and_prompt_alone() -> None:
    """The same question is answered the same, another question or model otherwise."""
    assert words.say("A", "why?") == words.say("A", "why?")
    assert words.say("A", "why?") != words.say("A", "how?")
    assert words.say("A", "why?") != words.say("B", "why?")


def test_texts_hold_what_is_hard_to_carry_sometimes() -> None:
    """Characters of several bytes and those that HTML escapes turn up, but not always."""
    texts = [words.say("A", f"question {n}") for n in range(40)]
    assert {True, False} == {text.isascii() for text in texts}
    assert {True, False} == {"<" in text or "&" in text for text in texts}


def test_vectors_are_fixed_and_not_of_unit_length() -> None:
    """A text has one vector, of the dimension asked for, longer than one."""
    vector = words.embed("m", "a text", 16, 100)
    assert vector == words.embed("m", "a text", 16, 100)
    assert 16 == len(vector)
    assert abs(sum(value * value for value in vector) ** 0.5 - 1) > 0.1
    assert vector != words.embed("other", "a text", 16, 100)


def test_a_long_text_is_cut_for_its_vector() -> None:
    """What lies beyond the context changes nothing (docs/facts/lmstudio.md#embeddings-cut)."""
    assert words.embed("m", "one two three", 8, 2) == words.embed("m", "one two four", 8, 2)


def test_the_limit_counts_thinking_too() -> None:
    """Cut inside its thinking an answer has no text."""
    turns = (Turn("user", "Why is that so?"),)
    plan = make_plan(GRADED, Ask(turns, max_tokens=5))
    assert (5, [], "length") == (len(plan.reasoning), plan.content, plan.finish)


def test_a_required_tool_after_results_is_the_next_one() -> None:
    """With `required`, results do not end the calling: what was not called yet comes next."""
    tools = (Tool("first", {"type": "object"}), Tool("final", {"type": "object"}))
    ask = Ask((Turn("user", "go"),), tools, "required")
    calls = make_plan(GRADED, ask).calls
    turns = (*ask.turns, Turn("assistant", calls=tuple(calls)), Turn("tool", "ok"))
    assert ["first"] == [call.name for call in calls]
    assert ["final"] == [
        call.name for call in make_plan(GRADED, Ask(turns, tools, "required")).calls
    ]


def test_the_default_catalogue_has_what_is_promised() -> None:
    """Bare plain model and embedding, graded and switched thinking, two variants, one silent."""
    by_key = {model.key: model for model in DEFAULT}
    assert (False, False, None) == (PLAIN.tools, PLAIN.vision, PLAIN.reasoning)
    assert "/" not in PLAIN.key
    embeddings = [model for model in DEFAULT if model.type == "embedding"]
    assert [("text-embedding-tiny-v1", 1)] == [(m.key, len(m.variants)) for m in embeddings]
    graded = by_key["harbor/lantern-8b"]
    assert (True, True) == (graded.tools, graded.vision)
    assert graded.reasoning is not None
    assert {"low", "medium", "high"} < set(graded.reasoning.options)
    assert [("off", "on")] == [
        m.reasoning.options for m in DEFAULT if m.reasoning and m is not graded
    ]
    assert ["orchard/pebble-7b"] == [m.key for m in DEFAULT if len(m.variants) == 2]
    assert ["quiet-fjord-3b"] == [m.key for m in DEFAULT if not m.stated]
    assert {True, False} == {bool(model.loaded) for model in DEFAULT}
